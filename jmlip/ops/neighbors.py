"""Neighbor lists on the host: exact for open, slab, periodic and strongly skewed cells of any size.

The search is vesin's cell list. It misses pairs where lattice vectors are zero and takes seconds
where an open direction is mostly empty, so this file gives it a full box without gaps; and it
decides itself, in float64, which pairs are nearer than the cutoff. A pair and its opposite are
accepted together, because every operation on their vectors is odd.
"""

from typing import NamedTuple

import numpy as np
import vesin
from jaxtyping import Bool, Float, Int

from jmlip.core.errors import DataError
from jmlip.core.types import HostCell, HostVectors

_DIRECT = 100
"""Atoms of an open structure up to which trying all pairs is faster than any search."""

_SEARCH_MARGIN = 1e-6
"""Relative; vesin finds a little more than asked, so that its rounding never decides."""


class Neighbors(NamedTuple):
    """Full neighbor list, sorted by receiver, then sender, then shift.

    vectors = positions[senders] - positions[receivers] + shifts @ cell, shorter than the cutoff
    """

    receivers: Int[np.ndarray, " pairs"]
    senders: Int[np.ndarray, " pairs"]
    shifts: Int[np.ndarray, "pairs 3"]
    vectors: Float[np.ndarray, "pairs 3"]  # angstrom, float64
    reverse: Int[np.ndarray, " pairs"]  # where the opposite pair stands: (sender, receiver, -shift)


class Pairs(NamedTuple):
    """Every pair once, in no order.

    vectors = positions[second] - positions[first] + shift @ cell
    """

    first: Int[np.ndarray, " pairs"]
    second: Int[np.ndarray, " pairs"]
    vectors: Float[np.ndarray, "pairs 3"]  # angstrom
    distances: Float[np.ndarray, " pairs"]  # angstrom


def neighbors(
    positions: HostVectors, cell: HostCell, pbc: Bool[np.ndarray, "3"], cutoff: float
) -> Neighbors:
    """All pairs with |vector| < cutoff, among them those of an atom with its own periodic images.

    Args:
        positions: angstrom; atoms may lie anywhere, also outside the cell.
        cell: rows are lattice vectors, angstrom; those of open directions are ignored, and may be
            zero.
        pbc: periodic along each lattice vector.
        cutoff: interaction radius, angstrom.

    Raises:
        DataError: positions are not finite, or the periodic lattice vectors are not independent.
    """
    positions, cell = np.asarray(positions, np.float64), np.asarray(cell, np.float64)
    pbc = np.asarray(pbc, bool)
    _require_finite(positions)
    if len(positions) <= _DIRECT and not pbc.any():
        return _all_pairs(positions, cutoff)
    wrapped, box, turns = _wrap(positions, cell, pbc, cutoff)
    search = vesin.NeighborList(
        cutoff=cutoff * (1.0 + _SEARCH_MARGIN), full_list=True, sorted=False, n_threads=1
    )
    receivers, senders, images = search.compute(wrapped, box, pbc, "ijS")
    receivers, senders = receivers.astype(np.int64), senders.astype(np.int64)
    images = images.astype(np.int64)
    shifts = images - turns[senders] + turns[receivers]
    vectors = positions[senders] - positions[receivers]
    for axis in np.flatnonzero(pbc):  # not a matrix product, whose blocks round differently
        vectors += shifts[:, axis, None] * cell[axis]
    near = np.einsum("pc,pc->p", vectors, vectors) < cutoff * cutoff
    order, reverse = _sort(receivers[near], senders[near], images[near], len(positions))
    order = np.flatnonzero(near)[order]
    return Neighbors(receivers[order], senders[order], shifts[order], vectors[order], reverse)


def unordered_pairs(
    positions: HostVectors, cell: HostCell, pbc: Bool[np.ndarray, "3"], cutoff: float
) -> Pairs:
    """Every pair nearer than the cutoff once, several times faster than `neighbors`.

    For statistics: pairs are unsorted, and whether one at the very cutoff is there may depend on
    rounding. An atom and its own image are one pair for each two opposite shifts. Arguments and
    errors are those of `neighbors`.
    """
    positions, cell = np.asarray(positions, np.float64), np.asarray(cell, np.float64)
    pbc = np.asarray(pbc, bool)
    _require_finite(positions)
    if len(positions) <= _DIRECT and not pbc.any():
        first, second = np.triu_indices(len(positions), 1)
        vectors = positions[second] - positions[first]
        distances = np.linalg.norm(vectors, axis=1)
        near = distances < cutoff
        return Pairs(first[near], second[near], vectors[near], distances[near])
    wrapped, box, _ = _wrap(positions, cell, pbc, cutoff)
    search = vesin.NeighborList(cutoff=cutoff, full_list=False, sorted=False, n_threads=1)
    first, second, vectors, distances = search.compute(wrapped, box, pbc, "ijDd")
    return Pairs(first.astype(np.int64), second.astype(np.int64), vectors, distances)


def _require_finite(positions):
    if not np.isfinite(positions).all():
        raise DataError("positions must be finite, found NaN or infinity; the run has diverged.")


def _all_pairs(positions, cutoff):
    vectors = positions[None] - positions[:, None]  # [receiver, sender]
    near = np.einsum("ijc,ijc->ij", vectors, vectors) < cutoff * cutoff
    np.fill_diagonal(near, False)
    receivers, senders = np.nonzero(near)
    place = np.empty(near.shape, np.int64)
    place[near] = np.arange(len(receivers))
    shifts = np.zeros((len(receivers), 3), np.int64)
    return Neighbors(receivers, senders, shifts, vectors[near], place[senders, receivers])


def _wrap(positions, cell, pbc, cutoff):
    """Positions inside a full-rank box, the box, and by how many lattice vectors each was moved."""
    box = cell.copy()
    if not pbc.all():  # any complement will do; an orthonormal one makes coordinates lengths
        box[~pbc] = np.linalg.svd(cell[pbc])[2][pbc.sum() :] if pbc.any() else np.eye(3)
    if abs(np.linalg.det(box)) <= 1e-9 * np.prod(np.linalg.norm(box, axis=1)):
        raise DataError(
            "periodic directions need independent lattice vectors, found cell "
            f"{cell.tolist()} with pbc {pbc.tolist()}; set the cell or clear pbc."
        )
    coordinates = positions @ np.linalg.inv(box)
    turns = np.where(pbc, np.floor(coordinates), 0.0)
    coordinates -= turns
    for axis in np.flatnonzero(~pbc):
        coordinates[:, axis] = _close_gaps(coordinates[:, axis], cutoff)
        length = coordinates[:, axis].max() + cutoff
        coordinates[:, axis] /= length
        box[axis] *= length
    return coordinates @ box, box, turns.astype(np.int64)


def _close_gaps(coordinate, cutoff):
    """Shrink empty stretches along an open direction to just more than the cutoff."""
    order = np.argsort(coordinate)
    steps = np.diff(coordinate[order], prepend=coordinate[order[0]])
    closed = np.empty_like(coordinate)
    closed[order] = np.cumsum(np.minimum(steps, 1.01 * cutoff))
    return closed


def _sort(receivers, senders, images, n_atoms):
    """Order by (receiver, sender, image), and for each sorted pair the place of its opposite."""
    span = 2 * np.abs(images).max(axis=0, initial=0) + 1
    place = np.array([span[1] * span[2], span[2], 1])
    image = images @ place
    keys = (receivers * n_atoms + senders) * span.prod() + image
    order = np.argsort(keys)
    opposite = (senders * n_atoms + receivers) * span.prod() - image
    return order, np.searchsorted(keys[order], opposite[order])
