"""Many steps as one compiled program: a loop that records frames and stops where a step fails.

A step that fails (the neighbor list overflows, a number is not finite, an atom flies off) is not
taken: the loop ends with the last good state and the status bits of the failure. So nothing of it
reaches the trajectory, and it does not matter to the result where chunks begin and end.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, UInt8

from jmlip.core import units
from jmlip.core.types import AtomVectors
from jmlip.graphs.device_neighbors import Cell
from jmlip.md.integrators import Integrator
from jmlip.md.state import (
    COLLAPSED,
    EXPLODED,
    LEAST_VOLUME,
    MAX_DISPLACEMENT,
    MAX_TEMPERATURE_K,
    NOT_FINITE,
    OVERFLOW,
    Count,
    MDState,
    kinetic_energy,
    n_free,
    with_neighbors,
)
from jmlip.md.strain import volume


class Record(NamedTuple):
    """What is kept of a step; stacked along a first axis in a chunk."""

    positions: AtomVectors
    velocities: AtomVectors
    forces: AtomVectors
    cell: Cell
    potential: Float[Array, ""]
    kinetic: Float[Array, ""]
    bath: Float[Array, ""]
    virial: Float[Array, "3 3"]


AdvanceFn = Callable[[MDState, Int[Array, ""]], tuple[MDState, Record]]


def make_record(integrator: Integrator, state: MDState) -> Record:
    """The record of a state."""
    dynamics = state.dynamics
    return Record(
        dynamics.position,
        dynamics.momentum / dynamics.mass,
        dynamics.force,
        state.cell,
        state.energy,
        kinetic_energy(state.dynamics),
        integrator.bath_energy(state),
        state.virial,
    )


def make_advance(integrator: Integrator, *, every: int, n_slots: int) -> AdvanceFn:
    """A function from a state and the step to stop at to the state there and the records between.

    Record k of the result belongs to step `every * (start // every + 1 + k)`; those beyond the
    last step reached mean nothing. At most `n_slots` frames may lie between start and stop.
    """
    step = make_guarded(integrator.step)

    def advance(state, stop):
        first = state.step // every
        records = jax.tree.map(
            lambda leaf: jnp.zeros((n_slots, *leaf.shape), leaf.dtype),
            jax.eval_shape(lambda: make_record(integrator, state)),
        )

        def body(carry):
            state, records = carry
            state = step(state)
            # every step writes into the slot of its interval; the one on the frame comes last
            slot = jnp.maximum((state.step - 1) // every - first, 0)
            store = lambda old, new: old.at[slot].set(new, mode="drop")
            return state, jax.tree.map(store, records, make_record(integrator, state))

        unfinished = lambda carry: (carry[0].step < stop) & (carry[0].status == 0)
        return jax.lax.while_loop(unfinished, body, (state, records))

    return advance


def make_guarded(step: Callable[[MDState], MDState]) -> Callable[[MDState], MDState]:
    """A step that is not taken if it fails; then only the status, and the list, are new."""

    def guarded(state):
        after = step(state)
        status = failures(state, after)
        return taken_if(status == 0, after, state)._replace(status=status)

    return guarded


def taken_if(good: Bool[Array, ""], after: MDState, before: MDState) -> MDState:
    """The state after a step if it was good, else that before; the lists are those after."""
    kept = jax.tree.map(functools.partial(_choose, good), _bare(after), _bare(before))
    return with_neighbors(kept, after.neighbors)


def _bare(state: MDState) -> MDState:
    return with_neighbors(state, (None,) * len(state.levels))


def _choose(good: Array, new: Array, old: Array) -> Array:
    if jnp.issubdtype(new.dtype, jax.dtypes.prng_key):
        # as data, since to fall back on a key that was used is here no reuse
        data = jnp.where(good, jax.random.key_data(new), jax.random.key_data(old))
        return jax.random.wrap_key_data(data)
    return jnp.where(good, new, old)


def failures(before: MDState, after: MDState, n_atoms: Count | None = None) -> UInt8[Array, ""]:
    """Status bits of a step of the first `n_atoms` atoms, or of all; 0 if it is good."""
    old, new = before.dynamics, after.dynamics
    numbers = (new.position, new.momentum, new.force, after.energy)
    finite = jnp.all(jnp.stack([jnp.isfinite(x).all() for x in numbers]))
    moved = jnp.abs(new.position - old.position).max() > MAX_DISPLACEMENT
    most = 0.5 * n_free(new.mass, n_atoms) * MAX_TEMPERATURE_K * units.KELVIN
    hot = kinetic_energy(new) > most
    overflow = jnp.any(jnp.stack([neighbors.status != 0 for neighbors in after.neighbors]))
    size, n = volume(after.cell), len(new.position) if n_atoms is None else n_atoms
    collapsed = (size < volume(before.cell)) & (size < n * LEAST_VOLUME)
    bits = (
        (overflow, OVERFLOW),
        (~finite, NOT_FINITE),
        (finite & (moved | hot), EXPLODED),
        (collapsed, COLLAPSED),
    )
    return sum((_bit(flag, value) for flag, value in bits), start=jnp.uint8(0))


def _bit(flag: Any, value: int) -> Array:
    return jnp.where(flag, jnp.uint8(value), jnp.uint8(0))
