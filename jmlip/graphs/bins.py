"""Bins: for each atom the few others that can be near it, in time linear in the number of atoms.

Along each axis (the reciprocal vectors of periodic directions, perpendicular unit vectors for open
ones) bins are at least as wide as the reach, so that an atom's neighbors lie in its own bin and the
26 around it. Bins are cyclic along open axes too: atoms any distance apart share the same few bins,
which costs candidates, never pairs, and needs no bounding box. How many bins there are at most, and
how many candidates an atom has, are shapes; how many bins are in use follows the cell.
"""

import itertools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jmlip.core.types import AtomIndex, AtomVectors, HostVectors

ADVANTAGE = 8
"""Bins are used where they leave an atom at most one in so many to try; measured on a CPU."""
NO_BINS = np.zeros((1, 1, 1, 0, 0), bool)
"""All atoms are tried."""
WORD = 32
"""Candidates fill whole words of a mask of bits."""

Bins = Bool[Array, "x y z candidates 0"]
"""Bins along each axis and candidates of each: only the shape counts, there are no elements."""
Pbc = tuple[bool, bool, bool]


class Candidates(NamedTuple):
    """Atoms in and around each bin."""

    table: Int[Array, "bins candidates"]  # ascending; then the number of atoms
    home: AtomIndex  # the bin of each atom
    crowd: Int[Array, ""]  # most atoms in and around a bin; the table holds all if it is as wide


def choose_bins(
    positions: AtomVectors | HostVectors,
    cell: Float[Array, "3 3"],
    inverse: Float[Array, "3 3"],
    pbc: Pbc,
    *,
    reach: float,
    capacity_factor: float,
    advantage: float = ADVANTAGE,
) -> Bins:
    """As many bins as these positions fill, at most one for each atom; `NO_BINS` if too few.

    Args:
        positions: angstrom.
        cell: rows are lattice vectors, angstrom.
        inverse: its `reciprocal`.
        pbc: periodic along each lattice vector.
        reach: of pairs, angstrom.
        capacity_factor: candidates there is room for over those found, at least 1.
        advantage: atoms over candidates from which on bins are used.
    """
    axes = np.asarray(_axes(cell, inverse, pbc, reach), np.float64)
    extent = np.ptp(np.asarray(positions, np.float64) @ axes, axis=0)
    room = np.where(pbc, 1.0 / (reach * np.linalg.norm(axes, axis=0)), 1.0 + extent)
    number = np.maximum(room, 1.0)
    while number.astype(int).prod() > len(positions):
        number[number.argmax()] /= 2.0
    number = number.astype(int)
    if number.prod() < advantage * np.minimum(number, 3).prod():
        return jnp.asarray(NO_BINS)
    found = jax.jit(list_candidates, static_argnames=("pbc", "reach"))(
        positions, cell, inverse, jnp.zeros((*number, 0, 0), bool), pbc=pbc, reach=reach
    )
    n_candidates = WORD * math.ceil(int(found.crowd) * capacity_factor / WORD)
    if len(positions) < advantage * n_candidates:
        return jnp.asarray(NO_BINS)
    return jnp.zeros((*number, n_candidates, 0), bool)


def list_candidates(
    positions: AtomVectors | HostVectors,
    cell: Float[Array, "3 3"],
    inverse: Float[Array, "3 3"],
    bins: Bins,
    *,
    pbc: Pbc,
    reach: float,
) -> Candidates:
    """For each bin all atoms that can be nearer than `reach` to any atom in it."""
    most, n_candidates, n = bins.shape[:3], bins.shape[3], len(positions)
    index, number = _assign(positions, cell, inverse, most, pbc=pbc, reach=reach)
    home = _flat(index, most)
    order = jnp.argsort(home).astype(jnp.int32)
    count = jnp.bincount(home, length=math.prod(most)).astype(jnp.int32)
    around, exists = _surroundings(number, most)
    length = jnp.where(exists, count[around], 0)
    end = jnp.cumsum(length, axis=1, dtype=jnp.int32)
    first = (jnp.cumsum(count, dtype=jnp.int32) - count)[around] - (end - length)
    # candidate c of a bin stands in that one around it where the running sum passes c
    c = jnp.arange(n_candidates, dtype=jnp.int32)
    which = jax.vmap(lambda row: jnp.searchsorted(row, c, side="right"))(end)
    which = jnp.minimum(which, end.shape[1] - 1)
    place = jnp.take_along_axis(first, which, axis=1) + c[None]
    table = jnp.where(c[None] < end[:, -1:], order[jnp.clip(place, 0, n - 1)], n)
    return Candidates(jnp.sort(table, axis=1), home, end[:, -1].max())


def _assign(positions, cell, inverse, most, *, pbc, reach):
    """Bin of each atom along each axis, and how many bins are in use along each."""
    periodic, most = np.array(pbc), np.array(most, np.int32)
    axes = _axes(cell, inverse, pbc, reach)
    turns = jnp.matmul(positions - positions[:1], axes, precision="highest")
    lattice = jnp.where(periodic[:, None], cell, 0.0)
    error = jnp.abs(jnp.matmul(lattice, axes, precision="highest") - np.diag(periodic)).max()
    # bounds the error of the difference of two coordinates: `axes` not exact, rounding
    error = (6.0 * error + 16.0 * jnp.finfo(axes.dtype).eps) * (1.0 + jnp.abs(turns).max())
    width = reach * jnp.sqrt(jnp.sum(axes**2, axis=0)) + error
    number = jnp.where(periodic, jnp.clip(jnp.floor(1.0 / width), 1, most), most)
    scale = jnp.where(periodic, number, 1.0 / width)
    index = jnp.mod(jnp.floor(turns * scale[None]), number[None])
    return index.astype(jnp.int32), number.astype(jnp.int32)


def _axes(cell, inverse, pbc, reach):
    """Columns: reciprocal vectors; for open directions unit vectors across them, over the reach."""
    rest = jnp.eye(3, dtype=cell.dtype) - jnp.matmul(inverse, cell, precision="highest")
    for axis in np.flatnonzero(~np.array(pbc)):
        # the longest column of what is left has the smallest relative error
        squares = jnp.sum(rest**2, axis=0)
        unit = rest[:, jnp.argmax(squares)] / jnp.sqrt(squares.max())
        inverse = inverse.at[:, axis].set(unit / reach)
        rest = rest - unit[:, None] * unit[None]
    return inverse


def _surroundings(number, most):
    """Bins in and around each bin, and which of them count: none twice, none that is not in use."""
    each = np.stack(np.unravel_index(np.arange(math.prod(most)), most), axis=1)
    steps = np.array(list(itertools.product(*(range(-1, min(m, 3) - 1) for m in most))))
    around = jnp.mod(jnp.asarray(each[:, None] + steps[None], jnp.int32), number[None, None])
    in_use = jnp.all(each < number[None], axis=1)
    once = jnp.all(steps + 1 < number[None], axis=1)
    return _flat(around, most), in_use[:, None] & once[None]


def _flat(index, most):
    return (index[..., 0] * most[1] + index[..., 1]) * most[2] + index[..., 2]
