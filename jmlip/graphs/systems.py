"""Many systems side by side: their neighbor lists, renewed one by one, and one graph of all.

Every system has room for as many atoms as the largest; its own come first. Such arrays have the
axes [systems, atoms, ...] and are what `jax.vmap` and `jax.sharding` work on. The graph holds the
atoms that are there and no others, so that small systems cost what they are.

All pairs of a system are tried when its list is built: this is for many small systems.
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jmlip.graphs.bins import NO_BINS
from jmlip.graphs.device_neighbors import (
    DeviceNeighbors,
    Pbc,
    build_list,
    is_stale,
    pair_vectors,
    translations,
)
from jmlip.graphs.graph import AtomGraph, Edges, Globals, Nodes
from jmlip.graphs.search import needed_images, reciprocal
from jmlip.ops.neighbors import neighbors as host_neighbors

BLOCK = 16
"""Systems whose lists are built at once; few are due in any one step."""

Positions = Float[Array, "systems atoms 3"]
Cells = Float[Array, "systems 3 3"]
Counts = Int[Array, " systems"]


class System(NamedTuple):
    """What does not change of a system; stacked, of many."""

    species: Int[Array, "*systems atoms"]  # position in the potential's list of elements
    n_atoms: Int[Array, "*systems"]
    state: Int[Array, "*systems"]  # position in the potential's list of charges and spins, or 0


def allocate(
    positions: Positions,
    cells: Cells,
    n_atoms: Counts,
    pbc: Pbc,
    *,
    cutoff: float,
    skin: float,
    capacity_factor: float = 1.25,
    near_factor: float = 1.15,
) -> DeviceNeighbors:
    """Lists of equal shapes, with room for `capacity_factor` times the most neighbors found.

    Args:
        positions: angstrom.
        cells: rows are lattice vectors, angstrom; those of open directions are ignored.
        n_atoms: of each system.
        pbc: periodic along each lattice vector, of all systems alike.
        cutoff: interaction radius, angstrom.
        skin: lists reach so much farther, angstrom.
        capacity_factor: at least 1.
        near_factor: the same for pairs within the cutoff, which `jmlip.graphs.near` selects.

    Raises:
        DataError: positions are not finite, or the periodic lattice vectors are not independent.
    """
    reach, n = cutoff + skin, positions.shape[1]
    most, most_near, extent = 1, 1, np.zeros(3)
    for x, cell, count in zip(*map(np.asarray, (positions, cells, n_atoms)), strict=True):
        x, cell = x[:count].astype(np.float64), cell.astype(np.float64)
        pairs = host_neighbors(x, cell, np.array(pbc), reach)
        near = (pairs.vectors**2).sum(axis=1) < cutoff**2
        most = max(most, *np.bincount(pairs.receivers, minlength=count).tolist())
        most_near = max(most_near, *np.bincount(pairs.receivers[near], minlength=count).tolist())
        extent = np.maximum(extent, needed_images(reciprocal(jnp.asarray(cell), pbc), reach))
    images = translations(extent)
    room = lambda most, factor: max(1, min(math.ceil(most * factor), n * len(images) - 1))
    k, k_near = room(most, capacity_factor), room(most_near, near_factor)
    empty = functools.partial(_empty, n_slots=k, n_near=k_near, images=images, pbc=pbc)
    empty = jax.vmap(empty)
    build = jax.vmap(functools.partial(build_list, pbc=pbc, reach=reach))
    return jax.jit(lambda x, c, m: build(x, c, empty(x, c), m))(positions, cells, n_atoms)


@functools.partial(jax.jit, static_argnames=("pbc", "cutoff", "skin"))
def update(
    positions: Positions,
    cells: Cells,
    lists: DeviceNeighbors,
    n_atoms: Counts,
    *,
    pbc: Pbc,
    cutoff: float,
    skin: float,
) -> DeviceNeighbors:
    """The lists for these positions and cells: each the same, or a new one of the same shapes.

    A list is renewed for the motion of its own system only, and costs only those that are due.
    Where the `status` of one is not 0 it is not complete. Nothing is differentiated through it.
    """
    positions, cells = jax.lax.stop_gradient((positions, cells))
    check = functools.partial(is_stale, pbc=pbc, cutoff=cutoff, skin=skin)
    stale = jax.vmap(check)(positions, cells, lists)
    build = jax.vmap(functools.partial(build_list, pbc=pbc, reach=cutoff + skin))
    size = min(BLOCK, len(n_atoms))
    due = jnp.argsort(~stale, stable=True).astype(jnp.int32)
    n_due = stale.sum()

    def body(carry):
        first, lists = carry
        place = first + jnp.arange(size, dtype=jnp.int32)
        which = jnp.where(place < n_due, due.at[place].get(mode="clip"), len(n_atoms))
        pick = lambda tree: jax.tree.map(lambda leaf: leaf.at[which].get(mode="clip"), tree)
        new = build(pick(positions), pick(cells), pick(lists), pick(n_atoms))
        put = lambda old, new: old.at[which].set(new, mode="drop")
        return first + size, jax.tree.map(put, lists, new)

    begin = (jnp.zeros((), n_due.dtype), lists)
    return jax.lax.while_loop(lambda carry: carry[0] < n_due, body, begin)[1]


def make_graph(
    systems: System,
    positions: Positions,
    cells: Cells,
    lists: DeviceNeighbors,
    *,
    cutoff: float,
    n_rows: int,
) -> tuple[AtomGraph, Int[Array, "systems atoms"]]:
    """The systems as one padded graph, differentiable in positions and cells.

    Args:
        systems: species, sizes, charges and spins.
        positions: angstrom.
        cells: rows are lattice vectors, angstrom.
        lists: that serve these positions.
        cutoff: padding vectors have twice its length, angstrom.
        n_rows: atoms of the graph, at least as many as there are.

    Returns:
        The graph, whose last configuration is padding, and the row of each atom in it; of padding,
        a row beyond the last.
    """
    n_systems, n, _ = positions.shape
    k = lists.senders.shape[1] // n
    there = (jnp.arange(n, dtype=jnp.int32)[None] < systems.n_atoms[:, None]).reshape(-1)
    row = jnp.where(there, jnp.cumsum(there, dtype=jnp.int32) - 1, n_rows)
    (atom,) = jnp.nonzero(there, size=n_rows, fill_value=0)
    filled = jnp.arange(n_rows, dtype=jnp.int32) < systems.n_atoms.sum()
    vector, senders, reverse, mask = _pairs(positions, cells, lists, row, atom, filled, cutoff)
    n_node = jnp.append(systems.n_atoms, n_rows - systems.n_atoms.sum()).astype(jnp.int32)
    volume = jnp.where(lists.has_volume, jnp.abs(jnp.linalg.det(cells)), 0.0)
    graph = AtomGraph(
        nodes=Nodes(
            jnp.where(filled, systems.species.reshape(-1)[atom], 0),
            filled,
            jnp.where(filled, atom // n, n_systems).astype(jnp.int32),
        ),
        edges=Edges(vector, reverse, mask),
        globals=Globals(
            mask=jnp.arange(n_systems + 1) < n_systems,
            volume=jnp.append(volume, 0.0).astype(positions.dtype),
            state=jnp.append(systems.state, 0).astype(jnp.int32),
        ),
        senders=senders,
        receivers=jnp.repeat(jnp.arange(n_rows, dtype=jnp.int32), k),
        n_node=n_node,
        n_edge=n_node * k,
    )
    return graph, row.reshape(n_systems, n)


def _pairs(positions, cells, lists, row, atom, filled, cutoff):
    """Vectors, senders, opposite slots and mask of the slots of each row."""
    n_systems, n, _ = positions.shape
    k, n_rows = lists.senders.shape[1] // n, len(atom)
    of_rows = lambda leaf: leaf.reshape(n_systems * n, k, *leaf.shape[2:])[atom]
    system = (atom // n)[:, None]
    sender = of_rows(lists.senders) + system * n  # among all places for atoms
    opposite = of_rows(lists.reverse) + system * (n * k)
    own = jnp.arange(n_rows * k, dtype=jnp.int32).reshape(n_rows, k)
    x = positions.reshape(-1, 3)
    vector = pair_vectors(x, sender, x[atom], of_rows(lists.shifts), cells[atom // n])
    mask = of_rows(lists.mask) & filled[:, None]
    padding = jnp.zeros_like(vector).at[..., 0].set(2.0 * cutoff)
    senders = jnp.where(mask, row[sender], own // k)
    reverse = jnp.where(mask, row[opposite // k] * k + opposite % k, own)
    vector = jnp.where(mask[..., None], vector, padding)
    return (
        vector.reshape(-1, 3),
        senders.astype(jnp.int32).reshape(-1),
        reverse.astype(jnp.int32).reshape(-1),
        mask.reshape(-1),
    )


def _empty(positions, cell, *, n_slots, n_near, images, pbc) -> DeviceNeighbors:
    n = len(positions)
    own = jnp.arange(n * n_slots, dtype=jnp.int32)
    return DeviceNeighbors(
        senders=own // n_slots,
        shifts=jnp.zeros((n * n_slots, 3), jnp.int32),
        reverse=own,
        mask=jnp.zeros(n * n_slots, bool),
        images=jnp.asarray(images),
        bins=jnp.asarray(NO_BINS),
        near=jnp.zeros((n_near, 0), bool),
        reference_positions=positions,
        reference_cell=cell,
        has_volume=jnp.asarray(all(pbc)),
        status=jnp.zeros((), jnp.uint8),
    )
