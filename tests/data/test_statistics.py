import json

import numpy as np
import pytest
from ase import Atoms
from ase.neighborlist import neighbor_list

from jmlip.core import config
from jmlip.core.errors import DataError
from jmlip.core.structure import Structure
from jmlip.data import (
    Statistics,
    compute_statistics,
    data_hash,
    from_atoms,
    is_isolated_atom,
    reference_energies_from_isolated,
    reference_energies_least_squares,
    species_of,
)

H, C, O = -13.6, -1030.0, -2042.0


def molecule(numbers, energy=None, **labels) -> Structure:
    positions = np.random.default_rng(len(numbers)).normal(size=(len(numbers), 3))
    return Structure(species=numbers, positions=positions, energy=energy, **labels)


def test_least_squares_finds_additive_energies():
    sets = [[8, 1, 1], [6, 1, 1, 1, 1], [6, 8], [6, 6, 1, 1]]
    values = {1: H, 6: C, 8: O}
    structures = [molecule(z, sum(values[i] for i in z)) for z in sets] + [molecule([1, 1])]
    fitted = reference_energies_least_squares(structures, (1, 6, 8))
    np.testing.assert_allclose(fitted, [H, C, O], rtol=1e-12)
    assert reference_energies_least_squares(structures, (8, 1, 6)) == pytest.approx((O, H, C))


def test_least_squares_weighs_every_structure_alike():
    energies = np.array([1.0, 2.0, 6.0])
    structures = [molecule([1], e) for e in energies[:2]] + [molecule([1, 1], energies[2])]
    counts = np.array([[1.0], [1.0], [2.0]])
    expected = np.linalg.lstsq(counts, energies, rcond=None)[0]
    found = reference_energies_least_squares(structures, (1,))
    np.testing.assert_allclose(found, expected, rtol=1e-14)


def test_collinear_compositions_have_the_solution_of_least_norm():
    """One stoichiometry leaves one equation for two elements: e is along the composition."""
    structures = [molecule([8, 1, 1] * k, -12.0 * k) for k in (1, 2, 3)]
    found = reference_energies_least_squares(structures, (1, 8))
    np.testing.assert_allclose(found, np.array([2.0, 1.0]) * -12.0 / 5.0, rtol=1e-12)


def test_least_squares_needs_energies_and_known_elements():
    with pytest.raises(DataError, match="found none"):
        reference_energies_least_squares([molecule([1])], (1,))
    with pytest.raises(DataError, match=r"must include \[8\]"):
        reference_energies_least_squares([molecule([8, 1], 0.0)], (1, 6))


def test_isolated_atoms_are_found_among_others():
    crystal = Structure(
        species=[1], positions=np.zeros((1, 3)), cell=np.eye(3) * 3, pbc=[True] * 3, energy=-99.0
    )
    boxed = crystal.replace(cell=np.eye(3) * 12, energy=H)
    skewed = crystal.replace(cell=[[12, 0, 0], [12, 3, 0], [0, 0, 12]])
    assert [is_isolated_atom(s) for s in (crystal, boxed, skewed)] == [False, True, False]
    structures = [crystal, skewed, boxed, molecule([8], O), molecule([1, 8], 0.0)]
    assert reference_energies_from_isolated(structures, (1, 8)) == (H, O)
    with pytest.raises(DataError, match=r"missing for atomic numbers \[6\]"):
        reference_energies_from_isolated(structures, (1, 6, 8))
    with pytest.raises(DataError, match="must have one energy"):
        reference_energies_from_isolated([*structures, molecule([8], O + 1)], (1, 8))


@pytest.fixture(scope="module")
def structures():
    rng = np.random.default_rng(3)
    result = []
    for k in range(4):
        n = 3 + k
        atoms = Atoms(
            numbers=rng.choice([1, 8], n),
            positions=rng.uniform(0, 4, (n, 3)),
            cell=rng.normal(size=(3, 3)) * 0.3 + 4 * np.eye(3),
            pbc=[True, k % 2 == 0, k < 3],
        )
        frame = from_atoms(atoms)
        result.append(
            frame.replace(energy=rng.normal() + n, forces=rng.normal(size=(n, 3)) if k else None)
        )
    return [*result, molecule([8])]


def test_statistics_agree_with_direct_sums(structures):
    cutoff, reference = 5.0, (0.3, 0.7)
    found = compute_statistics(
        structures, cutoff=cutoff, species=(1, 8), reference_energies=reference
    )
    energies = np.array(
        [s.energy - np.take(reference, s.species == 8).sum() for s in structures[:4]]
    )
    per_atom = energies / [s.n_atoms for s in structures[:4]]
    forces = np.concatenate([s.forces.ravel() for s in structures if s.forces is not None])
    degrees, nearest = [], []
    for s in structures:  # ASE counts the neighbors
        atoms = Atoms(s.species, s.positions, cell=s.cell, pbc=s.pbc)
        i, d = neighbor_list("id", atoms, cutoff)
        degrees += np.bincount(i, minlength=len(atoms)).tolist()
        nearest += [d[i == k].min() for k in range(len(atoms)) if (i == k).any()]
    assert found.n_structures == 5
    assert found.n_atoms == 3 + 4 + 5 + 6 + 1
    assert (found.n_energies, found.n_forces, found.n_stresses) == (4, 3, 0)
    assert found.energy_mean == pytest.approx(energies.mean(), rel=1e-12)
    assert found.energy_std == pytest.approx(energies.std(), rel=1e-12)
    assert found.energy_per_atom_mean == pytest.approx(per_atom.mean(), rel=1e-12)
    assert found.energy_per_atom_std == pytest.approx(per_atom.std(), rel=1e-12)
    assert found.force_rms == pytest.approx(np.sqrt(np.mean(forces**2)), rel=1e-12)
    assert found.stress_rms is None
    assert found.mean_neighbors == pytest.approx(np.mean(degrees), rel=1e-12)
    assert found.max_neighbors == max(degrees)
    assert found.shortest_distance == pytest.approx(min(nearest), rel=1e-6)
    np.testing.assert_allclose(
        found.nearest_distances, np.percentile(nearest, [0, 1, 5, 25, 50, 75, 95, 99, 100]), 1e-6
    )
    assert found.data_hash == data_hash(structures)


def test_statistics_survive_json(structures):
    found = compute_statistics(structures, cutoff=4, species=(1, 8), reference_energies=(0.0, 0.0))
    assert config.from_dict(Statistics, json.loads(json.dumps(found.to_dict()))) == found


def test_statistics_of_what_is_missing():
    lone = compute_statistics([molecule([2])], cutoff=5, species=(2,), reference_energies=(0.0,))
    assert (lone.energy_mean, lone.force_rms, lone.shortest_distance) == (None, None, None)
    assert (lone.mean_neighbors, lone.nearest_distances) == (0.0, ())
    with pytest.raises(DataError, match="at least one structure"):
        compute_statistics([], cutoff=5, species=(2,), reference_energies=(0.0,))
    with pytest.raises(DataError, match=r"must include \[2\]"):
        compute_statistics([molecule([2])], cutoff=5, species=(1,), reference_energies=(0.0,))


def test_species_are_sorted():
    assert species_of([molecule([8, 1]), molecule([6])]) == (1, 6, 8)
