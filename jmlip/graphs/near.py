"""The pairs of a list that interact now: what a model is given between two renewals of the list.

A list reaches farther than the cutoff, and has room for the most crowded atom: of its slots often
half hold a pair within the cutoff. Models compute every slot, so they are given a narrower list.
"""

import math

import jax
import jax.numpy as jnp

from jmlip.core.types import AtomVectors
from jmlip.graphs.device_neighbors import OVERFLOW, Cell, DeviceNeighbors, pair_vectors


def narrow(
    positions: AtomVectors, cell: Cell, neighbors: DeviceNeighbors, *, cutoff: float
) -> tuple[DeviceNeighbors, DeviceNeighbors]:
    """The list itself, and the list of its pairs within the cutoff, in the order they had.

    Nothing is differentiated through it: what is left out contributes nothing, and neither do its
    derivatives.

    Args:
        positions: angstrom.
        cell: rows are lattice vectors, angstrom.
        neighbors: a list that serves these positions, with room for as many near pairs of each atom
            as `neighbors.near` has rows.
        cutoff: angstrom.

    Returns:
        First the list, of which `status` tells where the room was not enough; its reference is then
        these positions, as of a list that overflowed itself. Second the narrower list.
    """
    n, n_slots = len(positions), len(neighbors.near)
    if n_slots * n >= len(neighbors.senders):
        return neighbors, neighbors
    positions, cell = jax.lax.stop_gradient((positions, cell))
    slots = lambda leaf: leaf.reshape(n, -1, *leaf.shape[1:])
    vector = pair_vectors(
        positions, slots(neighbors.senders), positions, slots(neighbors.shifts), cell
    )
    near = slots(neighbors.mask) & (jnp.sum(vector**2, axis=-1) < cutoff**2)
    rank = jnp.cumsum(near, axis=1, dtype=jnp.int32) - 1
    count = rank[:, -1:] + 1
    own = jnp.arange(n * n_slots, dtype=jnp.int32).reshape(n, n_slots)
    place = jnp.where(near & (rank < n_slots), own[:, :1] + rank, n * n_slots).reshape(-1)
    every = jnp.arange(math.prod(near.shape), dtype=jnp.int32)
    slot = jnp.zeros(n * n_slots, jnp.int32).at[place].set(every, mode="drop")
    there = (own - own[:, :1] < count).reshape(-1)
    pick = lambda leaf: leaf.at[slot].get(mode="promise_in_bounds")
    own = own.reshape(-1)
    full = jnp.any(count > n_slots)
    found = neighbors._replace(
        senders=jnp.where(there, pick(neighbors.senders), own // n_slots),
        # column by column: gathers of numbers are faster than those of rows
        shifts=jnp.stack(
            [jnp.where(there, pick(neighbors.shifts[:, axis]), 0) for axis in range(3)], axis=-1
        ),
        reverse=jnp.where(there & ~full, place[pick(neighbors.reverse)], own),
        mask=there,
    )
    kept = neighbors._replace(
        status=neighbors.status | jnp.where(full, OVERFLOW, 0).astype(jnp.uint8),
        reference_positions=jnp.where(full, positions, neighbors.reference_positions),
        reference_cell=jnp.where(full, cell, neighbors.reference_cell),
    )
    return kept, found
