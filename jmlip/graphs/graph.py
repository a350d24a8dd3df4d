"""Padded graphs: `jraph.GraphsTuple` with typed payloads, sums over neighbors along an axis.

Convention, everywhere: messages flow sender -> receiver,

    vector = position[sender] - position[receiver] + shift @ cell,

where the rows of `cell` are lattice vectors, and the pair list is full: each pair appears in both
directions.

Layout: every atom owns the same number K of consecutive pair slots, those in which it is the
receiver: `receivers = repeat(arange(atoms), K)`. A sum over the neighbors of each atom is then
`x.reshape(atoms, K, ...).sum(1)`: no scatter, on any device, in any derivative. `edges.reverse[p]`
is the slot of the opposite pair, so that what a sender knows reaches the receiver by one
permutation, its own inverse. Slots without a neighbor, and atoms and graphs that only fill a
bucket, are padding: mask `False`, vectors of length twice the cutoff, `reverse[p] == p`. The last
graph is always padding.
"""

from typing import TYPE_CHECKING, NamedTuple

import jax.numpy as jnp
import jraph
from jaxtyping import Array, Float, Int

from jmlip.core.types import (
    AtomIndex,
    AtomMask,
    AtomVectors,
    GraphMask,
    GraphTensors,
    PairIndex,
    PairMask,
    PairVectors,
    PerAtom,
    PerGraph,
)


class Nodes(NamedTuple):
    """What a model knows of each atom."""

    species: AtomIndex  # position in the potential's list of elements; 0 in padding
    mask: AtomMask
    graph: AtomIndex  # the graph each atom belongs to


class Edges(NamedTuple):
    """What a model knows of each pair slot."""

    vector: PairVectors  # angstrom
    reverse: PairIndex
    mask: PairMask


class Globals(NamedTuple):
    """What a potential knows of each configuration."""

    mask: GraphMask
    volume: PerGraph  # angstrom^3; 0 where the configuration is not periodic in three directions
    state: Int[Array, " graphs"]  # position in the potential's list of charges and spins, or 0
    head: Int[Array, " graphs"] | None = None  # position in its list of heads, if that is known


if TYPE_CHECKING:

    class AtomGraph(NamedTuple):
        """One padded graph, or several side by side."""

        nodes: Nodes
        edges: Edges
        receivers: PairIndex
        senders: PairIndex
        globals: Globals
        n_node: Int[Array, " graphs"]
        n_edge: Int[Array, " graphs"]
else:
    # the same seven fields; jraph's own annotations do not say what stands in them
    AtomGraph = jraph.GraphsTuple


class Labels(NamedTuple):
    """Reference values of one batch, with masks for those a frame does not have.

    What is missing is 0 and masked. Energies have the isolated-atom references subtracted, in
    float64, before they are cast.
    """

    energy: PerGraph  # eV
    energy_mask: GraphMask
    forces: AtomVectors  # eV / angstrom
    forces_mask: AtomMask
    stress: GraphTensors  # eV / angstrom^3
    stress_mask: GraphMask
    atomic_energies: PerAtom  # eV
    atomic_energies_mask: AtomMask
    energy_orders: Float[Array, "atoms orders"]  # eV
    energy_orders_mask: AtomMask
    energy_weight: PerGraph  # what each counts in a loss, 1 unless given
    forces_weight: PerAtom


class Batch(NamedTuple):
    """A padded graph and its labels."""

    graph: AtomGraph
    labels: Labels


def n_slots(graph: AtomGraph) -> int:
    """K, the number of pair slots of every atom."""
    return graph.edges.vector.shape[0] // graph.nodes.species.shape[0]


def sum_over_neighbors(
    graph: AtomGraph, values: Float[Array, "pairs ..."]
) -> Float[Array, "atoms ..."]:
    """Sum pair values over the neighbors of each receiver."""
    return values.reshape(-1, n_slots(graph), *values.shape[1:]).sum(axis=1)


def from_senders(graph: AtomGraph, values: Float[Array, "pairs ..."]) -> Float[Array, "pairs ..."]:
    """Carry what stands in the slots of the opposite pairs to this side: `values[reverse]`."""
    return values.at[graph.edges.reverse].get(unique_indices=True, mode="promise_in_bounds")


def sum_over_atoms(
    graph: AtomGraph, values: Float[Array, "atoms ..."]
) -> Float[Array, "graphs ..."]:
    """Sum atom values over each graph; padding atoms count for nothing."""
    mask = graph.nodes.mask.reshape(-1, *[1] * (values.ndim - 1))
    zeros = jnp.zeros((graph.n_node.shape[0], *values.shape[1:]), values.dtype)
    return zeros.at[graph.nodes.graph].add(jnp.where(mask, values, 0), indices_are_sorted=True)
