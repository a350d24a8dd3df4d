"""A batch made by hand, a spring to compare it with; clusters, and a small model to fit to them."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms
from ase.calculators.lj import LennardJones

from jmlip.core.structure import Structure
from jmlip.graphs.graph import (
    AtomGraph,
    Batch,
    Edges,
    Globals,
    Labels,
    Nodes,
    sum_over_neighbors,
)
from jmlip.graphs.output import AtomicOutput
from jmlip.ops import safe
from jmlip.potentials.potential import Potential
from jmlip.potentials.storage import smallest_graph


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


@dataclasses.dataclass(frozen=True, kw_only=True)
class PairConfig:
    species: tuple[int, ...] = (18,)
    cutoff: float = 6.0
    width: int = 8


class PairModel(nn.Module):
    """E_i = sum_j u(r_ij) with u a small network: the least that can be fitted to forces."""

    config: PairConfig

    @nn.compact
    def __call__(self, graph):
        r = safe.norm(graph.edges.vector)
        inside = jnp.clip(1.0 - r / self.config.cutoff, 0.0, 1.0)
        x = jnp.stack([r - 4.0, (3.4 / r) ** 6], axis=-1)
        x = nn.tanh(nn.Dense(self.config.width, name="hidden")(x))
        pair = nn.Dense(1, name="out")(x)[:, 0] * inside**2
        energy = sum_over_neighbors(graph, jnp.where(graph.edges.mask, pair, 0.0))
        return AtomicOutput(energy, energy[:, None], energy[:, None])


@pytest.fixture(scope="session")
def untrained() -> Potential:
    model = PairModel(PairConfig())
    return Potential(
        kind="pair",
        model=model,
        params=model.init(jax.random.key(0), smallest_graph())["params"],
        species=model.config.species,
        cutoff=model.config.cutoff,
        reference_energies=(-3.0,),
    )


@pytest.fixture(scope="session")
def clusters() -> list[Structure]:
    """Distorted argon octahedra with the energies and forces of ASE's Lennard-Jones."""
    rng, made = np.random.default_rng(0), []
    corners = np.concatenate([np.eye(3), -np.eye(3)]) * 2.7
    for _ in range(40):
        atoms = Atoms("Ar6", corners + 0.15 * rng.normal(size=(6, 3)))
        atoms.calc = LennardJones(sigma=3.4, epsilon=0.05, rc=5.9, smooth=True)
        made.append(
            Structure(
                species=atoms.numbers,
                positions=atoms.positions,
                energy=atoms.get_potential_energy() - 18.0,
                forces=atoms.get_forces(),
            )
        )
    return made
