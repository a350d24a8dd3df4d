"""What every model must do as a function of parameters and graph, whatever a potential adds."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jmlip.core.structure import Structure
from jmlip.graphs.batching import Bucket, pad_batch
from jmlip.graphs.frames import make_frame
from jmlip.graphs.graph import sum_over_atoms
from jmlip.potentials.evaluate import evaluate
from tests.contracts.subjects import CUTOFF, REFERENCE_ENERGIES, SPECIES


@pytest.fixture(scope="module")
def compiled(potential):
    return jax.jit(functools.partial(evaluate, potential.apply))


def graph_of(structures, dtype):
    frames = [
        make_frame(s, species=SPECIES, cutoff=CUTOFF, reference_energies=REFERENCE_ENERGIES)
        for s in structures
    ]
    graph = pad_batch(frames, ROOM, cutoff=CUTOFF, dtype=dtype).graph
    return jax.tree.map(jnp.asarray, graph)


def params_of(potential, dtype):
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), potential.params)


def pair(distance, third=False):
    positions = [[0.0, 0.0, 0.0], [distance, 0.0, 0.0], [0.0, 1.2, 0.0]][: 3 if third else 2]
    return Structure(species=[6, 8, 1][: len(positions)], positions=positions)


AWKWARD = {
    "one atom": [Structure(species=[8], positions=[[0, 0, 0]])],
    "atoms beyond the cutoff": [pair(3.0 * CUTOFF)],
    "a lone atom among others": [
        Structure(species=[6, 8, 1], positions=[[0, 0, 0], [1.2, 0, 0], [0, 50, 0]])
    ],
    "a line": [Structure(species=[8, 6, 8], positions=[[-1.2, 0, 0], [0, 0, 0], [1.2, 0, 0]])],
    "a square": [
        Structure(species=[6] * 4, positions=[[1, 1, 0], [1, -1, 0], [-1, 1, 0], [-1, -1, 0]])
    ],
    "a cubic crystal": [
        Structure(species=[6], positions=[[0, 0, 0]], cell=2.6 * np.eye(3), pbc=[True] * 3)
    ],
}


ROOM = Bucket(6, 18, 2)  # for every graph of this file: one program


@pytest.fixture(scope="module")
def loss_gradient(potential):
    def loss(params, graph):
        result = evaluate(potential.apply, params, graph)
        return jnp.sum(result.energy) + jnp.sum((result.forces - 0.1) ** 2)

    return jax.jit(jax.value_and_grad(loss))


@pytest.mark.parametrize("name", AWKWARD)
def test_awkward_geometries_have_finite_derivatives(potential, loss_gradient, name):
    """Of energies and forces, with respect to the parameters."""
    graph = graph_of(AWKWARD[name], np.float32)
    value, gradient = loss_gradient(params_of(potential, np.float32), graph)
    assert np.isfinite(value)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


@pytest.mark.parametrize("name", ["a line", "a square", "a cubic crystal"])
def test_forces_have_the_symmetry_of_the_structure(x64, potential, compiled, name):
    structures = AWKWARD[name]
    graph = graph_of(structures, np.float64)
    forces = np.asarray(compiled(params_of(potential, np.float64), graph).forces)
    positions = structures[0].positions
    if name == "a square":  # along the diagonals, all alike
        along = np.sum(forces[:4] * positions, axis=1) / np.sum(positions**2, axis=1)
        np.testing.assert_allclose(forces[:4], along[:1, None] * positions, atol=1e-12)
    elif name == "a line":
        np.testing.assert_allclose(forces[1], 0.0, atol=1e-12)
        np.testing.assert_allclose(forces[0], -forces[2], atol=1e-12)
        np.testing.assert_allclose(forces[:, 1:], 0.0, atol=1e-12)
    else:
        np.testing.assert_allclose(forces, 0.0, atol=1e-12)


@pytest.mark.parametrize("third", [False, True], ids=["pair", "many"])
def test_energy_and_forces_are_continuous_at_the_cutoff(x64, subject, potential, compiled, third):
    """An atom that leaves: what is above the value outside must vanish with the distance h."""
    params = params_of(potential, np.float64)
    at = lambda r: compiled(params, graph_of([pair(r, third)], np.float64))
    outside = at(CUTOFF + 1e-9)
    energies, forces = [], []
    for h in (1e-2, 1e-3, 1e-4):
        inside = at(CUTOFF - h)
        energies.append(abs(float(inside.energy[0] - outside.energy[0])))
        forces.append(np.abs(inside.forces - outside.forces).max())
    # one order in h for forces, two for energies; any order where all derivatives vanish
    for coarse, fine in itertools.pairwise(energies):
        assert fine <= 0.02 * coarse + 1e-13
    for coarse, fine in itertools.pairwise(forces):
        # what does not depend on the atom that leaves moves with h as well
        assert fine <= 0.2 * coarse + 1e-13
    if subject.smooth and not third:
        for coarse, fine in itertools.pairwise(forces):  # two orders in h
            assert fine <= 0.02 * coarse + 1e-13


def test_compiled_is_as_not_compiled(x64, potential, compiled):
    structures = AWKWARD["a square"]
    graph = graph_of(structures, np.float64)
    params = params_of(potential, np.float64)
    plain, output = potential.apply(params, graph), compiled(params, graph).output
    for a, b in zip(jax.tree.leaves(plain), jax.tree.leaves(output), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_results_have_the_precision_of_the_input(x64, potential, dtype):
    graph = graph_of([pair(1.3, third=True)], dtype)
    found = jax.eval_shape(
        lambda params: evaluate(potential.apply, params, graph), params_of(potential, dtype)
    )
    assert {leaf.dtype for leaf in jax.tree.leaves(found)} == {np.dtype(dtype)}


def test_order_of_neighbors_does_not_matter(x64, potential, compiled):
    """The same pairs in other slots of their atoms."""
    graph = graph_of([pair(1.3, third=True)], np.float64)
    slots = np.arange(ROOM.n_atoms * ROOM.n_slots).reshape(ROOM.n_atoms, -1)
    order = np.random.default_rng(0).permuted(slots, axis=1).reshape(-1)
    place = jnp.asarray(np.argsort(order), jnp.int32)  # where each old slot stands now
    edges = graph.edges._replace(
        vector=graph.edges.vector[order],
        mask=graph.edges.mask[order],
        reverse=place[graph.edges.reverse[order]],
    )
    shuffled = graph._replace(edges=edges, senders=graph.senders[order])
    params = params_of(potential, np.float64)
    expected, found = compiled(params, graph), compiled(params, shuffled)
    np.testing.assert_allclose(found.energy, expected.energy, rtol=1e-12)
    np.testing.assert_allclose(found.forces, expected.forces, atol=1e-11)


def test_padding_gets_no_gradient_and_gives_none(x64, potential):
    """Whatever vectors stand in padding slots, energies and gradients stay as they are."""
    graph = graph_of([pair(1.3, third=True)], np.float64)
    params = params_of(potential, np.float64)

    def energy(params, vector):
        changed = graph._replace(edges=graph.edges._replace(vector=vector))
        return jnp.sum(sum_over_atoms(graph, potential.apply(params, changed).energy)[:1])

    value = jax.jit(jax.value_and_grad(energy, argnums=(0, 1)))
    padding = ~graph.edges.mask[:, None]
    # still outside of the cutoff: models may rely on it, `pad_batch` promises it
    other = jnp.where(padding, graph.edges.vector * 1.5 + padding, graph.edges.vector)
    (first, (dp, dv)), (second, (dp2, dv2)) = (
        value(params, graph.edges.vector), value(params, other)
    )  # fmt: skip
    assert first == second
    assert not np.any(np.where(padding, dv, 0.0))
    assert not np.any(np.where(padding, dv2, 0.0))
    for a, b in zip(jax.tree.leaves(dp), jax.tree.leaves(dp2), strict=True):
        np.testing.assert_array_equal(a, b)
