import ase.units
import numpy as np
import pytest

from jmlip.core import units

FROM_ASE = {
    "KELVIN": ase.units.kB,
    "FS": ase.units.fs,
    "PS": 1000 * ase.units.fs,
    "NS": 1.0e6 * ase.units.fs,
    "HARTREE": ase.units.Hartree,
    "BOHR": ase.units.Bohr,
    "KCAL_PER_MOL": ase.units.kcal / ase.units.mol,
    "KJ_PER_MOL": ase.units.kJ / ase.units.mol,
    "GPA": ase.units.GPa,
    "BAR": ase.units.bar,
}


@pytest.mark.parametrize("name", sorted(FROM_ASE))
def test_constants_are_those_of_ase(name):
    np.testing.assert_allclose(getattr(units, name), FROM_ASE[name], rtol=1e-14)


def test_boundary_units_agree_with_ase():
    assert units.ENERGY_UNITS["kcal/mol"] == pytest.approx(ase.units.kcal / ase.units.mol)
    assert units.LENGTH_UNITS["nm"] == ase.units.nm
    hartree_per_bohr3 = ase.units.Hartree / ase.units.Bohr**3
    assert units.STRESS_UNITS["hartree/bohr^3"] == pytest.approx(hartree_per_bohr3, rel=1e-14)
