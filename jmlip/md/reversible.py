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
is made for the positions, whatever came before. Where a machine adds in varying order (scatter on
GPUs), a step back may miss by a quantum: the gradient with respect to `missed` counts that.

References:
    Levesque, Verlet, J. Stat. Phys. 72, 519 (1993).
    Maclaurin, Duvenaud, Adams, ICML (2015), arXiv:1502.03492.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, UInt8

from jmlip.core.errors import ConfigError
from jmlip.core.types import AtomVectors, PyTree
from jmlip.md.integrators import make_nve
from jmlip.md.propagator import Forces, Level, Scalar, levels_of, renewed, simulate
from jmlip.md.state import OUT_OF_RANGE, OVERFLOW, Evaluation, MDState

_QUANTUM = {"float64": 2.0**-42, "float32": 2.0**-21}
_LIMIT = {"float64": 2**52, "float32": 2**30}  # the sum of two is exact and cannot wrap around
_INTEGER = {"float64": "int64", "float32": "int32"}


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
    start = _Point(state.dynamics.position, state.dynamics.momentum, _bare(state.levels))
    neighbors = jax.lax.stop_gradient(state.neighbors)
    # what functions close over becomes an argument, as it must where gradients are custom
    pure, closed = zip(*_pure_levels(forces, state), strict=True)
    look, seen = jax.closure_convert(observe, state)
    fixed = (state.dynamics.mass, state.cell, jnp.asarray(dt, start.position.dtype))

    def machine(values):
        (mass, cell, dt), closed, seen = values
        levels = tuple(
            level._replace(force_fn=lambda *at, f=level.force_fn, c=c: f(*at, *c))
            for level, c in zip(pure, closed, strict=True)
        )
        return _Machine(levels, dt, mass, cell, neighbors, lambda state: look(state, *seen))

    def forward(values, start, missed):
        del missed
        one = machine(values)
        grid, observed = jax.lax.scan(
            lambda grid, _: one.observed(start, one.step(start, grid, one.dt)),
            _begin(start, state),
            length=n_steps,
        )
        return (_point(start, grid), grid.status, observed), (values, start, grid)

    run = jax.custom_vjp(lambda *arguments: forward(*arguments)[0])
    run.defvjp(forward, lambda kept, cotangent: _backward(machine, kept, cotangent, n_steps))
    values = (fixed, closed, seen)
    last, status, observed = run(values, start, jnp.asarray(missed, start.position.dtype))
    end = machine(values).state(last, state.step + n_steps)
    return end._replace(heat=state.heat, status=status), observed


class _Point(NamedTuple):
    """What of a state is differentiated."""

    position: AtomVectors
    momentum: AtomVectors
    levels: tuple[Evaluation, ...]  # without neighbor lists


class _Grid(NamedTuple):
    """Quanta since the start, and the forces there."""

    position: Int[Array, "atoms 3"]
    momentum: Int[Array, "atoms 3"]
    levels: tuple[Evaluation, ...]
    step: Int[Array, ""]
    status: UInt8[Array, ""]


class _Machine(NamedTuple):
    """One step: on the grid and, for its derivatives, of the integrator."""

    forces: Sequence[Level]
    dt: Array
    mass: Array
    cell: Array
    neighbors: tuple[Any, ...]  # of the start, always
    observe: Callable[[MDState], PyTree]

    def state(self, point: _Point, step: Array) -> MDState:
        force = sum(level.forces for level in point.levels)
        dynamics = simulate.NVEState(point.position, point.momentum, force, self.mass)
        pairs = zip(point.levels, self.neighbors, strict=True)
        levels = tuple(level._replace(neighbors=each) for level, each in pairs)
        none = jnp.zeros((), point.position.dtype)
        return MDState(dynamics, self.cell, levels, none, step, jnp.zeros((), jnp.uint8))

    def smooth(self, point: _Point, step: Array) -> tuple[_Point, list[Array]]:
        after = make_nve(self.forces, dt=self.dt).step(self.state(point, step))
        dynamics = after.dynamics
        reached = _Point(dynamics.position, dynamics.momentum, _bare(after.levels))
        return reached, _continuous(self.observe(after))

    def observed(self, start: _Point, grid: _Grid) -> tuple[_Grid, PyTree]:
        return grid, self.observe(self.state(_point(start, grid), grid.step))

    def step(self, start: _Point, grid: _Grid, dt: Array) -> _Grid:
        """A palindrome of kicks and drifts: with -dt it undoes itself."""
        count = jnp.where(dt > 0.0, 1, -1).astype(grid.step.dtype)
        return self._level(start, grid, 0, dt)._replace(step=grid.step + count)

    def _level(self, start, grid, k, dt):
        grid = self._kick(grid, k, 0.5 * dt)
        if k == len(self.forces) - 1:
            grid = self._drift(start, grid, dt)
        else:
            inner = lambda _, grid: self._level(start, grid, k + 1, dt / self.forces[k].n)
            grid = jax.lax.fori_loop(0, self.forces[k].n, inner, grid)
        return self._kick(self._renewed(start, grid, k), k, 0.5 * dt)

    def _kick(self, grid, k, dt):
        momentum, status = _add(grid.momentum, dt * grid.levels[k].forces, grid.status)
        return grid._replace(momentum=momentum, status=status)

    def _drift(self, start, grid, dt):
        velocity = _point(start, grid).momentum / self.mass
        position, status = _add(grid.position, dt * velocity, grid.status)
        return grid._replace(position=position, status=status)

    def _renewed(self, start, grid, k):
        # barriers, or the compiler may round differently by what stands around
        point = jax.lax.optimization_barrier(_point(start, grid))
        state = renewed(self.state(point, grid.step), self.forces, k)
        full = state.levels[k].neighbors.status != 0
        status = grid.status | jnp.where(full, jnp.uint8(OVERFLOW), jnp.uint8(0))
        levels = jax.lax.optimization_barrier(_bare(state.levels))
        return grid._replace(levels=levels, status=status)


