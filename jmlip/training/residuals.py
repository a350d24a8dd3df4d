"""Prediction minus label for all a loss or a metric may look at, with masks of what counts."""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from jmlip.core.types import (
    AtomMask,
    AtomVectors,
    GraphMask,
    GraphTensors,
    PairVectors,
    Params,
    PerAtom,
    PerGraph,
)
from jmlip.graphs.graph import AtomGraph, Batch, sum_over_atoms
from jmlip.graphs.output import AtomicOutput
from jmlip.ops import safe
from jmlip.potentials.evaluate import ApplyFn, from_pair_gradient, pair_gradient


class Residuals(NamedTuple):
    """Prediction minus label of one batch; each field `x` counts where `x_mask` holds.

    In a loss energies and forces also count as their weights say.
    """

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
    energy_orders: Float[Array, "atoms orders"]  # eV; without any order where no label is
    energy_orders_mask: AtomMask
    hierarchy: PerGraph  # non-hierarchicality itself: it has no label
    hierarchy_mask: GraphMask
    energy_weight: PerGraph  # of all terms that compare with energies
    forces_weight: PerAtom
    # of the first term alone, and of all others; None unless asked for
    small_energy: PerGraph | None = None  # eV
    small_energy_mask: GraphMask | None = None
    small_forces: AtomVectors | None = None
    small_forces_mask: AtomMask | None = None
    slow_forces: AtomVectors | None = None  # squares of components: no label
    slow_forces_mask: AtomMask | None = None


class Prediction(NamedTuple):
    """What a model, or a part of one, says: all that a comparison needs to know of it."""

    output: AtomicOutput  # without features
    gradient: PairVectors | None  # dE/dr of every slot, eV / angstrom; None unless asked for


def residuals(
    apply_fn: ApplyFn,
    params: Params,
    batch: Batch,
    *,
    reference_energies: tuple[float, ...],
    with_gradient: bool,
    parts: Sequence[ApplyFn] = (),
) -> Residuals:
    """Evaluate a batch and compare it with its labels.

    Args:
        apply_fn: the model.
        params: its parameters.
        batch: padded graph and labels.
        reference_energies: energy of an isolated atom of each species, eV.
        with_gradient: whether forces and stress are evaluated; without, their residuals are zero
            and count nowhere.
        parts: small and large model of a pair, which add up to `apply_fn`; where they are given,
            the small one is compared by itself, too.
    """
    predictions = [
        predict(part, params, batch.graph, with_gradient=with_gradient)
        for part in compared_parts(apply_fn, parts)
    ]
    return compare(predictions, batch, reference_energies=reference_energies)


def compared_parts(apply_fn: ApplyFn, parts: Sequence[ApplyFn] = ()) -> list[ApplyFn]:
    """What is evaluated by itself, without features: the model, or the parts, of one term each."""

    def lean(function: ApplyFn) -> ApplyFn:
        def apply_lean(params, graph):
            output = function(params, graph)
            terms = output.energy[:, None] if parts else output.terms
            return AtomicOutput(output.energy, terms, output.features[:, :0])

        return apply_lean

    return [lean(function) for function in parts or (apply_fn,)]


def predict(
    apply_fn: ApplyFn, params: Params, graph: AtomGraph, *, with_gradient: bool
) -> Prediction:
    """Evaluate one of `compared_parts`."""
    if with_gradient:
        return Prediction(*pair_gradient(apply_fn, params, graph))
    return Prediction(apply_fn(params, graph), None)


def compare(
    predictions: Sequence[Prediction], batch: Batch, *, reference_energies: tuple[float, ...]
) -> Residuals:
    """The comparison alone: a function of what the parts of a model say, not of parameters.

    Args:
        predictions: of each of `compared_parts`, all with gradients or all without.
        batch: padded graph and labels.
        reference_energies: energy of an isolated atom of each species, eV.
    """
    graph, labels = batch
    output, gradient = functools.reduce(_add, predictions)
    with_gradient = gradient is not None
    if gradient is None:
        energy = sum_over_atoms(graph, output.energy)
        forces, stress = jnp.zeros_like(labels.forces), jnp.zeros_like(labels.stress)
    else:
        energy, forces, _, stress, _ = from_pair_gradient(graph, output, gradient)
        forces, stress = forces - labels.forces, stress - labels.stress
    # labels of other orders than the model has are asked for by no loss
    same = output.terms.shape == labels.energy_orders.shape
    orders = output.terms - labels.energy_orders if same else labels.energy_orders[:, :0]
    parts = _compare_parts(*predictions, batch=batch) if len(predictions) > 1 else {}
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
        energy_orders=orders,
        energy_orders_mask=labels.energy_orders_mask & real_atom & bool(orders.shape[1]),
        hierarchy=non_hierarchicality(graph, output.terms, reference_energies),
        hierarchy_mask=real,
        energy_weight=labels.energy_weight,
        forces_weight=labels.forces_weight,
        **parts,
    )


def _add(left: Prediction, right: Prediction) -> Prediction:
    energy = left.output.energy + right.output.energy
    terms = jnp.concatenate([left.output.terms, right.output.terms], axis=1)
    output = AtomicOutput(energy, terms, left.output.features)
    if left.gradient is None or right.gradient is None:
        return Prediction(output, None)
    return Prediction(output, left.gradient + right.gradient)


def _compare_parts(small: Prediction, slow: Prediction, *, batch: Batch) -> dict[str, Array]:
    graph, labels = batch
    compared: dict[str, Array] = {
        "small_energy": sum_over_atoms(graph, small.output.energy) - labels.energy,
        "small_energy_mask": labels.energy_mask & graph.globals.mask,
    }
    if small.gradient is None or slow.gradient is None:
        return compared
    small_forces = from_pair_gradient(graph, small.output, small.gradient).forces
    slow_forces = from_pair_gradient(graph, slow.output, slow.gradient).forces
    return compared | {
        "small_forces": small_forces - labels.forces,
        "small_forces_mask": labels.forces_mask & graph.nodes.mask,
        "slow_forces": slow_forces**2,
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
