"""The gradient of a loss on forces: three ways, two of which follow one direction.

A loss sees a model only through the energies e(theta, r) of its atoms, term by term, and through
g = dE/dr, where E is the sum of e and r are pair vectors. With the derivatives c = dL/de and
u = dL/dg of the loss, constants from here on,

    dL/dtheta = d/dtheta [ c . e(theta, r) + u . d/dr E(theta, r) ]
              = dG/dt at t = 0,    G(t) = d/dtheta [ (1 + t c) . e(theta, r + t u) ].

So after one evaluation of energies and forces, what is left is the change of an ordinary gradient
of energies when pair vectors move along u and the weights of atoms along c. This holds for every
loss, for stress (u then has a strain in it), and for each part of a pair of models by itself. The
direction obeys u[reverse] = -u, as displacements of atoms do, and is 0 in padding.

    "double_backward"    reverse mode over the reverse mode that gives forces; no direction;
    "jvp"                forward mode over G: exact, too;
    "finite_difference"  [G(eta) - G(-eta)] / (2 eta): only first derivatives of the model.

Differences. Configuration k has its own eta_k = eps / rms(u_k), the root mean square over the
components of its real pair slots: eps is a length, whatever the units of the loss. Where u_k = 0,
nothing moves and nothing is added. The error is O(eps^2), and of the order of (1e-7 angstrom) / eps
from rounding in single precision.

The list of pairs is that of r. A pair just outside of the cutoff that a displacement would bring in
is not seen, and rightly: to the gradient at r it contributes exactly 0. For a pair just inside that
a displacement takes out, the difference is wrong by O(eps) where the second derivative of the
energy jumps at the cutoff; a part O(eps) of all pairs is so near: O(eps^2) together.

References: Smith, Lubbers, Thompson, Barros, arXiv:2006.05475 (2020), for squared errors of forces.
"""

import functools
from collections.abc import Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jmlip.core.errors import ConfigError
from jmlip.core.types import PairVectors, Params, PerAtom, PerGraph
from jmlip.graphs.graph import AtomGraph, Batch, n_slots, sum_over_atoms, sum_over_neighbors
from jmlip.graphs.output import AtomicOutput
from jmlip.ops import safe
from jmlip.potentials.evaluate import ApplyFn, with_vectors
from jmlip.training.loss_config import LossConfig
from jmlip.training.losses import TermSums, term_sums
from jmlip.training.residuals import Prediction, compare, compared_parts, predict
from jmlip.training.shares import LossGradient, Shares, Slopes, of_whole_batch

ForceGradient = Literal["double_backward", "jvp", "finite_difference"]
EPS = 1.0e-3
"""Angstrom; single precision is at its best from 3e-4 to 3e-3."""
LEAST_EPS, LARGEST_EPS = 1.0e-6, 0.1


def make_loss_gradient(
    apply_fn: ApplyFn,
    loss: LossConfig,
    *,
    reference_energies: tuple[float, ...],
    parts: Sequence[ApplyFn] = (),
    force_gradient: ForceGradient = "double_backward",
    force_gradient_eps: float | None = None,
    shares: Shares | None = None,
) -> LossGradient:
    """The loss of a batch and its gradient; loss and terms do not depend on the way.

    Args:
        apply_fn: the model.
        loss: the terms; their weights come with each batch.
        reference_energies: energy of an isolated atom of each species, eV.
        parts: small and large model of a pair, where the loss compares them by themselves.
        force_gradient: the way, see the module.
        force_gradient_eps: root mean square change of a component of a pair vector, angstrom; 1e-3
            unless given; "finite_difference" only.
        shares: how a batch is divided among devices and in time; `None`: not at all.

    Raises:
        ConfigError: the choices contradict each other.
    """
    check_force_gradient(loss, force_gradient, force_gradient_eps)
    functions = compared_parts(apply_fn, parts)

    def predict_parts(params: Params, batch: Batch) -> list[Prediction]:
        with_gradient = loss.needs_gradient
        graph = batch.graph
        return [predict(each, params, graph, with_gradient=with_gradient) for each in functions]

    def totals_and_counts(predictions: Sequence[Prediction], batch: Batch) -> tuple[Array, Array]:
        compared = compare(predictions, batch, reference_energies=reference_energies)
        totals, counts = term_sums(loss, compared)
        return totals, counts

    def by_reverse_mode(params: Params, batch: Batch):
        whole = lambda params: totals_and_counts(predict_parts(params, batch), batch)
        totals, pull_back, counts = jax.vjp(whole, params, has_aux=True)
        return TermSums(totals, counts), lambda slopes: pull_back(slopes)[0]

    def by_direction(params: Params, batch: Batch):
        compared = lambda predictions: totals_and_counts(predictions, batch)
        totals, directions_of, counts = jax.vjp(
            compared, predict_parts(params, batch), has_aux=True
        )

        def pull_back(slopes: Slopes) -> Params:
            (directions,) = directions_of(slopes)
            changes = [
                change_along(function, params, batch.graph, c, u)
                for function, (c, u) in zip(functions, directions, strict=True)
            ]
            return jax.tree.map(lambda *leaves: sum(leaves), *changes)

        return TermSums(totals, counts), pull_back

    eps = EPS if force_gradient_eps is None else force_gradient_eps
    difference = functools.partial(_difference, eps=eps)
    change_along: Any = {"jvp": _derivative, "finite_difference": difference}.get(force_gradient)
    sums = by_reverse_mode if force_gradient == "double_backward" else by_direction
    return of_whole_batch(sums, loss, shares)


