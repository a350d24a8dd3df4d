"""Units of a data file: declared once, converted at the boundary, never guessed inside."""

import dataclasses
from collections.abc import Mapping

from jmlip.core import units
from jmlip.core.config import unknown
from jmlip.core.errors import ConfigError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Units:
    """Units in which a file holds its numbers.

    Args:
        energy: one of eV, meV, hartree, Ha, kcal/mol, kJ/mol.
        length: one of angstrom, A, bohr, nm.
        forces: `<energy>/<length>`, for example `hartree/bohr`; default: energy per length.
        stress: eV/A^3, GPa, bar, hartree/bohr^3 or `<energy>/<length>^3`; default: energy per
            length cubed. A virial is in the unit of energy.

    Raises:
        ConfigError: a unit is unknown; the message names the nearest.

    Example:
        >>> units = Units(energy="kcal/mol")
        >>> round(units.energy_factor, 6), round(units.forces_factor, 6)
        (0.043364, 0.043364)
        >>> Units(energy="hartee")
        Traceback (most recent call last):
        ...
        jmlip.core.errors.ConfigError: unknown unit of energy 'hartee': did you mean 'hartree'? \
Valid: eV, meV, hartree, Ha, kcal/mol, kJ/mol.
    """

    energy: str = "eV"
    length: str = "angstrom"
    forces: str | None = None
    stress: str | None = None

    def __post_init__(self):
        for factor in ("energy_factor", "length_factor", "forces_factor", "stress_factor"):
            getattr(self, factor)

    @property
    def energy_factor(self) -> float:
        """EV per unit of energy."""
        return _lookup(self.energy, units.ENERGY_UNITS, "energy")

    @property
    def length_factor(self) -> float:
        """Angstrom per unit of length."""
        return _lookup(self.length, units.LENGTH_UNITS, "length")

    @property
    def forces_factor(self) -> float:
        """(eV / angstrom) per unit of force."""
        if self.forces is None:
            return self.energy_factor / self.length_factor
        return _quotient(self.forces, "forces", power="")

    @property
    def stress_factor(self) -> float:
        """(eV / angstrom^3) per unit of stress."""
        if self.stress is None:
            return self.energy_factor / self.length_factor**3
        if self.stress in units.STRESS_UNITS:
            return units.STRESS_UNITS[self.stress]
        return _quotient(self.stress, "stress", power="^3")


def _quotient(unit: str, what: str, *, power: str) -> float:
    # the energy may itself hold a slash (kcal/mol), the length never does
    energy, slash, length = unit.rpartition("/")
    if not slash or not length.endswith(power):
        raise ConfigError(f"a unit of {what} must read energy/length{power}, found {unit!r}.")
    length_factor = _lookup(length.removesuffix(power), units.LENGTH_UNITS, "length")
    return _lookup(energy, units.ENERGY_UNITS, "energy") / length_factor ** (3 if power else 1)


def _lookup(unit: str, table: Mapping[str, float], what: str) -> float:
    if unit not in table:
        raise ConfigError(unknown(unit, table, what=f"unit of {what} {unit!r}"))
    return table[unit]
