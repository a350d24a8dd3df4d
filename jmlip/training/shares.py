"""The loss of a whole batch from its shares, on several devices and one after another.

A term of the loss is a function of sums over the batch, L = f(S, N) with totals S and counts N, and
sums over shares b add up: S = sum_b S_b. Therefore

    dL/dtheta = sum_b (dL/dS) . dS_b/dtheta,

exactly, for roots of means as for means: totals are added up first, then each share is asked for
the gradient of its own totals along the common dL/dS, and these gradients are added up. Sums over
devices stand outside of what is differentiated, so nothing depends on how a derivative of a sum
over devices is defined.

Shares that take turns on one device need dL/dS before the first of them is differentiated. Where
every term is a mean, it follows from N alone, and what else the first round would find is not
computed: the compiler drops it. RMSE needs S, and so a round of predictions more for each step.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jmlip.core.types import Params, PyTree
from jmlip.graphs.graph import Batch
from jmlip.training.loss_config import LossConfig
from jmlip.training.losses import TermSums, terms_of_sums

Weights = Float[Array, " terms"]
Slopes = Float[Array, "terms 2"]
LossGradient = Callable[[Params, Batch, Weights], tuple[Float[Array, ""], Weights, Params]]
"""`(params, batch, weights) -> (loss, its terms without weights, gradient in the parameters)`."""
SumsWithGradient = Callable[[Params, Batch], tuple[TermSums, Callable[[Slopes], Params]]]
"""`(params, batch) -> (sums, function from dL/d(totals) to the gradient through the totals)`."""


class Shares(NamedTuple):
    """How a batch is divided; its leaves have a further first axis, shares of this device."""

    axis: str | None = None  # name of the axis over devices; None: one device
    turns: int = 1  # shares of a device, one after another


def of_whole_batch(
    sums: SumsWithGradient, loss: LossConfig, shares: Shares | None = None
) -> LossGradient:
    """Loss and gradient of a batch whose sums are known share by share.

    Args:
        sums: of one share.
        loss: the terms.
        shares: how batches are divided; `None`: not at all, without a further axis.
    """

    def value(totals, params, counts, weights):
        terms = terms_of_sums(loss, params, TermSums(totals, counts))
        return jnp.vdot(weights, terms), terms

    # the loss sees parameters through the totals, and by itself in the penalty on weights
    both = jax.value_and_grad(value, argnums=(0, 1), has_aux=True)

    def over_devices(tree: PyTree) -> PyTree:
        return tree if shares is None or shares.axis is None else jax.lax.psum(tree, shares.axis)

    def at_once(params: Params, batch: Batch, weights: Weights):
        mine, pull_back = sums(params, batch)
        found = over_devices(mine)
        (total, terms), (slopes, direct) = both(found.totals, params, found.counts, weights)
        return total, terms, jax.tree.map(jnp.add, direct, over_devices(pull_back(slopes)))

    def in_turns(params: Params, batch: Batch, weights: Weights):
        found = over_devices(_add_up(lambda share: sums(params, share)[0], batch))
        _, (slopes, _) = both(found.totals, params, found.counts, weights)

        def with_gradient(share: Batch) -> tuple[TermSums, Params]:
            mine, pull_back = sums(params, share)
            return mine, pull_back(slopes)

        found, through = over_devices(_add_up(with_gradient, batch))
        (total, terms), (_, direct) = both(found.totals, params, found.counts, weights)
        return total, terms, jax.tree.map(jnp.add, direct, through)

    if shares is None:
        return at_once
    if shares.turns > 1:
        return in_turns
    return lambda params, batch, weights: at_once(params, _first(batch), weights)


def _first(batch: Batch) -> Batch:
    return jax.tree.map(lambda leaf: leaf[0], batch)


def _add_up(function: Callable[[Batch], PyTree], batch: Batch) -> PyTree:
    """Sum of a function over the shares of this device, with the memory of one."""
    shapes = jax.eval_shape(function, _first(batch))
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    add = lambda total, share: (jax.tree.map(jnp.add, total, function(share)), None)
    return jax.lax.scan(add, zeros, batch)[0]
