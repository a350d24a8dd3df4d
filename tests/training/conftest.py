"""A batch made by hand, a spring to compare it with; clusters, and a small model to fit to them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jmlip.core.structure import Structure
from jmlip.graphs.graph import (
    AtomGraph,
    Batch,
    Edges,
    Globals,
    Labels,
    Nodes,
)
from jmlip.graphs.output import AtomicOutput
from jmlip.potentials.potential import Potential
from tests.training import argon


@pytest.fixture
def batch() -> Batch:
    """Atoms 0 and 1 are a dimer, atom 2 is alone, atom 3 is padding; one pair slot per atom."""
    index = np.arange(4, dtype=np.int32)
    vector = np.array([[1.5, 0, 0], [-1.5, 0, 0], [9, 0, 0], [9, 0, 0]], np.float32)
    senders = np.array([1, 0, 2, 3], np.int32)
    graph = AtomGraph(
        nodes=Nodes(np.array([0, 1, 1, 0], np.int32), index < 3, np.array([0, 0, 1, 2], np.int32)),
        edges=Edges(vector, senders, index < 2),
        receivers=index,
        senders=senders,
        globals=Globals(
            np.array([True, True, False]), np.array([20.0, 0, 0], np.float32), np.zeros(3, np.int32)
        ),
        n_node=np.array([2, 1, 1], np.int32),
        n_edge=np.array([2, 0, 2], np.int32),
    )
    stress = np.zeros((3, 3, 3), np.float32)
    stress[0] = np.eye(3) * 0.1
    labels = Labels(
        energy=np.array([2.0, 1.0, 0.0], np.float32),
        energy_mask=np.array([True, True, False]),
        forces=np.array([[1.0, 0, 0], [-1.0, 0, 0], [0, 0, 0], [0, 0, 0]], np.float32),
        forces_mask=np.array([True, True, False, False]),
        stress=stress,
        stress_mask=np.array([True, False, False]),
        atomic_energies=np.array([0.5, 1.5, 0.0, 0.0], np.float32),
        atomic_energies_mask=np.array([True, True, False, False]),
        energy_orders=np.array([[0.2, 0.1], [1.0, 0.5], [0, 0], [0, 0]], np.float32),
        energy_orders_mask=np.array([True, True, False, False]),
        energy_weight=np.ones(3, np.float32),
        forces_weight=np.ones(4, np.float32),
    )
    return jax.tree.map(jnp.asarray, Batch(graph, labels))


@pytest.fixture
def spring():
    """E_i = offset_i + k/4 sum_j (r_ij - length)^2: a dimer has energy k/2 (r - length)^2."""

    def apply_fn(params, graph):
        vector = graph.edges.vector
        stretch = jnp.sqrt(jnp.sum(vector * vector, axis=-1)) - params["length"]
        pair = jnp.where(graph.edges.mask, 0.25 * params["k"] * stretch**2, 0.0)
        terms = jnp.stack([params["offset"][graph.nodes.species, 0], pair], axis=1)
        return AtomicOutput(terms.sum(axis=1), terms, terms)

    params = {
        "k": jnp.float32(4.0),
        "length": jnp.float32(1.0),
        "offset": jnp.array([[0.25], [0.5]], jnp.float32),
    }
    return apply_fn, params


@pytest.fixture(scope="session")
def untrained() -> Potential:
    return argon.untrained()


@pytest.fixture(scope="session")
def clusters() -> list[Structure]:
    return argon.clusters()
