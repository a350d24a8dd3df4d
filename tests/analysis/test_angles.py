"""Angles of molecules and crystals that are known, and of directions without any order."""

import numpy as np
import pytest
from ase.build import bulk, molecule

from jmlip.analysis.angles import Triple, angular_distributions
from jmlip.core.errors import DataError
from jmlip.core.structure import Structure
from jmlip.data import from_atoms

WATER = Triple(1, 8, 1)


def test_a_molecule_has_its_angle():
    atoms = molecule("H2O")
    found = angular_distributions([from_atoms(atoms)], [WATER])[WATER]
    expected = atoms.get_angle(1, 0, 2)
    assert found.angle[found.value > 0] == pytest.approx(expected, abs=0.5)
    assert found.value.sum() * 1.0 == pytest.approx(1.0)
    assert found.angles_per_center == 1.0
    assert found.mean.value == pytest.approx(expected)


def test_mixed_ends_are_counted_once_each():
    atoms = molecule("CH3OH")
    triple = Triple(1, 6, 8)
    found = angular_distributions([from_atoms(atoms)], [triple])[triple]
    assert found.angles_per_center == 3.0
    backwards = Triple(8, 6, 1)
    again = angular_distributions([from_atoms(atoms)], [backwards])[backwards]
    np.testing.assert_array_equal(again.value, found.value)


def test_diamond_is_tetrahedral_across_boundaries():
    """Four neighbors make six angles; the primitive cell holds two atoms."""
    triple = Triple(14, 14, 14, 2.6)
    found = angular_distributions([from_atoms(bulk("Si"))], [triple], n_bins=90)[triple]
    assert found.angles_per_center == pytest.approx(6.0)
    assert found.angle[found.value > 0].tolist() == [109.0]


def spokes(n, rng):
    """Structures of one oxygen and ten hydrogens in independent directions."""
    for _ in range(n):
        ends = rng.normal(size=(10, 3))
        ends /= np.linalg.norm(ends, axis=1, keepdims=True)
        yield Structure(species=[8] + [1] * 10, positions=[[0, 0, 0], *ends])


def test_directions_without_order_follow_the_sine():
    """Squared deviations over errors, 36 bins of 10 runs, have a mean of 1 to within 0.1."""
    expected = np.diff(-np.cos(np.radians(np.linspace(0, 180, 37)))) / 2.0 / 5.0
    squares = []
    for seed in range(10):
        structures = spokes(100, np.random.default_rng(seed))
        found = angular_distributions(structures, [WATER], n_bins=36)[WATER]
        squares.append(((found.value - expected) / found.error) ** 2)
        assert abs(found.mean.value - 90.0) < 4.0 * found.mean.error
    assert np.mean(squares) == pytest.approx(1.1, abs=0.3)


def test_angles_that_do_not_exist_are_refused():
    water = from_atoms(molecule("H2O"))
    with pytest.raises(DataError, match=r"no angle O-H-O .* larger radius, as in O-H-O:3.5"):
        angular_distributions([water], [Triple(8, 1, 8)])
    with pytest.raises(DataError, match="at least one structure"):
        angular_distributions([], [WATER])
