"""Gradients through constant-energy dynamics that keep no trajectory: it is run backwards, exactly.

Positions and momenta are those of the start plus whole multiples of a quantum. Each kick changes
momenta by a rounded function of positions, each drift positions by a rounded function of momenta,
so that the same step with the opposite sign of time takes it back to the last bit (Levesque and
Verlet). The adjoint of a step is that of the ordinary integrator, at the state so recovered:
rounding counts as the identity, a relative error of the order of quantum / displacement in a step.

    dtype     integers   quantum   range
    float64   int64      2^-42     1024 angstrom from the start (momenta: internal units)
    float32   int32      2^-21     512 angstrom

Forces must be the same function of positions forward and backward, to the last bit. So every
evaluation is given the neighbor list of the start: within its skin it serves, beyond it a new list
is made for the positions, whatever came before, in every step. (So take a wide skin, and look at
the status: lists made so often overflow sooner.) Where a machine adds in varying order (scatter on
GPUs), a step back may miss by a quantum: the gradient with respect to `missed` counts that.

References:
    Levesque, Verlet, J. Stat. Phys. 72, 519 (1993).
    Maclaurin, Duvenaud, Adams, ICML (2015), arXiv:1502.03492.
"""

import functools
from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import jax.core
import jax.numpy as jnp
from jaxtyping import Array

from jmlip.core.errors import ConfigError
from jmlip.core.types import PyTree
from jmlip.md.propagator import Forces, Level, Scalar, levels_of, simulate
from jmlip.md.state import MDState
from jmlip.md.whole_steps import Point, WholeSteps, bare, continuous, point_of


def reversible_scan(
    forces: Forces,
    state: MDState,
    n_steps: int,
    observe: Callable[[MDState], PyTree] = lambda state: (),
    *,
    dt: Scalar,
    missed: Scalar = 0.0,
) -> tuple[MDState, PyTree]:
    """Steps of velocity Verlet or r-RESPA, whose gradient needs no memory that grows with them.

    Reverse mode (once: `grad`, not `hessian`) reaches the positions, momenta, masses and cell of
    the state, `dt`, and what `forces` and `observe` close over. Use it under `jit`.

    Args:
        forces: as for `make_nve`.
        state: the first, from `make_nve(forces, dt=dt).init`; it is not observed.
        n_steps: at least 1.
        observe: what to keep of each state; by default nothing.
        dt: time step.
        missed: the gradient with respect to it is the number of coordinates that did not come back
            to the bits they started from; where it is 0, every state on the way back was right.

    Returns:
        The last state and the observations, stacked along a first axis of `n_steps`. In the
        `status` of the state stand `OUT_OF_RANGE` and `OVERFLOW` of any step.

    Raises:
        ConfigError: there are no steps, or the state has a thermostat.
    """
    _check(state, n_steps)
    start = Point(state.dynamics.position, state.dynamics.momentum, bare(state.levels))
    neighbors = jax.lax.stop_gradient(state.neighbors)
    # all that functions close over becomes an argument, as it must where gradients are custom
    levels, parts = zip(*_hoisted_levels(forces, state), strict=True)
    look, seen = _hoisted(observe, state)
    fixed = (state.dynamics.mass, state.cell, jnp.asarray(dt, start.position.dtype))
    values = (fixed, [part.smooth for part in (*parts, seen)])
    held = (neighbors, state.step, state.status, [part.held for part in (*parts, seen)])

    def machine(values, held):
        (mass, cell, dt), smooth = values
        neighbors, *_, rest = held
        bound = [
            functools.partial(function, _Closed(*both))
            for function, *both in zip(
                [*(level.force_fn for level in levels), look], smooth, rest, strict=True
            )
        ]
        pairs = zip(levels, bound[:-1], strict=True)
        pure = tuple(level._replace(force_fn=function) for level, function in pairs)
        return WholeSteps(pure, dt, mass, cell, neighbors, bound[-1])

    def forward(values, held, start, missed):
        del missed
        one = machine(values, held)
        grid, observed = jax.lax.scan(
            lambda grid, _: one.observed(start, one.step(start, grid, 1)),
            one.begin(start, step=held[1], status=held[2]),
            length=n_steps,
        )
        return (point_of(start, grid), grid.status, observed), (values, held, start, grid)

    run = jax.custom_vjp(lambda *arguments: forward(*arguments)[0])
    run.defvjp(forward, lambda kept, cotangent: _backward(machine, kept, cotangent, n_steps))
    missed = jnp.asarray(missed, start.position.dtype)
    last, status, observed = run(values, held, start, missed)
    end = machine(values, held).state(last, state.step + n_steps)
    return end._replace(heat=state.heat, status=status), observed


class _Closed(NamedTuple):
    """What a function closes over: that which is differentiated, and the rest."""

    smooth: list[Array]
    held: list[Array]


def _backward(
    machine: Callable[[PyTree, PyTree], WholeSteps], kept: tuple, cotangent: tuple, n_steps: int
) -> tuple:
    values, held, start, grid = kept
    one = machine(values, held)
    to_point, _, to_observed = cotangent

    def back(carry, to_observed):
        grid, to_point, to_values = carry
        grid = one.step(start, grid, -1)
        smooth = lambda values, point: machine(values, held).smooth(point, grid.step)
        _, pull = jax.vjp(smooth, values, point_of(start, grid))
        more, to_point = pull((to_point, to_observed))
        return (grid, to_point, jax.tree.map(jnp.add, to_values, more)), None

    none = jax.tree.map(jnp.zeros_like, values)
    start_again = (grid, to_point, none)
    carry, _ = jax.lax.scan(back, start_again, continuous(to_observed), n_steps, reverse=True)
    grid, to_start, to_values = carry
    missed = jnp.sum(grid.position != 0) + jnp.sum(grid.momentum != 0)
    return to_values, None, to_start, missed.astype(start.position.dtype)


def _hoisted_levels(forces: Forces, state: MDState) -> Iterator[tuple[Level, _Closed]]:
    for level, neighbors in zip(levels_of(forces), state.neighbors, strict=True):
        place = (state.dynamics.position, state.cell, jax.lax.stop_gradient(neighbors))
        function, closed = _hoisted(level.force_fn, *place)
        yield level._replace(force_fn=function), closed


def _hoisted(function: Callable, *example: PyTree) -> tuple[Callable, _Closed]:
    """The function with what it closes over as its first argument, and that."""
    program, like = jax.make_jaxpr(function, return_shape=True)(*example)
    is_smooth = [jnp.issubdtype(each.dtype, jnp.inexact) for each in program.consts]
    smooth, held = (
        [each for each, kind in zip(program.consts, is_smooth, strict=True) if kind == wanted]
        for wanted in (True, False)
    )

    def pure(closed, *arguments):
        parts = [iter(closed.held), iter(closed.smooth)]
        consts = [next(parts[kind]) for kind in is_smooth]
        leaves = jax.core.eval_jaxpr(program.jaxpr, consts, *jax.tree.leaves(arguments))
        return jax.tree.unflatten(jax.tree.structure(like), leaves)

    return pure, _Closed(smooth, held)


def _check(state: MDState, n_steps: int) -> None:
    if n_steps < 1:
        raise ConfigError(f"a trajectory must have at least 1 step, found {n_steps}; give more.")
    if not isinstance(state.dynamics, simulate.NVEState):
        raise ConfigError(
            "only dynamics at constant energy is reversible, found a state of "
            f"{type(state.dynamics).__name__}; start it with make_nve, or take checkpointed_scan."
        )
