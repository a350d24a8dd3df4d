"""Trajectories to differentiate through, with few of their states kept.

Reverse mode goes through a trajectory backwards. A plain scan keeps what every step computed, which
of a potential is far more than the state. Here each step computes that again when its turn comes,
and states are kept in `levels` nested loops of about T^(1/levels) turns each, so that

    memory ~ levels T^(1/levels) states + what one step computes,
    time ~ levels + 1 trajectories forward, and one backward.

References:
    Griewank, Optim. Methods Softw. 1, 35 (1992), recursive checkpoints.
    Chen, Xu, Zhang, Guestrin, arXiv:1604.06174 (2016), the square root.
"""

import math
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp

from jmlip.core.errors import ConfigError, DataError, DivergenceError
from jmlip.core.types import PyTree
from jmlip.md.state import MDState

State = TypeVar("State")


def checkpointed_scan(
    step: Callable[[State], State],
    state: State,
    n_steps: int,
    observe: Callable[[State], PyTree] = lambda state: (),
    *,
    levels: int = 2,
) -> tuple[State, PyTree]:
    """Advance a state and observe it after every step, to be differentiated in reverse.

    Gradients reach the state and whatever `step` and `observe` close over: parameters, the time
    step, temperature, masses. Neighbor lists pass through; nothing is differentiated through their
    renewal. Use it under `jit`.

    Args:
        step: of any integrator, or any function from a state to the next of the same shapes.
        state: the first; it is not observed.
        n_steps: at least 1, no multiple of anything.
        observe: what to keep of each state; by default nothing.
        levels: 1 keeps every state, 2 about 2 sqrt(T), and so on; log2(T) is the sensible most.

    Returns:
        The last state and the observations, stacked along a first axis of `n_steps`.

    Raises:
        ConfigError: `n_steps` or `levels` is less than 1.

    Example:
        >>> grown = lambda rate: checkpointed_scan(lambda x: x + rate * x, jnp.ones(()), 10)[0]
        >>> round(float(jax.grad(grown)(0.1)), 3)  # 10 * 1.1**9
        23.579
    """
    if n_steps < 1 or levels < 1:
        raise ConfigError(
            f"a trajectory must have at least 1 step, kept in at least 1 level, found {n_steps} "
            f"steps and {levels} levels; give more."
        )
    lengths = loop_lengths(n_steps, levels)
    padded = math.prod(lengths)
    raw, typed = _keys_as_data(state)
    one = _observed(step, observe, raw, typed)
    if padded > n_steps:
        one = _stopped(one, n_steps)

    (_, last), observed = _nested(one, lengths)((jnp.zeros((), jnp.int32), raw(state)))
    flat = lambda leaf: leaf.reshape(padded, *leaf.shape[levels:])[:n_steps]
    return typed(last), jax.tree.map(flat, observed)


def loop_lengths(n_steps: int, levels: int) -> tuple[int, ...]:
    """Turns of each nested loop: nearly equal, with the least product that is enough.

    Example:
        >>> loop_lengths(1000, 3), loop_lengths(1001, 2)
        ((10, 10, 10), (32, 32))
    """
    lengths = []
    for remaining in range(levels, 0, -1):
        # a hair less, or the cube root of 1000 rounds up to 11
        lengths.append(max(1, math.ceil(n_steps ** (1.0 / remaining) - 1e-9)))
        n_steps = math.ceil(n_steps / lengths[-1])
    return tuple(lengths)


def require_sound(state: MDState) -> None:
    """Nothing, if the state at the end of a trajectory can be believed; only outside of `jit`.

    Raises:
        DataError: a neighbor list has been too small, or atoms left the range of a grid.
        DivergenceError: a position or momentum is not finite.
    """
    if not all(jnp.isfinite(x).all() for x in (state.dynamics.position, state.dynamics.momentum)):
        raise DivergenceError(
            "positions and momenta at the end of a trajectory must be finite, found others; "
            "shorten the time step, or begin from a relaxed structure."
        )
    if any(jnp.any(neighbors.status != 0) for neighbors in state.neighbors):
        raise DataError(
            "a neighbor list must hold all pairs along a trajectory, found one that overflowed; "
            "allocate it with a larger capacity_factor or skin."
        )
    if jnp.any(state.status != 0):
        raise DataError(
            f"the status of a trajectory must be 0, found {int(jnp.max(state.status))}; shorten "
            "it, or begin nearer to where it goes."
        )


def _keys_as_data(state: State) -> tuple[Callable, Callable]:
    """From states with random keys to those with their numbers, and back.

    A step that is computed again draws the same numbers again; of keys, that would be misuse.
    """
    is_key = lambda leaf: jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    kinds = jax.tree.map(lambda leaf: str(jax.random.key_impl(leaf)) if is_key(leaf) else "", state)
    raw = lambda state: jax.tree.map(
        lambda leaf, kind: jax.random.key_data(leaf) if kind else leaf, state, kinds
    )
    typed = lambda state: jax.tree.map(
        lambda leaf, kind: jax.random.wrap_key_data(leaf, impl=kind) if kind else leaf,
        state,
        kinds,
    )
    return raw, typed


def _observed(step: Callable, observe: Callable, raw: Callable, typed: Callable) -> Callable:
    def one(carry):
        count, state = carry
        state = step(typed(state))
        return (count + 1, raw(state)), observe(state)

    return one


def _stopped(one: Callable, n_steps: int) -> Callable:
    """Turns after the last step, of loops whose product is too large, change nothing."""

    def some(carry):
        like = jax.eval_shape(one, carry)[1]
        nothing = lambda carry: (carry, jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), like))
        return jax.lax.cond(carry[0] < n_steps, one, nothing, carry)

    return some


def _nested(one: Callable, lengths: tuple[int, ...]) -> Callable[[Any], tuple[Any, PyTree]]:
    if not lengths:
        return one
    inner = jax.checkpoint(_nested(one, lengths[1:]))
    return lambda carry: jax.lax.scan(lambda carry, _: inner(carry), carry, length=lengths[0])