def check_force_gradient(
    loss: LossConfig, force_gradient: ForceGradient, force_gradient_eps: float | None
) -> None:
    """Refuse what has no meaning.

    Raises:
        ConfigError: a way without a loss on forces or stress, or a displacement that is not
            positive or belongs to no differences.
    """
    if force_gradient != "double_backward" and not loss.needs_gradient:
        raise ConfigError(
            f"training.force_gradient = {force_gradient!r} needs a loss on forces or stress, found "
            f"{', '.join(loss.terms)}; remove it, or add such a term."
        )
    if force_gradient_eps is None:
        return
    if force_gradient != "finite_difference":
        raise ConfigError(
            "training.force_gradient_eps has no meaning with training.force_gradient = "
            f"{force_gradient!r}; remove it, or choose 'finite_difference'."
        )
    if not LEAST_EPS <= force_gradient_eps <= LARGEST_EPS:
        raise ConfigError(
            f"training.force_gradient_eps must be from {LEAST_EPS:g} to {LARGEST_EPS:g} angstrom, "
            f"found {force_gradient_eps}."
        )


def _derivative(
    apply_fn: ApplyFn, params: Params, graph: AtomGraph, c: AtomicOutput, u: PairVectors
) -> Params:
    """dG/dt by forward mode."""
    gradient = functools.partial(_gradient, apply_fn, params, graph)
    at_rest = _of_energy(graph.nodes.mask.astype(u.dtype), c)
    _, change = jax.jvp(gradient, (graph.edges.vector, at_rest), (u, c))
    return change


def _difference(
    apply_fn: ApplyFn,
    params: Params,
    graph: AtomGraph,
    c: AtomicOutput,
    u: PairVectors,
    *,
    eps: float,
) -> Params:
    """[G(eta) - G(-eta)] / (2 eta), with 1 / (2 eta) in the weights: each atom has that of its own.

    In a loop, not side by side: the second half uses the memory of the first and its program.
    """
    size = _root_mean_square(graph, u)[graph.nodes.graph]
    step = eps * safe.divide(u, jnp.repeat(size, n_slots(graph))[:, None])
    inverse = _of_energy(jnp.where(graph.nodes.mask, size, 0.0) / (2.0 * eps), c)

    def add_side(total: Params, sign: Float[Array, ""]) -> tuple[Params, None]:
        weights = jax.tree.map(lambda inverse, c: sign * inverse + 0.5 * c, inverse, c)
        side = _gradient(apply_fn, params, graph, graph.edges.vector + sign * step, weights)
        return jax.tree.map(jnp.add, total, side), None

    zeros = jax.tree.map(jnp.zeros_like, params)
    change, _ = jax.lax.scan(add_side, zeros, jnp.array([1.0, -1.0], u.dtype))
    return change


def _gradient(
    apply_fn: ApplyFn, params: Params, graph: AtomGraph, vector: PairVectors, weights: AtomicOutput
) -> Params:
    """Gradient of the weighted sum of all outputs, at pair vectors of its own."""
    _, pull_back = jax.vjp(lambda params: apply_fn(params, with_vectors(graph, vector)), params)
    (gradient,) = pull_back(weights)
    return gradient


def _of_energy(energy: PerAtom, like: AtomicOutput) -> AtomicOutput:
    return jax.tree.map(jnp.zeros_like, like)._replace(energy=energy)


def _root_mean_square(graph: AtomGraph, u: PairVectors) -> PerGraph:
    """Over the components of the real slots of each configuration."""
    over_slots = lambda values: sum_over_atoms(graph, sum_over_neighbors(graph, values))
    squares = over_slots(jnp.sum(u * u, axis=-1))
    return safe.sqrt(safe.divide(squares, 3.0 * over_slots(graph.edges.mask.astype(u.dtype))))