def _backward(
    machine: Callable[[PyTree], _Machine], kept: tuple, cotangent: tuple, n_steps: int
) -> tuple:
    values, start, grid = kept
    one = machine(values)
    to_point, _, to_observed = cotangent

    def back(carry, to_observed):
        grid, to_point, to_values = carry
        grid = one.step(start, grid, -one.dt)
        smooth = lambda values, point: machine(values).smooth(point, grid.step)
        _, pull = jax.vjp(smooth, values, _point(start, grid))
        more, to_point = pull((to_point, to_observed))
        return (grid, to_point, jax.tree.map(jnp.add, to_values, more)), None

    none = jax.tree.map(jnp.zeros_like, values)
    start_again = (grid, to_point, none)
    carry, _ = jax.lax.scan(back, start_again, _continuous(to_observed), n_steps, reverse=True)
    grid, to_start, to_values = carry
    missed = jnp.sum(grid.position != 0) + jnp.sum(grid.momentum != 0)
    return to_values, to_start, missed.astype(start.position.dtype)


def _begin(start: _Point, state: MDState) -> _Grid:
    none = jnp.zeros(start.position.shape, _INTEGER[start.position.dtype.name])
    return _Grid(none, none, start.levels, state.step, state.status)


def _point(start: _Point, grid: _Grid) -> _Point:
    dtype = start.position.dtype
    position, momentum = (
        origin + _QUANTUM[dtype.name] * quanta.astype(dtype)
        for origin, quanta in ((start.position, grid.position), (start.momentum, grid.momentum))
    )
    return _Point(position, momentum, grid.levels)


def _add(quanta: Array, change: Array, status: Array) -> tuple[Array, Array]:
    """A rounded change, odd in its sign; what is too large sets the status and is not taken."""
    limit = _LIMIT[change.dtype.name]
    whole = jnp.round(change / _QUANTUM[change.dtype.name])
    small = jnp.abs(whole) < limit  # false for NaN
    after = quanta + jnp.where(small, whole, 0.0).astype(quanta.dtype)
    good = jnp.all(small) & jnp.all(jnp.abs(after) < limit)
    return after, status | jnp.where(good, jnp.uint8(0), jnp.uint8(OUT_OF_RANGE))


def _pure_levels(forces: Forces, state: MDState) -> Iterator[tuple[Level, list[Array]]]:
    for level, neighbors in zip(levels_of(forces), state.neighbors, strict=True):
        place = (state.dynamics.position, state.cell, jax.lax.stop_gradient(neighbors))
        pure, closed = jax.closure_convert(level.force_fn, *place)
        yield level._replace(force_fn=pure), closed


def _bare(levels: Sequence[Evaluation]) -> tuple[Evaluation, ...]:
    return tuple(level._replace(neighbors=None) for level in levels)


def _continuous(observed: PyTree) -> list[Array]:
    leaves = jax.tree.leaves(observed)
    return [leaf for leaf in leaves if jnp.issubdtype(leaf.dtype, jnp.inexact)]


def _check(state: MDState, n_steps: int) -> None:
    if n_steps < 1:
        raise ConfigError(f"a trajectory must have at least 1 step, found {n_steps}; give more.")
    if not isinstance(state.dynamics, simulate.NVEState):
        raise ConfigError(
            "only dynamics at constant energy is reversible, found a state of "
            f"{type(state.dynamics).__name__}; start it with make_nve, or take checkpointed_scan."
        )
