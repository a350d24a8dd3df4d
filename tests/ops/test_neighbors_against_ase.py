"""Host neighbor lists against ASE's on random systems of every kind."""

import numpy as np
import pytest
from ase import Atoms
from ase.geometry import cellpar_to_cell
from ase.neighborlist import neighbor_list

from jmlip.ops.neighbors import neighbors, unordered_pairs

SYSTEMS = 600
KINDS = {0: (False,) * 3, 1: (True, True, False), 2: (True,) * 3, 3: (False, False, True)}


def random_system(generator):
    """Angles of 30 to 150 degrees, edges from 0.3 to 2.5 cutoffs, atoms up to two cells outside."""
    cutoff = generator.uniform(2.0, 5.0)
    while True:
        edges, angles = cutoff * generator.uniform(0.3, 2.5, 3), generator.uniform(30.0, 150.0, 3)
        cosines = np.cos(np.radians(angles))
        squared_volume = 1.0 - (cosines**2).sum() + 2.0 * cosines.prod()
        if squared_volume > 0.05**2:
            break
    cell = cellpar_to_cell([*edges, *angles])
    positions = generator.uniform(-2.0, 3.0, (generator.integers(1, 12), 3)) @ cell
    pbc = np.array(KINDS[int(generator.integers(4))])
    if generator.random() < 0.5:
        cell = np.where(pbc[:, None], cell, 0.0)
    return positions, cell, pbc, cutoff


@pytest.mark.parametrize("part", range(6))
def test_pairs_are_those_of_ase(part, monkeypatch):
    """Exactly; no pair of these systems lies within rounding of the cutoff."""
    if part % 2:  # small open structures by the search as well
        monkeypatch.setattr("jmlip.ops.neighbors._DIRECT", 0)
    generator = np.random.default_rng(part)
    for _ in range(SYSTEMS // 6):
        positions, cell, pbc, cutoff = random_system(generator)
        ours = neighbors(positions, cell, pbc, cutoff)
        atoms = Atoms(numbers=[1] * len(positions), positions=positions, cell=cell, pbc=pbc)
        i, j, shifts = neighbor_list("ijS", atoms, cutoff)
        expected = sorted(map(tuple, np.column_stack([i, j, shifts])))
        found = list(map(tuple, np.column_stack([ours.receivers, ours.senders, ours.shifts])))
        assert found == expected
        np.testing.assert_allclose(
            ours.vectors, positions[ours.senders] - positions[ours.receivers] + ours.shifts @ cell,
            atol=1e-10,
        )  # fmt: skip
        np.testing.assert_array_equal(ours.vectors[ours.reverse], -ours.vectors)
        np.testing.assert_array_equal(ours.senders[ours.reverse], ours.receivers)
        once = unordered_pairs(positions, cell, pbc, cutoff)
        apart = positions[once.second] - positions[once.first]
        shifts = np.rint((once.vectors - apart) @ np.linalg.pinv(cell)).astype(int)
        halves = (once.first, once.second, shifts), (once.second, once.first, -shifts)
        assert sorted(tuple(row) for half in halves for row in np.column_stack(half)) == expected
        np.testing.assert_allclose(once.vectors, apart + shifts @ cell, atol=1e-10)
        np.testing.assert_allclose(np.linalg.norm(once.vectors, axis=1), once.distances)


def test_a_single_atom_sees_its_own_images():
    pairs = neighbors(np.zeros((1, 3)), np.eye(3), np.array([True] * 3), 1.01)
    assert len(pairs.senders) == 6
    np.testing.assert_allclose(np.linalg.norm(pairs.vectors, axis=1), 1.0)
