"""Prediction minus label for all a loss or a metric may look at, with masks of what counts."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jmlip.core.types import (
    AtomMask,
    AtomVectors,
    GraphMask,
    GraphTensors,
    Params,
    PerAtom,
    PerGraph,
)
from jmlip.graphs.graph import AtomGraph, Batch, sum_over_atoms
from jmlip.graphs.output import AtomicOutput
from jmlip.ops import safe
from jmlip.potentials.evaluate import ApplyFn, Evaluation, evaluate


class Residuals(NamedTuple):
    """Prediction minus label of one batch; each field `x` counts where `x_mask` holds."""

    energy: PerGraph  # eV
    energy_mask: GraphMask
    energy_per_atom: PerGraph  # eV
    energy_per_atom_mask: GraphMask
    forces: AtomVectors  # eV / angstrom; zeros where forces were not asked for
    forces_mask: AtomMask
    stress: GraphTensors  # eV / angstrom^3; zeros where forces were not asked for
    stress_mask: GraphMask
    atomic_energies: PerAtom  # eV
    atomic_energies_mask: AtomMask
    hierarchy: PerGraph  # non-hierarchicality itself: it has no label
    hierarchy_mask: GraphMask
    small_energy: PerGraph | None = None  # eV, of the first term alone; None unless asked for
    small_energy_mask: GraphMask | None = None
    small_forces: AtomVectors | None = None
    small_forces_mask: AtomMask | None = None
    slow_forces: AtomVectors | None = None  # squares of components, of all other terms: no label
    slow_forces_mask: AtomMask | None = None


def residuals(
    apply_fn: ApplyFn,
    params: Params,
    batch: Batch,
    *,
    reference_energies: tuple[float, ...],
    with_gradient: bool,
    with_parts: bool = False,
) -> Residuals:
    """Evaluate a batch and compare it with its labels.

    Args:
        apply_fn: the model.
        params: its parameters.
        batch: padded graph and labels.
        reference_energies: energy of an isolated atom of each species, eV.
        with_gradient: whether forces and stress are evaluated; without, their residuals are zero
            and count nowhere.
        with_parts: whether the first term of a pair is compared by itself, too.
    """
    graph, labels = batch
    parts = {}
    if with_parts:
        small, slow = _evaluate_parts(apply_fn, params, graph)
        energy, forces, _, stress, output = _sum(small, slow)
        forces, stress = forces - labels.forces, stress - labels.stress
        parts = _compare_parts(small, slow, batch)
    elif with_gradient:
        energy, forces, _, stress, output = evaluate(apply_fn, params, graph)
        forces, stress = forces - labels.forces, stress - labels.stress
    else:
        output = apply_fn(params, graph)
        energy = sum_over_atoms(graph, output.energy)
        forces, stress = jnp.zeros_like(labels.forces), jnp.zeros_like(labels.stress)
    real, real_atom = graph.globals.mask, graph.nodes.mask
    energy_error = energy - labels.energy
    energy_mask = labels.energy_mask & real
    return Residuals(
        energy=energy_error,
        energy_mask=energy_mask,
        energy_per_atom=energy_error / jnp.maximum(graph.n_node, 1),
        energy_per_atom_mask=energy_mask,
        forces=forces,
        forces_mask=labels.forces_mask & real_atom & with_gradient,
        stress=stress,
        stress_mask=labels.stress_mask & (graph.globals.volume > 0.0) & with_gradient,
        atomic_energies=output.energy - labels.atomic_energies,
        atomic_energies_mask=labels.atomic_energies_mask & real_atom,
        hierarchy=non_hierarchicality(graph, output.terms, reference_energies),
        hierarchy_mask=real,
        **parts,
    )


def _evaluate_parts(
    apply_fn: ApplyFn, params: Params, graph: AtomGraph
) -> tuple[Evaluation, Evaluation]:
    """The first term by itself, and the sum of the others; what neither uses is not computed."""

    def only(part: slice) -> ApplyFn:
        def apply_part(params, graph):
            output = apply_fn(params, graph)
            terms = output.terms[:, part]
            return AtomicOutput(terms.sum(axis=1), terms, output.features[:, :0])

        return apply_part

    first, others = slice(0, 1), slice(1, None)
    return evaluate(only(first), params, graph), evaluate(only(others), params, graph)


def _sum(small: Evaluation, slow: Evaluation) -> Evaluation:
    terms = jnp.concatenate([small.output.terms, slow.output.terms], axis=1)
    output = AtomicOutput(terms.sum(axis=1), terms, small.output.features)
    total = jax.tree.map(
        jnp.add,
        small._replace(output=None),
        slow._replace(output=None),  # type: ignore[arg-type]
    )
    return total._replace(output=output)


def _compare_parts(small: Evaluation, slow: Evaluation, batch: Batch) -> dict[str, Array]:
    graph, labels = batch
    return {
        "small_energy": small.energy - labels.energy,
        "small_energy_mask": labels.energy_mask & graph.globals.mask,
        "small_forces": small.forces - labels.forces,
        "small_forces_mask": labels.forces_mask & graph.nodes.mask,
        "slow_forces": slow.forces**2,
        "slow_forces_mask": graph.nodes.mask,
    }


def non_hierarchicality(
    graph: AtomGraph,
    terms: Float[Array, "atoms orders"],
    reference_energies: tuple[float, ...],
) -> PerGraph:
    """R = sum_i sum_n (E_i^n)^2 / [(E_i^n)^2 + (E_i^(n-1))^2] of each structure; 0/0 counts 0.

    References: Lubbers, Smith, Barros, J. Chem. Phys. 148, 241715 (2018).
    """
    reference = jnp.asarray(reference_energies, terms.dtype)[graph.nodes.species]
    squares = jnp.concatenate([reference[:, None], terms], axis=1) ** 2
    # padding is masked before the division, not after it
    squares = jnp.where(graph.nodes.mask[:, None], squares, 0.0)
    ratios = safe.divide(squares[:, 1:], squares[:, 1:] + squares[:, :-1])
    return sum_over_atoms(graph, ratios.sum(axis=1))
