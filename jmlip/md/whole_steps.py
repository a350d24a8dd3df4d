"""Steps of dynamics in whole numbers, which the same step with the other sign of time undoes.

A kick adds to the momenta a rounded function of positions, a drift to the positions a rounded
function of momenta. Rounding is odd in the sign of what is rounded, and a step is a palindrome of
kicks and drifts, so that nothing is lost: `step` with sign -1 subtracts the very same numbers.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, UInt8

from jmlip.core.types import AtomVectors, PyTree
from jmlip.md.integrators import make_nve
from jmlip.md.propagator import Level, renewed, simulate
from jmlip.md.state import OUT_OF_RANGE, OVERFLOW, Evaluation, MDState, are_free

_QUANTUM = {"float64": 2.0**-42, "float32": 2.0**-21}
_LIMIT = {"float64": 2**52, "float32": 2**30}  # the sum of two is exact and cannot wrap around
_INTEGER = {"float64": "int64", "float32": "int32"}


class Point(NamedTuple):
    """What of a state is differentiated."""

    position: AtomVectors
    momentum: AtomVectors
    levels: tuple[Evaluation, ...]  # without neighbor lists


class Grid(NamedTuple):
    """Quanta since the start, and the forces there."""

    position: Int[Array, "atoms 3"]
    momentum: Int[Array, "atoms 3"]
    levels: tuple[Evaluation, ...]
    step: Int[Array, ""]
    status: UInt8[Array, ""]


class WholeSteps(NamedTuple):
    """One step: on the grid and, for its derivatives, of the integrator."""

    forces: Sequence[Level]
    dt: Array
    mass: Array
    cell: Array
    neighbors: tuple[Any, ...]  # of the start, always
    observe: Callable[[MDState], PyTree]

    def state(self, point: Point, step: Array) -> MDState:
        force = sum(level.forces for level in point.levels)
        dynamics = simulate.NVEState(point.position, point.momentum, force, self.mass)
        pairs = zip(point.levels, self.neighbors, strict=True)
        levels = tuple(level._replace(neighbors=each) for level, each in pairs)
        none = jnp.zeros((), point.position.dtype)
        return MDState(dynamics, self.cell, levels, none, step, jnp.zeros((), jnp.uint8))

    def smooth(self, point: Point, step: Array) -> tuple[Point, list[Array]]:
        after = make_nve(self.forces, dt=self.dt).step(self.state(point, step))
        dynamics = after.dynamics
        reached = Point(dynamics.position, dynamics.momentum, bare(after.levels))
        return reached, continuous(self.observe(after))

    def observed(self, start: Point, grid: Grid) -> tuple[Grid, PyTree]:
        return grid, self.observe(self.state(point_of(start, grid), grid.step))

    def begin(self, start: Point, *, step: Array, status: Array) -> Grid:
        """The start, its forces computed as they will be on the way back."""
        none = jnp.zeros(start.position.shape, _INTEGER[start.position.dtype.name])
        grid = Grid(none, none, start.levels, step, status)
        for k in reversed(range(len(self.forces))):
            grid = self._renewed(start, grid, k)
        return grid

    def step(self, start: Point, grid: Grid, sign: int) -> Grid:
        """A palindrome of kicks and drifts, forward with sign 1, undone with -1."""
        return self._level(start, grid, 0, sign * self.dt)._replace(step=grid.step + sign)

    def _level(self, start, grid, k, dt):
        grid = self._kick(grid, k, 0.5 * dt)
        if k == len(self.forces) - 1:
            grid = self._drift(start, grid, dt)
        else:
            inner = lambda _, grid: self._level(start, grid, k + 1, dt / self.forces[k].n)
            grid = jax.lax.fori_loop(0, self.forces[k].n, inner, grid)
        return self._kick(self._renewed(start, grid, k), k, 0.5 * dt)

    def _kick(self, grid, k, dt):
        force = jnp.where(are_free(self.mass), grid.levels[k].forces, 0.0)
        momentum, status = _add(grid.momentum, dt * force, grid.status)
        return grid._replace(momentum=momentum, status=status)

    def _drift(self, start, grid, dt):
        velocity = point_of(start, grid).momentum / self.mass
        position, status = _add(grid.position, dt * velocity, grid.status)
        return grid._replace(position=position, status=status)

    def _renewed(self, start, grid, k):
        # barriers, or the compiler may round differently by what stands around
        point = jax.lax.optimization_barrier(point_of(start, grid))
        state = renewed(self.state(point, grid.step), self.forces, k)
        full = state.levels[k].neighbors.status != 0
        status = grid.status | jnp.where(full, jnp.uint8(OVERFLOW), jnp.uint8(0))
        levels = jax.lax.optimization_barrier(bare(state.levels))
        return grid._replace(levels=levels, status=status)


def point_of(start: Point, grid: Grid) -> Point:
    dtype = start.position.dtype
    position, momentum = (
        origin + _QUANTUM[dtype.name] * quanta.astype(dtype)
        for origin, quanta in ((start.position, grid.position), (start.momentum, grid.momentum))
    )
    return Point(position, momentum, grid.levels)


def _add(quanta: Array, change: Array, status: Array) -> tuple[Array, Array]:
    """A rounded change, odd in its sign; what is too large sets the status and is not taken."""
    limit = _LIMIT[change.dtype.name]
    whole = jnp.round(change / _QUANTUM[change.dtype.name])
    small = jnp.abs(whole) < limit  # false for NaN
    after = quanta + jnp.where(small, whole, 0.0).astype(quanta.dtype)
    good = jnp.all(small) & jnp.all(jnp.abs(after) < limit)
    return after, status | jnp.where(good, jnp.uint8(0), jnp.uint8(OUT_OF_RANGE))


def bare(levels: Sequence[Evaluation]) -> tuple[Evaluation, ...]:
    return tuple(level._replace(neighbors=None) for level in levels)


def continuous(observed: PyTree) -> list[Array]:
    leaves = jax.tree.leaves(observed)
    return [leaf for leaf in leaves if jnp.issubdtype(leaf.dtype, jnp.inexact)]
