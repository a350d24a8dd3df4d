"""Repulsion of nuclei and distances of Agnesi: limits, and formulas written out."""

import jax.numpy as jnp
import numpy as np
import pytest

from jmlip.ops.radial import AGNESI, agnesi
from jmlip.ops.repulsion import MACE, NEQUIP, screened_repulsion

COULOMB = 14.399645  # eV angstrom


def repulsion(r, z_i, z_j, screening):
    r = jnp.asarray(r)
    return screened_repulsion(r, jnp.full(r.shape, z_i), jnp.full(r.shape, z_j), screening)


@pytest.mark.parametrize("screening", [NEQUIP, MACE], ids=["nequip", "mace"])
def test_bare_nuclei_at_no_distance_and_nothing_far_away(screening):
    near, far = repulsion([1e-5, 20.0], 8, 14, screening)
    assert float(near) * 1e-5 == pytest.approx(COULOMB * 8 * 14, rel=1e-3)
    assert 0.0 < float(far) < 1e-4


def test_published_value():
    """LAMMPS pair_style zbl, two Si atoms at 1 angstrom: the terms written out."""
    a = 0.46850 / (2 * 14**0.23)
    phi = (
        0.18175 * np.exp(-3.19980 / a)
        + 0.50986 * np.exp(-0.94229 / a)
        + 0.28022 * np.exp(-0.40290 / a)
        + 0.02817 * np.exp(-0.20162 / a)
    )
    found = repulsion([1.0], 14, 14, NEQUIP)
    np.testing.assert_allclose(found, COULOMB * 14 * 14 * phi, rtol=1e-5)


def test_agnesi_falls_from_one_and_has_its_middle_near_the_bond_length():
    r = jnp.linspace(1e-3, 6.0, 50)
    found = agnesi(r, jnp.full_like(r, 1.4))
    assert np.all(np.diff(found) < 0.0)
    assert float(found[0]) == pytest.approx(1.0, abs=1e-3)
    middle = agnesi(jnp.array([1.4]), jnp.array([1.4]))
    assert float(middle[0]) == pytest.approx(1.0 / (1.0 + AGNESI["a"] / 2.0), rel=1e-6)
