"""From atomic energies to energy, forces, stress and what else derivatives give: pure functions.

A model sees pair vectors r_p = position[sender] - position[receiver] only, so one gradient with
respect to them gives everything:

    g_p = dE/dr_p,      f_p = g_p - g_reverse(p)

f_p is the force that the sender of slot p exerts on its receiver. Summed over the slots of atom i:

    force     F_i = -dE/dR_i = sum_p f_p
    virial    W_i = 1/2 sum_p r_p (x) f_p,    W = sum_i W_i = dE/d(strain),    stress = W / V

E is the interaction energy: constants of the elements are added by `Potential`, in float64. All of
it can be differentiated again, in parameters, vectors and directions.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jmlip.core.errors import PotentialError
from jmlip.core.types import AtomVectors, GraphTensors, PairVectors, Params, PerGraph
from jmlip.graphs.graph import (
    AtomGraph,
    from_senders,
    n_slots,
    sum_over_atoms,
    sum_over_neighbors,
)
from jmlip.graphs.output import AtomicOutput
from jmlip.ops import safe

ApplyFn = Callable[[Params, AtomGraph], AtomicOutput]
"""`apply_fn(params, graph)`: a model with its configuration bound."""


class Evaluation(NamedTuple):
    """One padded graph evaluated; padding atoms have force 0, padding graphs have zeros."""

    energy: PerGraph  # eV, without the reference energies
    forces: AtomVectors  # eV / angstrom
    virial: GraphTensors  # dE/d(strain), eV, symmetric
    stress: GraphTensors  # virial / volume, eV / angstrom^3; 0 where the graph has no volume
    output: AtomicOutput


def energies(apply_fn: ApplyFn, params: Params, graph: AtomGraph) -> PerGraph:
    """Interaction energy of each graph, eV."""
    graph = _checked(params, graph)
    return sum_over_atoms(graph, apply_fn(params, graph).energy)


def evaluate(apply_fn: ApplyFn, params: Params, graph: AtomGraph) -> Evaluation:
    """Energy, forces and stress of each graph by one reverse pass through the model."""
    return from_pair_gradient(graph, *pair_gradient(apply_fn, params, graph))


def pair_gradient(
    apply_fn: ApplyFn, params: Params, graph: AtomGraph
) -> tuple[AtomicOutput, PairVectors]:
    """What the model returns, and g = dE/dr of every slot; in padding g means nothing."""
    graph = _checked(params, graph)

    def total(vector: PairVectors) -> tuple[Float[Array, ""], AtomicOutput]:
        output = apply_fn(params, with_vectors(graph, vector))
        return jnp.sum(jnp.where(graph.nodes.mask, output.energy, 0.0)), output

    gradient, output = jax.grad(total, has_aux=True)(graph.edges.vector)
    return output, gradient


def from_pair_gradient(graph: AtomGraph, output: AtomicOutput, gradient: PairVectors) -> Evaluation:
    """Sums over pairs and atoms: the last step of `evaluate`, linear in what it is given."""
    pair_force = _pair_forces(graph, gradient)
    virial = sum_over_atoms(graph, _atomic_virials(graph, pair_force))
    volume = graph.globals.volume[:, None, None]
    return Evaluation(
        energy=sum_over_atoms(graph, output.energy),
        forces=sum_over_neighbors(graph, pair_force),
        virial=virial,
        stress=safe.divide(virial, volume),
        output=output,
    )


def atomic_virials(
    apply_fn: ApplyFn, params: Params, graph: AtomGraph
) -> Float[Array, "atoms 3 3"]:
    """W_i: each pair's share of dE/d(strain), half to either atom; the sum is the virial, eV."""
    _, gradient = pair_gradient(apply_fn, params, graph)
    return _atomic_virials(graph, _pair_forces(graph, gradient))


def hessian_vector_product(
    apply_fn: ApplyFn, params: Params, graph: AtomGraph, direction: AtomVectors
) -> AtomVectors:
    """H v with H = d^2 E / dR dR at fixed cell, without ever forming H.

    Args:
        apply_fn: the model.
        params: its parameters.
        graph: one or several configurations; H is block diagonal over them.
        direction: v, a displacement of every atom, angstrom.

    Returns:
        The change of dE/dR along v: eV / angstrom where v is in angstrom.
    """
    graph = _checked(params, graph)
    received = jnp.repeat(direction, n_slots(graph), axis=0)
    # the receiver of the opposite slot is the sender of this one
    displacement = from_senders(graph, received) - received

    def forces(vector: PairVectors) -> AtomVectors:
        _, gradient = pair_gradient(apply_fn, params, with_vectors(graph, vector))
        return sum_over_neighbors(graph, _pair_forces(graph, gradient))

    _, change = jax.jvp(forces, (graph.edges.vector,), (displacement,))
    return -change


def hessian(apply_fn: ApplyFn, params: Params, graph: AtomGraph) -> Float[Array, "atoms 3 atoms 3"]:
    """H = d^2 E / dR dR at fixed cell, eV / angstrom^2: one Hessian product for each coordinate.

    Rows and columns of padding atoms are 0. Evaluate it in float64 for vibrations.
    """
    n_atoms = len(graph.nodes.species)
    basis = jnp.eye(3 * n_atoms, dtype=graph.edges.vector.dtype).reshape(-1, n_atoms, 3)
    product = lambda direction: hessian_vector_product(apply_fn, params, graph, direction)
    return jax.vmap(product)(basis).reshape(n_atoms, 3, n_atoms, 3)


def with_vectors(graph: AtomGraph, vector: PairVectors) -> AtomGraph:
    """The same graph with other pair vectors."""
    return graph._replace(edges=graph.edges._replace(vector=vector))


def _pair_forces(graph: AtomGraph, gradient: PairVectors) -> PairVectors:
    # padding slots are their own reverse, so what stands in them cancels
    return gradient - from_senders(graph, gradient)


def _checked(params: Params, graph: AtomGraph) -> AtomGraph:
    """The graph as JAX arrays: NumPy arrays cannot be indexed by tracers."""
    graph = jax.tree.map(jnp.asarray, graph)
    wanted = graph.edges.vector.dtype
    other = {leaf.dtype for leaf in jax.tree.leaves(params)} - {wanted}
    if found := [each.name for each in other if jnp.issubdtype(each, jnp.floating)]:
        raise PotentialError(
            f"parameters and graph must have one precision, found {', '.join(sorted(found))} and "
            f"{wanted.name}; cast with Potential.astype, or make the graph with pad_batch(..., "
            "dtype=...)."
        )
    return graph


def _atomic_virials(graph: AtomGraph, pair_force: PairVectors) -> Float[Array, "atoms 3 3"]:
    # column by column: no array of nine numbers for each pair is ever written
    columns = [
        sum_over_neighbors(graph, graph.edges.vector * pair_force[:, b, None]) for b in range(3)
    ]
    virial = jnp.stack(columns, axis=-1)
    return 0.25 * (virial + virial.swapaxes(-1, -2))
