"""One step of training, compiled: gradient, optimizer, moving average, refusal if not finite.

A step whose loss or gradient is not finite leaves parameters, optimizer and average as they were
and is counted; after a given number in a row the state does not move any more, until the host,
which looks only now and then, has noticed.
"""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, ArrayLike, Bool, Float, Int

from jmlip.core.types import Params, PyTree
from jmlip.graphs.graph import Batch
from jmlip.potentials.evaluate import ApplyFn
from jmlip.training.devices import (
    AXIS,
    ONE_DEVICE,
    Devices,
    MatmulPrecision,
    matmul_precision,
)
from jmlip.training.directional import ForceGradient, make_loss_gradient
from jmlip.training.loss_config import LossConfig
from jmlip.training.residuals import Residuals, residuals


class TrainState(NamedTuple):
    """Everything a step changes."""

    params: Params
    opt_state: PyTree
    average: Params  # moving average of the parameters
    updates: Int[Array, ""]  # steps that changed the parameters
    skipped: Int[Array, ""]  # steps that did not, because they were not finite
    skipped_in_a_row: Int[Array, ""]


class Controls(NamedTuple):
    """What the host chooses anew for each step."""

    learning_rate: Float[ArrayLike, ""]
    weights: Float[ArrayLike, " terms"]  # of the loss


class StepReport(NamedTuple):
    """What a step tells the host."""

    terms: Float[Array, " terms"]  # of the loss, not weighted
    loss: Float[Array, ""]
    gradient_norm: Float[Array, ""]  # before clipping
    finite: Bool[Array, ""]
    skipped_in_a_row: Int[Array, ""]


Step = Callable[[TrainState, Batch, Controls], tuple[TrainState, StepReport]]


class Compilations:
    """Counts how often functions were traced, that is, compiled for new shapes."""

    def __init__(self):
        self.count = 0

    def counted(self, function: Callable) -> Callable:
        """`function` under jit's tracer adds one; call it nowhere else."""

        @functools.wraps(function)
        def traced(*arguments):
            self.count += 1
            return function(*arguments)

        return traced


def init_state(params: Params, optimizer: optax.GradientTransformation) -> TrainState:
    """State before the first step. Its arrays are copies: steps may reuse their memory."""
    zero = lambda: jnp.zeros((), jnp.int32)
    copy = lambda: jax.tree.map(lambda leaf: jnp.array(leaf, copy=True), params)
    return TrainState(copy(), optimizer.init(params), copy(), zero(), zero(), zero())


def make_step(
    apply_fn: ApplyFn,
    loss: LossConfig,
    optimizer: optax.GradientTransformation,
    *,
    reference_energies: tuple[float, ...],
    ema_decay: float,
    max_skipped: int,
    compilations: Compilations,
    parts: Sequence[ApplyFn] = (),
    force_gradient: ForceGradient = "double_backward",
    force_gradient_eps: float | None = None,
    devices: Devices = ONE_DEVICE,
    precision: MatmulPrecision | None = None,
) -> Step:
    """The compiled training step; it takes over the memory of the state it is given.

    The moving average decays by min(ema_decay, (1 + t) / (10 + t)) after t updates, so that it
    forgets the start.

    Args:
        apply_fn: the model.
        loss: the terms; their weights come with each step.
        optimizer: an optimizer at unit learning rate.
        reference_energies: energy of an isolated atom of each species, eV.
        ema_decay: decay of the average; 0: the parameters themselves.
        max_skipped: steps skipped in a row after which nothing changes any more.
        compilations: counter of compilations.
        parts: small and large model of a pair, where the loss compares them by themselves.
        force_gradient: how the gradient of a loss on forces is found; `jmlip.training.directional`.
        force_gradient_eps: see there.
        devices: where it runs, and how batches are divided.
        precision: of products of matrices in the loss and its gradient.
    """
    loss_gradient = make_loss_gradient(
        apply_fn,
        loss,
        reference_energies=reference_energies,
        parts=parts,
        force_gradient=force_gradient,
        force_gradient_eps=force_gradient_eps,
        shares=devices.shares,
    )

    def step(state, batch, controls):
        with matmul_precision(precision):
            value, terms, gradient = loss_gradient(state.params, batch, controls.weights)
        norm = jnp.sqrt(sum(jnp.vdot(leaf, leaf) for leaf in jax.tree.leaves(gradient)))
        finite = jnp.isfinite(value) & jnp.isfinite(norm)
        moved = _move(state, gradient, optimizer, controls.learning_rate, ema_decay)
        keep = finite & (state.skipped_in_a_row < max_skipped)
        state = jax.tree.map(lambda new, old: jnp.where(keep, new, old), moved, state)
        state = state._replace(
            skipped=state.skipped + ~keep,
            skipped_in_a_row=jnp.where(keep, 0, state.skipped_in_a_row + 1),
        )
        return state, StepReport(terms, value, norm, finite, state.skipped_in_a_row)

    return devices.compile(compilations.counted(step), donate=True)


def make_validation_step(
    apply_fn: ApplyFn,
    *,
    reference_energies: tuple[float, ...],
    with_gradient: bool,
    parts: Sequence[ApplyFn] = (),
    compilations: Compilations,
    devices: Devices = ONE_DEVICE,
) -> Callable[[Params, Batch], Residuals]:
    """The compiled comparison of predictions with labels; all devices have the whole of it."""

    def compare(params, batch):
        return residuals(
            apply_fn,
            params,
            batch,
            reference_energies=reference_energies,
            with_gradient=with_gradient,
            parts=parts,
        )

    def compare_all(params, shares):
        mine = jax.lax.map(lambda share: compare(params, share), shares)
        return jax.lax.all_gather(mine, AXIS)

    compiled = compare if devices.shares is None else compare_all
    return devices.compile(compilations.counted(compiled))


def _move(
    state: TrainState,
    gradient: Params,
    optimizer: optax.GradientTransformation,
    learning_rate: Float[ArrayLike, ""],
    ema_decay: float,
) -> TrainState:
    updates, opt_state = optimizer.update(gradient, state.opt_state, state.params)
    params = jax.tree.map(lambda p, u: p + learning_rate * u, state.params, updates)
    average = params
    if ema_decay > 0.0:
        decay = jnp.minimum(ema_decay, (1.0 + state.updates) / (10.0 + state.updates))
        average = jax.tree.map(lambda a, p: a + (1.0 - decay) * (p - a), state.average, params)
    return state._replace(
        params=params, opt_state=opt_state, average=average, updates=state.updates + 1
    )
