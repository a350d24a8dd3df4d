"""One step in time by operator splitting: velocity Verlet; r-RESPA where forces are in levels.

The forces of a system may be split into levels, slowest first. A step of the first level is `n`
steps of the second, and so on; with L_k the force operator of level k and D the drift, a step is

    exp(L_k dt/2) [step of level k + 1 over dt / n]^n exp(L_k dt/2),    innermost: exp(D dt).

Every factor is symplectic and the product a palindrome, so the whole is symplectic and reversible.
Half kicks of several levels that meet are given as one, in which the force of an outer level counts
n times: so n = 1 is velocity Verlet with the sum of the forces, to the last bit.

A slow force on a fast mode of frequency W resonates where the outer step comes close to half the
period, pi / W: with hydrogen, outer steps beyond 4 fs need heavier hydrogen or friction inside.

References:
    Tuckerman, Berne, Martyna, J. Chem. Phys. 97, 1990 (1992).
    Ma, Izaguirre, Skeel, SIAM J. Sci. Comput. 24, 1951 (2003), on resonance.
"""

import functools
import operator
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax_md import simulate as jax_md_simulate
from jaxtyping import Array, Float

from jmlip.core.errors import ConfigError
from jmlip.core.types import AtomVectors
from jmlip.graphs.device_neighbors import Cell
from jmlip.md.state import Evaluation, ForceFn, MDState, are_free

simulate: Any = jax_md_simulate  # type checkers do not see through its dataclasses
Scalar = float | Float[Array, ""]
Drift = Callable[[MDState, Scalar], MDState]


class Level(NamedTuple):
    """Forces that are evaluated together.

    Args:
        force_fn: the forces.
        n: steps of the next level in one of this; 1 for the last.
        whole: the potential is a whole one: what the next levels give is taken off, so that all
            levels together are this potential. Else it is one term of the sum.
    """

    force_fn: ForceFn
    n: int = 1
    whole: bool = False


Forces = ForceFn | Sequence[Level]
"""What integrators take: one force function, or levels, slowest first."""


def levels_of(forces: Forces) -> tuple[Level, ...]:
    """The levels of a splitting.

    Raises:
        ConfigError: there are none, or the numbers of steps make no sense.
    """
    if callable(forces):
        return (Level(forces),)
    levels = tuple(forces)
    if not levels or any(level.n < 1 for level in levels) or levels[-1].n != 1:
        raise ConfigError(
            "levels must be one or more, with n of at least 1 and n = 1 in the last, found n = "
            f"{[level.n for level in levels]}; give n, the steps of the next level in one of this."
        )
    if levels[-1].whole:
        raise ConfigError("the last level has no next one to take off; give it whole = False.")
    return levels


def evaluate_all(
    levels: Sequence[Level], positions: AtomVectors, cell: Cell, neighbors: Sequence[Any]
) -> tuple[Evaluation, ...]:
    """Every level at the same positions, as a run begins."""
    done: tuple[Evaluation, ...] = ()
    for level, pairs in zip(reversed(levels), reversed(neighbors), strict=True):
        done = (_evaluate(level, positions, cell, pairs, done), *done)
    return done


def position_step(state: MDState, dt: Scalar) -> MDState:
    """The drift of plain dynamics: x + dt p / m."""
    return state._replace(dynamics=simulate.position_step(state.dynamics, _shift, dt))


def propagate(
    state: MDState, levels: Sequence[Level], dt: Scalar, drift: Drift = position_step
) -> MDState:
    """A step of velocity Verlet or r-RESPA.

    Args:
        state: evaluated at its positions.
        levels: from `levels_of`.
        dt: time step of the first level.
        drift: what happens between the innermost kicks; palindromic, if the step is to be.
    """
    innermost = dt
    for level in levels[:-1]:
        innermost = innermost / level.n
    half = lambda state, force, weight: kick(state, force, 0.5 * innermost * weight)

    def all_but_the_last_kick(state, k, carried):
        level = levels[k]
        force = state.levels[k].forces + carried
        if k == len(levels) - 1:
            return renewed(drift(half(state, force, 1.0), innermost), levels, k)

        def body(i, state):
            first = jnp.where(i == 0, level.n * force, 0.0)
            state = all_but_the_last_kick(state, k + 1, first)
            # the last of these kicks is given together with that of the outer level
            return half(state, _meeting(state, levels, k + 1), jnp.where(i < level.n - 1, 1.0, 0.0))

        return renewed(jax.lax.fori_loop(0, level.n, body, state), levels, k)

    state = all_but_the_last_kick(state, 0, jnp.zeros_like(state.dynamics.force))
    state = half(state, _meeting(state, levels, 0), 1.0)
    return with_total_force(state)


def _meeting(state: MDState, levels: Sequence[Level], k: int) -> AtomVectors:
    """The force of a kick at which levels k, k + 1, ... meet, in innermost steps."""
    force = state.levels[k].forces
    for level, evaluation in zip(levels[k:], state.levels[k + 1 :], strict=False):
        force = level.n * force + evaluation.forces
    return force


def kick(state: MDState, force: AtomVectors, dt: Scalar) -> MDState:
    """Momenta p + dt f of the free atoms."""
    force = jnp.where(are_free(state.dynamics.mass), force, 0.0)
    dynamics = simulate.momentum_step(state.dynamics.set(force=force), dt)
    return state._replace(dynamics=dynamics)


def renewed(state: MDState, levels: Sequence[Level], k: int) -> MDState:
    """The state with level k evaluated at its positions and in its cell."""
    inner = state.levels[k + 1 :]
    new = _evaluate(
        levels[k], state.dynamics.position, state.cell, state.levels[k].neighbors, inner
    )
    return state._replace(levels=(*state.levels[:k], new, *inner))


def with_total_force(state: MDState) -> MDState:
    """The state with the force of all levels together as that of its dynamics."""
    total = functools.reduce(operator.add, (level.forces for level in state.levels))
    return state._replace(dynamics=state.dynamics.set(force=total))


def _evaluate(
    level: Level, positions: AtomVectors, cell: Cell, neighbors: Any, inner: Sequence[Evaluation]
) -> Evaluation:
    found = level.force_fn(positions, cell, neighbors)
    if not level.whole:
        return found
    return found._replace(
        energy=found.energy - sum(each.energy for each in inner),
        forces=found.forces - sum(each.forces for each in inner),
        virial=found.virial - sum(each.virial for each in inner),
    )


def _shift(positions: AtomVectors, displacement: AtomVectors) -> AtomVectors:
    return positions + displacement
