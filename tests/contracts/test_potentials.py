"""What every potential must do, whatever its model: one battery, all subjects.

Compiling costs more than computing here. So each subject predicts one long list, `variants`, in one
program, and derivatives of pure functions are taken together in another; the tests look results up.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from jmlip.core.structure import Structure
from jmlip.factory import load_potential
from jmlip.graphs.batching import Bucket, exact_bucket, pad_batch
from jmlip.graphs.device_neighbors import allocate
from jmlip.graphs.frames import make_frame
from jmlip.potentials.evaluate import (
    Evaluation,
    atomic_virials,
    evaluate,
    hessian,
    hessian_vector_product,
)
from jmlip.potentials.positions import make_position_energy
from jmlip.potentials.potential import save_potential
from jmlip.potentials.predict import Prediction
from tests.contracts.subjects import CUTOFF, REFERENCE_ENERGIES, SPECIES

STEP = 1e-4  # angstrom, and as strain: central differences, error about STEP^2 of the value
DIFFERENCE = {"rtol": 1e-6, "atol": 1e-7}
SAME = {"rtol": 1e-11, "atol": 1e-11}  # float64, other order of sums
SINGLE = 1e-4  # float32 against float64, relative to the largest


def molecule() -> Structure:
    """Nine atoms, three elements, none nearer than 1.1 angstrom, some beyond the cutoff."""
    generator = np.random.default_rng(11)
    positions = np.zeros((1, 3))
    while len(positions) < 9:
        trial = generator.uniform(-2.5, 2.5, 3)
        if np.linalg.norm(positions - trial, axis=1).min() > 1.1:
            positions = np.vstack([positions, trial])
    return Structure(species=[1, 6, 8, 1, 1, 6, 8, 1, 6], positions=positions)


def crystal() -> Structure:
    """Three atoms in a skewed cell smaller than the cutoff; one stands outside of the cell."""
    cell = np.array([[2.9, 0.2, 0.0], [0.7, 3.1, 0.1], [-0.3, 0.5, 3.3]])
    positions = np.array([[0.1, 0.0, 0.2], [0.45, 0.55, 0.4], [1.95, 0.1, 0.65]]) @ cell
    return Structure(species=[6, 8, 1], positions=positions, cell=cell, pbc=[True] * 3)


STRUCTURES = {"molecule": molecule(), "crystal": crystal()}
TURN = Rotation.random(rng=np.random.default_rng(7)).as_matrix()
ORDER = {
    name: np.random.default_rng(5).permutation(structure.n_atoms)
    for name, structure in STRUCTURES.items()
}
DIRECTION = {
    name: np.random.default_rng(3).normal(size=(structure.n_atoms, 3))
    for name, structure in STRUCTURES.items()
}


ROOM = Bucket(20, 64, 5)  # more of all than both structures need
ATOMS = {"molecule": slice(0, 9), "crystal": slice(9, 12)}  # in a graph of both
GRAPH = {name: index for index, name in enumerate(STRUCTURES)}


def shifted(structure: Structure, displacement) -> Structure:
    return structure.replace(positions=structure.positions + displacement)


def deformed(structure: Structure, matrix) -> Structure:
    return structure.replace(positions=structure.positions @ matrix, cell=structure.cell @ matrix)


def wandered(structure: Structure) -> Structure:
    """Moved as a whole, and each atom by another number of lattice vectors."""
    turns = np.arange(structure.n_atoms)[:, None] * structure.cell.sum(0)
    return shifted(structure, turns + np.array([0.3, -11.0, 5.7]))


def twice(structure: Structure) -> Structure:
    """Two distant molecules, or a supercell of two cells."""
    step = structure.cell[1] if structure.is_periodic else np.array([0.0, 20.0, 0.0])
    return structure.replace(
        species=np.tile(structure.species, 2),
        positions=np.vstack([structure.positions, structure.positions + step]),
        cell=structure.cell * np.array([[1.0], [2.0], [1.0]]),
    )


def variants(name: str) -> dict[tuple, Structure]:
    structure, order = STRUCTURES[name], ORDER[name]
    n = structure.n_atoms
    result = {
        ("itself",): structure,
        ("permuted",): structure.replace(
            species=structure.species[order], positions=structure.positions[order]
        ),
        ("turned", 1): deformed(structure, TURN),
        ("turned", -1): deformed(structure, -TURN),
        ("wandered",): wandered(structure),
        ("twice",): twice(structure),
    }
    for sign in (1, -1):
        result["direction", sign] = shifted(structure, sign * STEP * DIRECTION[name])
        for i, move in enumerate(np.eye(3 * n).reshape(-1, n, 3)):
            result["moved", sign, i] = shifted(structure, sign * STEP * move)
        for i, strain in enumerate(np.eye(9).reshape(-1, 3, 3)):
            if structure.is_periodic:
                result["strained", sign, i] = deformed(structure, np.eye(3) + sign * STEP * strain)
    return result


@pytest.fixture(scope="module")
def all_predictions(potential) -> dict[tuple, Prediction]:
    structures = {
        (name, *key): structure for name in STRUCTURES for key, structure in variants(name).items()
    }
    structures["atom",] = Structure(species=[8], positions=[[1.0, 2.0, 3.0]])
    found = potential.predict(list(structures.values()), dtype="float64")
    return dict(zip(structures, found, strict=True))


@pytest.fixture(params=STRUCTURES)
def name(request) -> str:
    return request.param


@pytest.fixture
def structure(name) -> Structure:
    return STRUCTURES[name]


@pytest.fixture
def predictions(name, all_predictions) -> Callable[..., Prediction]:
    return lambda *key: all_predictions[name, *key]


@pytest.fixture
def prediction(predictions) -> Prediction:
    return predictions("itself")


def double(potential):
    return potential.astype("float64").params


def graph_of(structures, *, padded: bool):
    frames = [
        make_frame(s, species=SPECIES, cutoff=CUTOFF, reference_energies=REFERENCE_ENERGIES)
        for s in structures
    ]
    bucket = ROOM if padded else exact_bucket(frames)
    return pad_batch(frames, bucket, cutoff=CUTOFF, dtype=np.float64).graph


class Derivatives(NamedTuple):
    """Of one padded graph."""

    evaluation: Evaluation
    atomic_virials: np.ndarray
    products: np.ndarray  # of the Hessian


@pytest.fixture(scope="module")
def compute(potential) -> Callable[[list[Structure]], Derivatives]:
    @jax.jit
    def compiled(params, graph, direction):
        return Derivatives(
            evaluate(potential.apply, params, graph),
            atomic_virials(potential.apply, params, graph),
            hessian_vector_product(potential.apply, params, graph, direction),
        )

    def compute(structures):
        with jax.enable_x64(True):
            direction = np.zeros((ROOM.n_atoms, 3))
            direction[:12] = np.concatenate(list(DIRECTION.values()))
            found = compiled(double(potential), graph_of(structures, padded=True), direction)
        return jax.tree.map(np.asarray, found)

    return compute


@pytest.fixture(scope="module")
def derivatives(compute) -> Derivatives:
    """Of both structures in one graph."""
    return compute(list(STRUCTURES.values()))


def same_energy(found: Prediction, expected: Prediction, factor: float = 1.0) -> None:
    assert found.energy == pytest.approx(factor * expected.energy, rel=1e-13)


def test_is_not_trivial(prediction, structure):
    constants = dict(zip(SPECIES, REFERENCE_ENERGIES, strict=True))
    reference = sum(constants[z] for z in structure.species)
    assert 1e-2 < abs(prediction.energy - reference) < 1e3
    assert 1e-2 < np.abs(prediction.forces).max() < 1e3


def test_forces_are_central_differences(predictions, prediction, structure):
    energy = lambda sign, i: predictions("moved", sign, i).energy
    expected = [(energy(-1, i) - energy(1, i)) / (2.0 * STEP) for i in range(3 * structure.n_atoms)]
    np.testing.assert_allclose(prediction.forces.ravel(), expected, **DIFFERENCE)


def test_stress_is_a_difference_of_strains(all_predictions):
    energy = lambda sign, i: all_predictions["crystal", "strained", sign, i].energy
    difference = [(energy(1, i) - energy(-1, i)) / (2.0 * STEP) for i in range(9)]
    stress = all_predictions["crystal", "itself"].stress
    expected = np.reshape(difference, (3, 3)) / STRUCTURES["crystal"].volume
    np.testing.assert_allclose(stress, expected, **DIFFERENCE)
    np.testing.assert_array_equal(stress, stress.T)
    assert all_predictions["molecule", "itself"].stress is None


def test_atomic_virials_sum_to_the_virial(derivatives, name, prediction, structure):
    virial = derivatives.evaluation.virial[GRAPH[name]]
    virials = derivatives.atomic_virials[ATOMS[name]]
    assert np.abs(virial).max() > 1e-2
    np.testing.assert_allclose(virials.sum(0), virial, **SAME)
    if structure.is_periodic:
        np.testing.assert_allclose(virial / structure.volume, prediction.stress, **SAME)


def test_hessian_products_are_differences_of_forces(derivatives, name, predictions):
    below, above = (predictions("direction", sign).forces for sign in (-1, 1))
    expected = (below - above) / (2.0 * STEP)
    found, scale = derivatives.products[ATOMS[name]], np.abs(expected).max()
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5 * scale)


def test_hessian_is_symmetric_and_holds_its_products(x64, potential, derivatives):
    compiled = jax.jit(hessian, static_argnums=0)
    graph = graph_of(STRUCTURES.values(), padded=False)
    found = compiled(potential.apply, double(potential), graph)
    full = np.asarray(found).reshape(36, 36)
    np.testing.assert_allclose(full, full.T, atol=1e-9 * np.abs(full).max())
    direction = np.concatenate(list(DIRECTION.values())).ravel()
    expected = derivatives.products[:12].ravel()
    np.testing.assert_allclose(full @ direction, expected, rtol=1e-8, atol=1e-8)


def test_order_of_atoms_does_not_matter(predictions, prediction, name):
    found, order = predictions("permuted"), ORDER[name]
    same_energy(found, prediction)
    np.testing.assert_allclose(found.forces, prediction.forces[order], **SAME)
    np.testing.assert_allclose(found.atomic_energies, prediction.atomic_energies[order], **SAME)


@pytest.mark.parametrize("parity", [1, -1])
def test_rotations_and_inversion_turn_forces_and_stress(predictions, prediction, structure, parity):
    found, turn = predictions("turned", parity), parity * TURN
    same_energy(found, prediction)
    np.testing.assert_allclose(found.forces, prediction.forces @ turn, **SAME)
    if structure.is_periodic:
        np.testing.assert_allclose(found.stress, turn.T @ prediction.stress @ turn, **SAME)


def test_translations_and_wrapping_change_nothing(predictions, prediction):
    found = predictions("wandered")
    same_energy(found, prediction)
    np.testing.assert_allclose(found.forces, prediction.forces, **SAME)
    np.testing.assert_allclose(prediction.forces.sum(0), 0.0, atol=1e-11)


def test_distant_copies_and_supercells_add_up(predictions, prediction, structure):
    found = predictions("twice")
    same_energy(found, prediction, factor=2.0)
    np.testing.assert_allclose(found.forces, np.tile(prediction.forces, (2, 1)), **SAME)
    if structure.is_periodic:
        np.testing.assert_allclose(found.stress, prediction.stress, **SAME)


def test_isolated_atom_has_no_force(all_predictions):
    atom = all_predictions["atom",]
    assert np.isfinite(atom.energy)
    assert not np.any(atom.forces)


def test_padding_changes_nothing(derivatives, all_predictions):
    found = derivatives.evaluation
    for name, atoms in ATOMS.items():
        expected = all_predictions[name, "itself"]
        np.testing.assert_allclose(found.forces[atoms], expected.forces, **SAME)
        if expected.stress is not None:
            np.testing.assert_allclose(found.stress[GRAPH[name]], expected.stress, **SAME)
    for padding in (found.energy[2:], found.forces[12:], found.virial[2:], found.stress[2:]):
        assert not np.any(padding)


def test_alone_is_as_in_a_batch(compute, derivatives, structure, name):
    alone, n = compute([structure]).evaluation, structure.n_atoms
    together = derivatives.evaluation
    np.testing.assert_allclose(alone.energy[0], together.energy[GRAPH[name]], rtol=1e-13)
    np.testing.assert_allclose(alone.forces[:n], together.forces[ATOMS[name]], **SAME)


@pytest.fixture(scope="module")
def single_precision(potential):
    return dict(zip(STRUCTURES, potential.predict(list(STRUCTURES.values())), strict=True))


def test_single_precision_is_near_double(single_precision, name, prediction, structure):
    found = single_precision[name]
    scale = SINGLE * np.abs(prediction.forces).max()
    assert found.energy == pytest.approx(prediction.energy, abs=scale * structure.n_atoms)
    np.testing.assert_allclose(found.forces, prediction.forces, rtol=SINGLE, atol=scale)
    if structure.is_periodic:
        size = np.abs(prediction.stress).max()
        np.testing.assert_allclose(found.stress, prediction.stress, atol=SINGLE * size)


def test_saved_potential_predicts_the_same_bits(subject, potential, single_precision, tmp_path):
    if not subject.in_factory:
        pytest.skip("a model of the tests, unknown to the factory")
    save_potential(potential, tmp_path / "potential")
    loaded = load_potential(tmp_path / "potential").predict(list(STRUCTURES.values()))
    for found, expected in zip(loaded, single_precision.values(), strict=True):
        assert found.energy == expected.energy
        np.testing.assert_array_equal(found.forces, expected.forces)


def test_energy_of_positions_is_the_same_energy(x64, potential, all_predictions):
    structure, expected = STRUCTURES["crystal"], all_predictions["crystal", "itself"]
    neighbors = allocate(
        structure.positions, structure.cell, (True, True, True), cutoff=CUTOFF, skin=0.1
    )
    index = potential.species_index(structure)
    energy_and_gradient = jax.jit(
        jax.value_and_grad(make_position_energy(potential), argnums=(2, 3))
    )
    energy, (gradient, cell_gradient) = energy_and_gradient(
        double(potential),
        jnp.asarray(index),
        jnp.asarray(structure.positions),
        jnp.asarray(structure.cell),
        neighbors,
    )
    reference = np.asarray(REFERENCE_ENERGIES)[index].sum()
    np.testing.assert_allclose(energy, expected.energy - reference, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(-gradient, expected.forces, **SAME)
    # dE/d(strain) at fixed fractional coordinates: both positions and cell follow
    virial = structure.positions.T @ gradient + structure.cell.T @ cell_gradient
    np.testing.assert_allclose(virial / structure.volume, expected.stress, **SAME)
