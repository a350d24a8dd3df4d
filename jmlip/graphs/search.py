"""Building neighbor lists in compiled programs: translations, compaction, opposite slots.

Each pair is first brought to the nearest cell (fractional differences within one half), so that
cells wider than twice the reach need no image at all; for others a fixed set of translations is
tried. The senders tried are all atoms, or those that `bins` leaves. Candidates are numbered
`key = sender * n_images + image`, which sorts the slots of each atom by sender and shift, and makes
the opposite pair's key known: `receiver * n_images + (n_images - 1 - image)`, as the translations
are symmetric.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jmlip.core.types import AtomVectors
from jmlip.graphs.bins import WORD, Candidates

_BLOCK = 2**18  # candidates looked at together
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
    candidates: Candidates | None,
    *,
    reach: float,
    n_slots: int,
    n_atoms: Int[Array, ""] | None = None,
) -> tuple[Int[Array, "atoms k"], Int[Array, "atoms k 3"], Int[Array, " atoms"]]:
    """Keys of the first `n_slots` neighbors of each atom, their shifts, and how many there are.

    Without candidates all atoms are tried; atoms from `n_atoms` on are padding, and have no
    neighbors. Empty slots have the key `atoms * images`, larger than any.
    """
    n, n_images = len(positions), len(images)
    translations = jnp.matmul(images.astype(cell.dtype), cell, precision="highest")
    # by columns: gathers of single numbers are many times faster than those of vectors
    x, axes = positions.T, range(3)

    def block(receivers):
        senders = _senders(candidates, receivers, n)
        difference = [x[c][senders] - x[c][receivers][:, None] for c in axes]
        turns = [jnp.round(sum(difference[c] * inverse[c, k] for c in axes)) for k in axes]
        nearest = [difference[c] - sum(turns[k] * cell[k, c] for k in axes) for c in axes]
        squares = sum((nearest[c][..., None] + translations[None, None, :, c]) ** 2 for c in axes)
        itself = senders == receivers[:, None]
        middle = jnp.arange(n_images) == n_images // 2
        near = (squares < reach**2) & ~(itself[..., None] & middle[None, None])
        near &= (senders < n)[..., None]
        if n_atoms is not None:
            near &= ((senders < n_atoms) & (receivers[:, None] < n_atoms))[..., None]
        column, count = first_true(near.reshape(len(receivers), -1), n_slots)
        candidate, image = column // n_images, column % n_images
        last = senders.shape[1] - 1
        pick = lambda rows: jnp.take_along_axis(rows, jnp.minimum(candidate, last), axis=1)
        sender = pick(jnp.broadcast_to(senders, itself.shape))
        key = jnp.where(candidate <= last, sender * n_images + image, n * n_images)
        shift = [images[:, k][image] - pick(turns[k]).astype(jnp.int32) for k in axes]
        return key, jnp.stack(shift, axis=-1), count

    n_candidates = n if candidates is None else candidates.table.shape[1]
    n_blocks = max(1, -(-n * n_candidates * n_images // _BLOCK))
    size = -(-n // n_blocks)
    # the last block is filled up with the last atom
    receivers = np.minimum(np.arange(n_blocks * size), n - 1).reshape(n_blocks, size)
    keys, shifts, count = jax.lax.map(block, jnp.asarray(receivers, jnp.int32))
    flat = lambda x: x.reshape(n_blocks * size, *x.shape[2:])[:n]
    return flat(keys), flat(shifts), flat(count)


def _senders(candidates, receivers, n):
    """Atoms to try, ascending, [1 or receivers, candidates]; those from `n` on fill the words."""
    if candidates is None:
        return jnp.arange(-(-n // WORD) * WORD, dtype=jnp.int32)[None]
    width = candidates.table.shape[1]
    place = (candidates.home[receivers] * width)[:, None] + jnp.arange(width, dtype=jnp.int32)[None]
    return candidates.table.reshape(-1)[place]


def first_true(
    flags: Bool[Array, "rows columns"], n_slots: int
) -> tuple[Int[Array, "rows k"], Int[Array, " rows"]]:
    """Columns of the first `n_slots` true flags of each row, and how many there are in all.

    Where there are fewer, the column is the number of columns, which must be a multiple of 32.
    Flags become bits of words, so that running sums and searches go over words, not flags.
    """
    n_words = flags.shape[1] // WORD
    bit = jnp.uint32(1) << jnp.arange(WORD, dtype=jnp.uint32)
    bits = jnp.where(flags.reshape(-1, n_words, WORD), bit[None, None], jnp.uint32(0))
    words = jnp.sum(bits, axis=-1, dtype=jnp.uint32)
    ones = jax.lax.population_count(words).astype(jnp.int32)
    running = jnp.cumsum(ones, axis=1, dtype=jnp.int32)
    wanted = jnp.arange(n_slots, dtype=jnp.int32)
    at = jax.vmap(lambda row: jnp.searchsorted(row, wanted, side="right"))(running)
    at = at.astype(jnp.int32)
    inside = jnp.minimum(at, n_words - 1)
    word = jnp.take_along_axis(words, inside, axis=1)
    left = wanted[None] - jnp.take_along_axis(running - ones, inside, axis=1)
    place = jnp.zeros_like(left)
    for width in (16, 8, 4, 2, 1):  # into the half of the word that holds it
        low = (word >> place.astype(jnp.uint32)) & jnp.uint32((1 << width) - 1)
        n_low = jax.lax.population_count(low).astype(jnp.int32)
        above = left >= n_low
        place, left = jnp.where(above, place + width, place), jnp.where(above, left - n_low, left)
    return jnp.where(at < n_words, WORD * at + place, WORD * n_words), running[:, -1]


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

    def halve(_, bounds):
        low, high = bounds
        middle = (low + high) // 2
        smaller = flat[first + jnp.minimum(middle, k - 1)] < wanted
        open_ = low < high
        return (
            jnp.where(open_ & smaller, middle + 1, low),
            jnp.where(open_ & ~smaller, middle, high),
        )

    # binary search in the sorted keys of the sender: `low` counts those smaller than wanted; a
    # loop, since XLA would make all its steps anew for each of those who use the result
    bounds = jnp.zeros_like(keys), jnp.full_like(keys, k)
    low, _ = jax.lax.fori_loop(0, k.bit_length(), halve, bounds)
    place = first + jnp.minimum(low, k - 1)
    found = (keys < n * n_images) & (flat[place] == wanted)
    return jnp.where(found, place, own), found
