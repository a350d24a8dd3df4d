"""Many systems as one compiled program, over one device or several.

The state of every system is that of a single run; a batch stacks them along a first axis, and a
step of all is `jax.vmap` of the step of one, whose forces are evaluated in one graph
(`forces.make_system_force_fn`). So every integrator serves, and a system goes its own way: with its
own temperature, random numbers and neighbor list, whatever stands beside it.

The first axis is spread over the devices of a mesh. What crosses between devices is one number a
step, whether all is well, and the energies where replicas are exchanged.

A step that fails for one system is taken by none: the loop ends with the last good state of all.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Int

from jmlip.core.types import Key
from jmlip.graphs.systems import System
from jmlip.md.chunk import Record, failures, make_record, taken_if
from jmlip.md.exchange import Ladder, Places, exchange
from jmlip.md.integrators import Integrator
from jmlip.md.propagator import Scalar
from jmlip.md.state import MDState, kinetic_energy

AXIS = "systems"
_SPREAD: Any = PartitionSpec(AXIS)
_WHOLE: Any = PartitionSpec()


class BatchState(NamedTuple):
    """Everything the next step of all systems depends on; leaves of `md` are stacked."""

    md: MDState
    places: Places  # temperatures are those of the rungs

    @property
    def step(self) -> Int[Array, ""]:
        """Steps so far; all systems are at the same."""
        return self.md.step[0]


class BatchRecord(NamedTuple):
    """What is kept of a step of all systems."""

    systems: Record
    rung: Int[Array, "*steps systems"]


class Exchange(NamedTuple):
    """When replicas are exchanged, and with which random numbers."""

    every: int  # steps
    key: Key


Systems = tuple[System, ...]
"""A system as each potential numbers its elements: one, unless there are several time steps."""
IntegratorOf = Callable[[Systems, Scalar], Integrator]
"""From one system and its kT in eV to its integrator."""
BatchAdvanceFn = Callable[[Systems, BatchState, Int[Array, ""]], tuple[BatchState, BatchRecord]]


def make_mesh(devices: Any) -> Mesh:
    """Devices in a row, over which systems are spread."""
    return Mesh(devices, (AXIS,))


def place_systems(tree: Any, mesh: Mesh) -> Any:
    """Spread stacked arrays over the mesh; their number must be a multiple of its devices."""
    return jax.device_put(tree, NamedSharding(mesh, _SPREAD))


def place_state(state: BatchState, mesh: Mesh) -> BatchState:
    """Put a state where `make_batch_advance` wants it."""
    everywhere = jax.device_put(state.places, NamedSharding(mesh, _WHOLE))
    return BatchState(place_systems(state.md, mesh), everywhere)


def make_batch_record(
    integrator_of: IntegratorOf, systems: Systems, state: BatchState, ladder: Ladder
) -> BatchRecord:
    """The record of a state of all systems, on one device."""
    one = lambda system, kT, md: make_record(integrator_of(system, kT), md)
    records = jax.vmap(one)(systems, ladder.kT[state.places.rung], state.md)
    return BatchRecord(records, state.places.rung)


def make_batch_advance(
    integrator_of: IntegratorOf,
    ladder: Ladder,
    mesh: Mesh,
    *,
    every: int,
    n_slots: int,
    exchanges: Exchange | None = None,
) -> BatchAdvanceFn:
    """A function from systems, state and the step to stop at to the state there and the records.

    Args:
        integrator_of: the same ensemble for all systems.
        ladder: temperatures; system k begins on rung k.
        mesh: devices; the number of systems must be a multiple of theirs.
        every: steps between records, which belong to steps as those of `chunk.make_advance`.
        n_slots: most records between start and stop.
        exchanges: None if replicas keep their temperatures.
    """

    def one_step(system, kT, md):
        integrator = integrator_of(system, kT)
        after = integrator.step(md)
        return after, failures(md, after, system[0].n_atoms)

    def one_record(system, kT, md):
        return make_record(integrator_of(system, kT), md)

    def record(systems, state):
        kT = _mine(ladder.kT[state.places.rung], len(systems[0].n_atoms))
        return BatchRecord(jax.vmap(one_record)(systems, kT, state.md), state.places.rung)

    def step(systems, state):
        kT = _mine(ladder.kT[state.places.rung], len(systems[0].n_atoms))
        # the same step of all, so that what is due only now and then is done only then
        shared = state.md._replace(step=state.md.step[0])
        each: Any = MDState._make([0] * len(MDState._fields))._replace(step=None)
        after, status = jax.vmap(one_step, (0, 0, each), (each, 0))(systems, kT, shared)
        after = after._replace(step=jnp.full_like(state.md.step, after.step))
        good = jax.lax.psum(jnp.any(status != 0).astype(jnp.int32), AXIS) == 0
        choose = jax.vmap(taken_if, (None, 0, 0))
        kept = choose(good, after, state.md)._replace(status=status)
        state = state._replace(md=kept)
        if exchanges is not None:
            trade = functools.partial(_exchanged, ladder=ladder, exchanges=exchanges)
            due = good & (state.step % exchanges.every == 0)
            state = jax.lax.cond(due, trade, lambda state: state, state)
        return state, good

    def advance(systems, state, stop):
        first = state.step // every
        records = jax.tree.map(
            lambda leaf: jnp.zeros((n_slots, *leaf.shape), leaf.dtype),
            jax.eval_shape(record, systems, state),
        )

        def body(carry):
            state, records, _ = carry
            state, good = step(systems, state)
            slot = jnp.maximum((state.step - 1) // every - first, 0)
            store = lambda old, new: old.at[slot].set(new, mode="drop")
            return state, jax.tree.map(store, records, record(systems, state)), good

        unfinished = lambda carry: (carry[0].step < stop) & carry[2]
        state, records, _ = jax.lax.while_loop(
            unfinished, body, (state, records, jnp.asarray(True))
        )
        return state, records

    states = BatchState(_SPREAD, _WHOLE)
    later: Any = PartitionSpec(None, AXIS)
    kept = BatchRecord(later, _WHOLE)
    return jax.shard_map(
        advance,
        mesh=mesh,
        in_specs=(_SPREAD, states, _WHOLE),
        out_specs=(states, kept),
        check_vma=False,  # the kernels do not say how they vary
    )


def _exchanged(state: BatchState, ladder: Ladder, exchanges: Exchange) -> BatchState:
    """The state after a round of trades; what momenta gain is heat."""
    md, places, n = state.md, state.places, len(state.md.status)
    energies = jax.vmap(lambda each: each.energy)(md)
    energy = jax.lax.all_gather(energies, AXIS, tiled=True)
    turn = state.step // exchanges.every
    key = jax.random.fold_in(exchanges.key, turn)
    new = exchange(places, energy, ladder, parity=turn % 2, key=key)
    ratio = _mine(ladder.kT[new.rung] / ladder.kT[places.rung], n)
    momentum = jnp.sqrt(ratio)[:, None, None] * md.dynamics.momentum
    kinetic = jax.vmap(kinetic_energy)
    dynamics = md.dynamics.set(momentum=momentum)
    heat = md.heat + kinetic(dynamics) - kinetic(md.dynamics)
    return BatchState(md._replace(dynamics=dynamics, heat=heat), new)


def _mine(values: Array, n: int) -> Array:
    """The part of an array over all systems that belongs to this device."""
    return jax.lax.dynamic_slice_in_dim(values, jax.lax.axis_index(AXIS) * n, n)
