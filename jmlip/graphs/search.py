"""Building neighbor lists in compiled programs: translations, compaction, opposite slots.

Each pair is first brought to the nearest cell (fractional differences within one half), so that
cells wider than twice the reach need no image at all; for others a fixed set of translations is
tried. Candidates are numbered `key = sender * n_images + image`, which sorts the slots of each atom
by sender and shift, and makes the opposite pair's key known: `receiver * n_images + (n_images - 1 -
image)`, as the translations are symmetric.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jmlip.core.types import AtomVectors

_BLOCK = 2**22  # candidates looked at together
_ROUNDING = 1e-3  # of a lattice vector: slack for fractional coordinates in float32


def reciprocal(cell: Float[Array, "3 3"], pbc: tuple[bool, bool, bool]) -> Float[Array, "3 3"]:
    """Columns b_k with a_l . b_k = delta_lk among the periodic lattice vectors; zero for others."""
    periodic = np.array(pbc)
    vectors = jnp.where(periodic[:, None], cell, 0.0)
    gram = jnp.matmul(vectors, vectors.T, precision="highest") + np.diag(~periodic)
    adjugate = jnp.stack([jnp.cross(gram[i - 2], gram[i - 1]) for i in range(3)])
    inverse = adjugate / jnp.sum(gram[0] * adjugate[0])
    return jnp.matmul(vectors.T, inverse, precision="highest")


def needed_images(inverse: Float[Array, "3 3"], reach: float) -> Float[Array, "3"]:
    """Translations along each lattice vector, either way, that a pair within reach may need.

    With fractional differences in [-1/2, 1/2] and |b_k| the inverse height of the cell, a pair at
    distance r < reach has |S_k| < r |b_k| + 1/2.
    """
    inverse_height = jnp.sqrt(jnp.sum(inverse**2, axis=0))
    return jnp.ceil(reach * inverse_height + 0.5 + _ROUNDING) - 1.0


def compact(
    positions: AtomVectors,
    cell: Float[Array, "3 3"],
    inverse: Float[Array, "3 3"],
    images: Int[Array, "images 3"],
    *,
    reach: float,
    n_slots: int,
) -> tuple[Int[Array, "atoms k"], Int[Array, "atoms k 3"], Int[Array, " atoms"]]:
    """Keys of the first `n_slots` neighbors of each atom, their shifts, and how many there are.

    Empty slots have the key `atoms * images`, larger than any.
    """
    n, n_images = len(positions), len(images)
    translations = jnp.matmul(images.astype(cell.dtype), cell, precision="highest")

    def block(receivers):
        difference = positions[None] - positions[receivers][:, None]
        turns = jnp.round(jnp.matmul(difference, inverse, precision="highest"))
        nearest = difference - jnp.matmul(turns, cell, precision="highest")
        squares = ((nearest[..., c, None] + translations[None, None, :, c]) ** 2 for c in range(3))
        near = sum(squares, start=jnp.zeros(())) < reach**2
        itself = jnp.arange(n)[None] == receivers[:, None]
        near &= ~(itself[..., None] & (jnp.arange(n_images) == n_images // 2)[None, None])
        running = jnp.cumsum(near.reshape(len(receivers), -1), axis=1, dtype=jnp.int32)
        wanted = jnp.arange(1, n_slots + 1, dtype=jnp.int32)
        keys = jax.vmap(lambda row: jnp.searchsorted(row, wanted))(running).astype(jnp.int32)
        sender = jnp.minimum(keys // n_images, n - 1)
        turn = jnp.take_along_axis(turns, sender[..., None], axis=1).astype(jnp.int32)
        return keys, images[keys % n_images] - turn, running[:, -1]

    n_blocks = max(1, -(-n * n * n_images // _BLOCK))
    size = -(-n // n_blocks)
    # the last block is filled up with the last atom
    receivers = np.minimum(np.arange(n_blocks * size), n - 1).reshape(n_blocks, size)
    keys, shifts, count = jax.lax.map(block, jnp.asarray(receivers, jnp.int32))
    flat = lambda x: x.reshape(n_blocks * size, *x.shape[2:])[:n]
    return flat(keys), flat(shifts), flat(count)


def opposite_slots(
    keys: Int[Array, "atoms k"], n_images: int
) -> tuple[Int[Array, "atoms k"], Bool[Array, "atoms k"]]:
    """Where the opposite of each pair stands, and whether there is one; else the slot itself.

    A pair without opposite lies at the reach to within rounding, and may be dropped.
    """
    n, k = keys.shape
    own = jnp.arange(n * k, dtype=jnp.int32).reshape(n, k)
    sender, image = jnp.minimum(keys // n_images, n - 1), keys % n_images
    atom = jnp.arange(n, dtype=jnp.int32)[:, None]
    wanted = atom * n_images + (n_images - 1 - image)
    flat, first = keys.reshape(-1), sender * k
    # binary search in the sorted keys of the sender: `low` counts those smaller than wanted
    low, high = jnp.zeros_like(keys), jnp.full_like(keys, k)
    for _ in range(k.bit_length()):
        middle = (low + high) // 2
        smaller = flat[first + jnp.minimum(middle, k - 1)] < wanted
        open_ = low < high
        low = jnp.where(open_ & smaller, middle + 1, low)
        high = jnp.where(open_ & ~smaller, middle, high)
    place = first + jnp.minimum(low, k - 1)
    found = (keys < n * n_images) & (flat[place] == wanted)
    return jnp.where(found, place, own), found
