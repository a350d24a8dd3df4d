"""Neighbor lists inside compiled programs: right for open, slab, periodic and skewed cells.

`allocate` on the host chooses the shapes: K slots for each atom, the lattice translations that any
pair may need, and, where there are many atoms, bins in which to look for pairs. `update` under jit
keeps the shapes. The list holds all pairs within cutoff + skin and is built anew only when one of
those left out could have come within the cutoff:

    2 max_i |u_i| + |F - 1| (cutoff + skin) > skin,

with F the deformation of the cell since the list was built, and u_i = x_i - F x_i(then). What does
not fit sets a bit of `status`, which stays set; whoever owns the run looks at it between chunks and
allocates anew.
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, UInt8

from jmlip.core.types import AtomIndex, AtomVectors, HostVectors, PairIndex, PairMask
from jmlip.graphs.bins import Bins, choose_bins, list_candidates
from jmlip.graphs.graph import AtomGraph, Edges, Globals, Nodes
from jmlip.graphs.search import compact, needed_images, opposite_slots, reciprocal
from jmlip.ops.neighbors import neighbors as host_neighbors

OVERFLOW = 1
"""Status bit: an atom has more neighbors than slots, or bins are too full; allocate with more."""
IMAGES = 2
"""Status bit: the cell has become so thin that pairs need more translations; allocate anew."""

Cell = Float[Array, "3 3"]
Pbc = tuple[bool, bool, bool]


class DeviceNeighbors(NamedTuple):
    """Pairs in slots: those of atom i are i K ... i K + K - 1, sorted by sender, then shift."""

    senders: PairIndex  # the atom itself in padding
    shifts: Int[Array, "pairs 3"]
    reverse: PairIndex
    mask: PairMask
    images: Int[Array, "images 3"]  # translations searched, symmetric, in lexicographic order
    bins: Bins  # its shape is how neighbors are searched
    near: Bool[Array, "k 0"]  # its shape is the room for pairs of an atom within the cutoff
    reference_positions: AtomVectors  # those the list was built for
    reference_cell: Cell
    has_volume: Bool[Array, ""]  # periodic in three directions
    status: UInt8[Array, ""]


def allocate(
    positions: AtomVectors | HostVectors,
    cell: Cell | Float[np.ndarray, "3 3"],
    pbc: Pbc,
    *,
    cutoff: float,
    skin: float,
    capacity_factor: float = 1.25,
    near_factor: float = 1.15,
) -> DeviceNeighbors:
    """A list for these positions, with room for `capacity_factor` times the most neighbors found.

    Args:
        positions: angstrom; their precision is that of the list.
        cell: rows are lattice vectors, angstrom; those of open directions are ignored.
        pbc: periodic along each lattice vector.
        cutoff: interaction radius, angstrom.
        skin: the list reaches so much farther, angstrom.
        capacity_factor: at least 1.
        near_factor: the same for pairs within the cutoff, which `jmlip.graphs.near` selects.

    Raises:
        DataError: positions are not finite, or the periodic lattice vectors are not independent.
    """
    positions, cell = jnp.asarray(positions), jnp.asarray(cell)
    reach, n = cutoff + skin, len(positions)
    pairs = host_neighbors(
        np.asarray(positions, np.float64), np.asarray(cell, np.float64), np.array(pbc), reach
    )
    count = np.bincount(pairs.receivers, minlength=n)
    inverse = reciprocal(cell, pbc)
    images = translations(np.asarray(needed_images(inverse, reach)))
    near = (pairs.vectors**2).sum(axis=1) < cutoff**2
    most = max(1, n * len(images) - 1)
    room = lambda count, factor: min(max(1, math.ceil(count.max() * factor)), most)
    k = room(count, capacity_factor)
    k_near = room(np.bincount(pairs.receivers[near], minlength=n), near_factor)
    slots = np.arange(len(pairs.receivers)) - np.repeat(np.cumsum(count) - count, count)
    place = pairs.receivers * k + slots
    senders = np.repeat(np.arange(n, dtype=np.int32), k)
    shifts, reverse = np.zeros((n * k, 3), np.int32), np.arange(n * k, dtype=np.int32)
    senders[place], shifts[place], reverse[place] = (
        pairs.senders,
        pairs.shifts,
        place[pairs.reverse],
    )
    return DeviceNeighbors(
        senders=jnp.asarray(senders),
        shifts=jnp.asarray(shifts),
        reverse=jnp.asarray(reverse),
        mask=jnp.asarray((np.arange(k) < count[:, None]).reshape(-1)),
        images=jnp.asarray(images),
        bins=choose_bins(
            positions, cell, inverse, pbc, reach=reach, capacity_factor=capacity_factor
        ),
        reference_positions=positions,
        reference_cell=cell,
        near=jnp.zeros((k_near, 0), bool),
        has_volume=jnp.asarray(all(pbc)),
        status=jnp.zeros((), jnp.uint8),
    )


@functools.partial(jax.jit, static_argnames=("pbc", "cutoff", "skin"))
def update(
    positions: AtomVectors,
    cell: Cell,
    neighbors: DeviceNeighbors,
    *,
    pbc: Pbc,
    cutoff: float,
    skin: float,
) -> DeviceNeighbors:
    """The list for these positions and cell: the same, or a new one of the same shapes.

    Nothing is differentiated through it. Cheap where the list still serves; under `vmap` it is
    built for every member as soon as it is called.

    Args:
        positions: angstrom.
        cell: rows are lattice vectors, angstrom.
        neighbors: from `allocate`, or an earlier `update`.
        pbc: as in `allocate`.
        cutoff: as in `allocate`.
        skin: as in `allocate`.

    Returns:
        The list; where its `status` is not 0 it is not complete.
    """
    positions, cell = jax.lax.stop_gradient((positions, cell))
    stale = is_stale(positions, cell, neighbors, pbc, cutoff, skin)
    build = functools.partial(build_list, pbc=pbc, reach=cutoff + skin)
    return jax.lax.cond(stale, build, lambda _p, _c, old: old, positions, cell, neighbors)


def graph_from_positions(
    species_index: AtomIndex,
    positions: AtomVectors,
    cell: Cell,
    neighbors: DeviceNeighbors,
    *,
    cutoff: float,
    state: int = 0,
) -> AtomGraph:
    """One configuration as a padded graph, differentiable in positions and cell.

    Pairs in the skin are part of it: a model gives them nothing, as it does all beyond its cutoff.

    Args:
        species_index: position of each atom's element in the potential's list.
        positions: angstrom.
        cell: rows are lattice vectors, angstrom.
        neighbors: a list that serves these positions.
        cutoff: padding vectors have twice its length, angstrom.
        state: position of total charge and spin in the potential's list, if it has one.

    Returns:
        A graph of which the second configuration is padding without atoms.
    """
    n, k = len(positions), len(neighbors.senders) // len(positions)
    slots = lambda leaf: leaf.reshape(n, k, *leaf.shape[1:])
    vector = pair_vectors(
        positions, slots(neighbors.senders), positions, slots(neighbors.shifts), cell
    ).reshape(-1, 3)
    padding = jnp.zeros_like(vector).at[:, 0].set(2.0 * cutoff)
    volume = jnp.abs(jnp.sum(cell[0] * jnp.cross(cell[1], cell[2])))
    return AtomGraph(
        nodes=Nodes(species_index, jnp.ones(n, bool), jnp.zeros(n, jnp.int32)),
        edges=Edges(
            jnp.where(neighbors.mask[:, None], vector, padding), neighbors.reverse, neighbors.mask
        ),
        globals=Globals(
            mask=jnp.array([True, False]),
            volume=jnp.where(neighbors.has_volume, volume, 0.0) * jnp.array([1.0, 0.0]),
            state=jnp.array([state, 0], jnp.int32),
        ),
        senders=neighbors.senders,
        receivers=jnp.repeat(jnp.arange(n, dtype=jnp.int32), k, total_repeat_length=n * k),
        n_node=jnp.array([n, 0], jnp.int32),
        n_edge=jnp.array([n * k, 0], jnp.int32),
    )


def pair_vectors(
    positions: AtomVectors,
    senders: Int[Array, "rows k"],
    receiver_position: Float[Array, "rows 3"],
    shifts: Int[Array, "rows k 3"],
    cell: Float[Array, "*rows 3 3"],
) -> Float[Array, "rows k 3"]:
    """positions[senders] - receiver_position + shifts @ cell, with one cell or one of each row."""
    x = positions.T
    cell = cell[..., None, :, :] if cell.ndim == 3 else cell

    def component(c):
        # gathers of numbers, and sums that fuse with them, are five times as fast as those of rows
        here = x[c].at[senders].get(mode="promise_in_bounds") - receiver_position[:, None, c]
        return here + sum(shifts[..., a].astype(x.dtype) * cell[..., a, c] for a in range(3))

    # or each of those who use them would compute them again
    return jax.lax.optimization_barrier(jnp.stack([component(c) for c in range(3)], axis=-1))


def is_stale(
    positions: AtomVectors,
    cell: Cell,
    neighbors: DeviceNeighbors,
    pbc: Pbc,
    cutoff: float,
    skin: float,
) -> Bool[Array, ""]:
    """Whether a pair that is not listed could have come within the cutoff."""
    then = neighbors.reference_positions
    change = jnp.where(np.array(pbc)[:, None], cell - neighbors.reference_cell, 0.0)
    strain = jnp.matmul(reciprocal(neighbors.reference_cell, pbc), change, precision="highest")
    displacement = positions - then - jnp.matmul(then, strain, precision="highest")
    moved = jnp.sqrt(jnp.max(jnp.sum(displacement**2, axis=-1)))
    # the Frobenius norm bounds how much F shortens any vector
    return 2.0 * moved + jnp.sqrt(jnp.sum(strain**2)) * (cutoff + skin) > skin


def build_list(
    positions: AtomVectors,
    cell: Cell,
    old: DeviceNeighbors,
    n_atoms: Int[Array, ""] | None = None,
    *,
    pbc: Pbc,
    reach: float,
) -> DeviceNeighbors:
    """A list of the shapes of an old one; atoms from `n_atoms` on are padding, without pairs."""
    n, n_images = len(positions), len(old.images)
    k = len(old.senders) // n
    inverse = reciprocal(cell, pbc)
    candidates = None
    if old.bins.shape[3]:
        candidates = list_candidates(positions, cell, inverse, old.bins, pbc=pbc, reach=reach)
    keys, shifts, count = compact(
        positions, cell, inverse, old.images, candidates, reach=reach, n_slots=k, n_atoms=n_atoms
    )
    reverse, found = opposite_slots(keys, n_images)
    own = jnp.arange(n, dtype=jnp.int32)[:, None]
    thin = jnp.any(needed_images(inverse, reach) > old.images.max(axis=0))
    full = count.max() > k
    if candidates is not None:
        full |= candidates.crowd > old.bins.shape[3]
    status = jnp.where(full, OVERFLOW, 0) | jnp.where(thin, IMAGES, 0)
    return old._replace(
        senders=jnp.where(found, keys // n_images, own).reshape(-1),
        shifts=jnp.where(found[..., None], shifts, 0).reshape(-1, 3),
        reverse=reverse.reshape(-1),
        mask=found.reshape(-1),
        reference_positions=positions,
        reference_cell=cell,
        status=old.status | status.astype(jnp.uint8),
    )


def translations(extent: Float[np.ndarray, "3"]) -> Int[np.ndarray, "images 3"]:
    """All lattice translations within these numbers of cells, in lexicographic order."""
    axes = [np.arange(-m, m + 1, dtype=np.int32) for m in extent.astype(int)]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
