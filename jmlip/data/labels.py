"""From the named columns of a file to the labels of a `Structure`: keys, units, signs.

Every reader produces `RawFrame`s, with numbers and names as they stand in the file; `LabelReader`
makes structures of them. ASE's pitfalls are met here and nowhere else: `free_energy`, virials
(-stress * volume), momenta, Voigt stresses, forces zeroed by constraints (results are read, never
`get_forces`).
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from ase.data import atomic_masses

from jmlip.core.errors import DataError
from jmlip.core.structure import Structure
from jmlip.data.units import Units

PER_ATOM_RESULTS = frozenset({"charges", "magmoms", "stresses", "born_effective_charges"})
"""ASE's per-atom results that are no labels here; they are kept under `info["arrays"]`."""

_MOST_UNEVEN = 0.05
"""Of the largest component of a stress: programs leave a little noise, a wrong order far more."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class LabelOptions:
    """Which columns are the labels, in which units; see `jmlip.data.read`."""

    energy_key: str | None = None
    forces_key: str | None = None
    stress_key: str | None = None
    level: str | None = None
    forces_are_gradients: bool = False

    @property
    def asked(self) -> tuple[str, ...]:
        """The keys that the user named."""
        keys = (self.energy_key, self.forces_key, self.stress_key)
        return tuple(key for key in keys if key is not None)


class RawFrame(NamedTuple):
    """One frame as the file holds it.

    `results` are the quantities under ASE's names (`energy`, `forces`, `stress`, `energies` ...),
    `arrays` other per-atom columns, `info` everything else.
    """

    species: Any
    positions: Any
    cell: Any
    pbc: Any
    results: Mapping[str, Any]
    arrays: Mapping[str, Any]
    info: Mapping[str, Any]

    def find(self, key: str) -> Any:
        """The value under `key`, wherever it stands, or None."""
        for store in (self.results, self.info, self.arrays):
            if key in store:
                return store[key]
        return None


class LabelReader:
    """Makes structures of the raw frames of one file, and remembers which keys it met.

    Args:
        options: keys and sign.
        units: units of the file.
    """

    def __init__(self, options: LabelOptions, units: Units):
        self.options = options
        self.units = units
        self._met: set[str] = set()
        self._names: set[str] = set()

    def structure(self, raw: RawFrame) -> Structure:
        """The structure of one frame.

        Raises:
            DataError: a label has the wrong shape or is not a finite number.
        """
        options = self.options
        self._met.update(key for key in options.asked if raw.find(key) is not None)
        self._names.update(raw.info, raw.arrays, raw.results)
        length = self.units.length_factor
        cell = np.zeros((3, 3)) if raw.cell is None else np.asarray(raw.cell, float) * length
        return Structure(
            species=raw.species,
            positions=np.asarray(_numbers("positions", raw.positions, length)),
            cell=cell,
            pbc=raw.pbc,
            energy=_scalar("energy", self._energy(raw), self.units.energy_factor),
            forces=self._forces(raw),
            stress=self._stress(raw, cell),
            atomic_energies=_numbers("energies", raw.find("energies"), self.units.energy_factor),
            velocities=_velocities(raw),
            info=self._info(raw),
        )

    def finish(self) -> None:
        """Check, after the last frame, that every key that was asked for was met at least once.

        Raises:
            DataError: naming the keys that are there.
        """
        for key in self.options.asked:
            if key not in self._met:
                names = ", ".join(sorted(self._names)) or "none"
                raise DataError(f"no frame has the key {key!r}; keys that are there: {names}.")

    def _energy(self, raw: RawFrame) -> Any:
        if self.options.energy_key is not None:
            return raw.find(self.options.energy_key)
        energy = raw.find("energy")
        return raw.find("free_energy") if energy is None else energy

    def _forces(self, raw: RawFrame) -> np.ndarray | None:
        value = raw.find(self.options.forces_key or "forces")
        sign = -1.0 if self.options.forces_are_gradients else 1.0
        return _numbers("forces", value, sign * self.units.forces_factor)

    def _stress(self, raw: RawFrame, cell: np.ndarray) -> np.ndarray | None:
        key = self.options.stress_key
        if key is None:
            key = "stress" if raw.find("stress") is not None else "virial"
        value = _numbers(key, raw.find(key), 1.0)
        if value is None:
            return None
        tensor = _tensor(key, value)
        if "virial" not in key.lower():
            return tensor * self.units.stress_factor
        volume = abs(float(np.linalg.det(cell)))
        if not volume > 0.0:
            raise DataError(f"a virial needs a cell with a volume, found {key} without one.")
        return -tensor * self.units.energy_factor / volume

    def _info(self, raw: RawFrame) -> dict[str, Any]:
        used = {*self.options.asked, "energy", "forces", "stress", "virial", "energies"}
        info = {key: value for key, value in raw.info.items() if key not in used}
        arrays = {key: value for key, value in raw.arrays.items() if key not in used | {"momenta"}}
        for key, value in raw.results.items():
            if key not in used:
                (arrays if key in PER_ATOM_RESULTS else info)[key] = value
        return {**info, "arrays": arrays} if arrays else info


def _scalar(name: str, value: Any, factor: float) -> float | None:
    array = _numbers(name, value, factor)
    if array is None:
        return None
    if array.size != 1:
        raise DataError(f"{name} must be one number, found {array.size}.")
    return float(array.reshape(()))


def _numbers(name: str, value: Any, factor: float) -> np.ndarray | None:
    if value is None:
        return None
    try:
        array = np.asarray(value)
        if array.dtype.kind in "OUSb":
            raise ValueError(name)
        return np.asarray(array.astype(np.float64) * factor)
    except (TypeError, ValueError) as error:
        raise DataError(f"{name} must be numbers, found {str(value)[:40]!r}.") from error


def _tensor(name: str, value: np.ndarray) -> np.ndarray:
    if value.shape == (6,):  # Voigt order xx yy zz yz xz xy
        xx, yy, zz, yz, xz, xy = value
        return np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
    if value.size != 9:
        raise DataError(f"{name} must have 6 or 9 components, found shape {value.shape}.")
    tensor = value.reshape(3, 3)
    uneven = np.abs(tensor - tensor.T).max()
    if uneven > _MOST_UNEVEN * np.abs(tensor).max():
        raise DataError(
            f"{name} must be symmetric, found components that differ by {uneven:.3g} from their "
            "transposes; check the order of the nine numbers."
        )
    return tensor


def _velocities(raw: RawFrame) -> np.ndarray | None:
    # momenta stand in ASE's units (u, angstrom, eV), which are ours, whatever the file's units
    momenta = _numbers("momenta", raw.arrays.get("momenta"), 1.0)
    if momenta is None:
        return None
    masses = raw.arrays.get("masses")
    masses = atomic_masses[np.asarray(raw.species)] if masses is None else np.asarray(masses)
    return momenta / masses[:, None]
