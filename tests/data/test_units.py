import ase.units
import pytest

from jmlip.core.errors import ConfigError
from jmlip.data import Units

RELATIVE = 1e-9


@pytest.mark.parametrize(
    ("units", "forces", "stress"),
    [
        (Units(), 1.0, 1.0),
        (
            Units(energy="hartree", length="bohr"),
            ase.units.Hartree / ase.units.Bohr,
            ase.units.Hartree / ase.units.Bohr**3,
        ),
        (
            Units(energy="hartree", forces="kcal/mol/angstrom", stress="GPa"),
            ase.units.kcal / ase.units.mol,
            ase.units.GPa,
        ),
        (
            Units(forces="hartree/bohr", stress="kJ/mol/nm^3"),
            ase.units.Hartree / ase.units.Bohr,
            ase.units.kJ / ase.units.mol / ase.units.nm**3,
        ),
    ],
)
def test_factors_are_those_of_ase(units, forces, stress):
    assert units.forces_factor == pytest.approx(forces, rel=RELATIVE)
    assert units.stress_factor == pytest.approx(stress, rel=RELATIVE)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"energy": "hartee"}, "did you mean 'hartree'"),
        ({"length": "angstroem"}, "did you mean 'angstrom'"),
        ({"forces": "eV"}, "must read energy/length"),
        ({"forces": "eV/bor"}, "did you mean 'bohr'"),
        ({"stress": "eV/A"}, "must read energy/length"),
    ],
)
def test_unknown_units_are_refused_with_the_nearest(wrong, message):
    with pytest.raises(ConfigError, match=message):
        Units(**wrong)
