"""Which padded sizes, and which frames together: few programs to compile, little computed in vain.

Frames are sorted into classes by their largest number of neighbors, one class for each bucket.
Within a class frames are dealt to batches so that all batches have nearly the same number of atoms;
who meets whom is drawn anew in every epoch.

A batch may be divided in shares of one padded size, for several devices or one after another; what
stands in a batch does not depend on the number of its shares.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from jmlip.graphs.batching import Bucket
from jmlip.graphs.frames import Frame

_WORTH = 0.9  # another bucket must lower the cost of an epoch to this, as it costs a compilation
_TRIALS = 8  # deals from which the atoms of a bucket are taken
_SHUFFLE = 0.3  # relative noise on sizes while dealing: mixes batches, keeps them balanced


class Sizes(NamedTuple):
    """What must be known of frames to plan batches of them, without the frames."""

    atoms: Int[np.ndarray, " frames"]
    slots: Int[np.ndarray, " frames"]  # most neighbors of any atom, at least 1


def sizes_of(frames: Iterable[Frame]) -> Sizes:
    """Sizes of frames, which may stream by."""
    pairs = [(len(frame.species), max(frame.mask.shape[1], 1)) for frame in frames]
    atoms, slots = np.array(pairs, np.int64).reshape(-1, 2).T
    return Sizes(atoms, slots)


def choose_buckets(sizes: Sizes, *, batch_size: int, max_buckets: int = 3) -> tuple[Bucket, ...]:
    """Few padded sizes for batches of at most `batch_size` frames of these sizes, by growing K.

    The cost of an epoch is the number of pair slots of all its batches. Frames of one size give one
    bucket without padding atoms.

    Args:
        sizes: of the data, or of a fair sample of it.
        batch_size: most real graphs in a batch.
        max_buckets: most sizes, that is, compilations.
    """
    atoms, slots = sizes
    best, best_cost = _cut(atoms, slots, batch_size, 1)
    for n in range(2, max_buckets + 1):
        cuts, cost = _cut(atoms, slots, batch_size, n)
        if cost <= _WORTH * best_cost:
            best, best_cost = cuts, cost
    buckets, below = [], 0
    for top in best:
        inside = atoms[(slots > below) & (slots <= top)]
        buckets.append(_bucket(inside, top, batch_size))
        below = top
    return tuple(buckets)


def share_buckets(
    sizes: Sizes, buckets: Sequence[Bucket], *, batch_size: int, n_shares: int
) -> tuple[Bucket, ...]:
    """Padded sizes of the shares of batches; one for each bucket.

    Args:
        sizes: of the data.
        buckets: of whole batches, from `choose_buckets`.
        batch_size: most real graphs in a batch.
        n_shares: shares of a batch.
    """
    made, below = [], 0
    for bucket in buckets:
        inside = sizes.atoms[(sizes.slots > below) & (sizes.slots <= bucket.n_slots)]
        made.append(_bucket(inside, bucket.n_slots, batch_size, n_shares))
        below = bucket.n_slots
    return tuple(made)


def divide(
    batch: Int[np.ndarray, " batch"], sizes: Sizes, n_shares: int
) -> list[Int[np.ndarray, " _"]]:
    """A batch in shares of nearly equal counts and numbers of atoms; some may be empty."""
    return [batch[share] for share in deal(sizes.atoms[batch], n_shares, None)]


def needed_bucket(shares: Sequence[Int[np.ndarray, " _"]], sizes: Sizes) -> Bucket:
    """The smallest bucket that takes each of the shares."""
    return Bucket(
        n_atoms=max(int(sizes.atoms[share].sum()) for share in shares),
        n_slots=max(int(sizes.slots[share].max(initial=1)) for share in shares),
        n_graphs=max(len(share) for share in shares) + 1,
    )


def smallest_bucket(needed: Bucket, buckets: Sequence[Bucket]) -> Bucket:
    """The cheapest bucket that has room for what is needed; if none does, that one rounded up.

    Rounding up lets the next batches beyond the buckets meet the same program.
    """
    fitting = [b for b in buckets if all(n <= h for n, h in zip(needed, b, strict=True))]
    if fitting:
        return min(fitting, key=lambda bucket: bucket.n_pairs)
    n_graphs = max([needed.n_graphs, *(b.n_graphs for b in buckets)])
    return Bucket(round_up(needed.n_atoms), round_up(needed.n_slots), n_graphs)


def plan_batches(
    sizes: Sizes,
    buckets: Sequence[Bucket],
    *,
    batch_size: int,
    generator: np.random.Generator | None = None,
) -> list[Int[np.ndarray, " members"]]:
    """Indices of the frames of each batch; every frame stands in exactly one.

    Args:
        sizes: of the frames that are to be distributed.
        buckets: from `choose_buckets`.
        batch_size: most frames in a batch; a batch that would need more room than any bucket has is
            split.
        generator: shuffles frames and batches; without it the plan is the same each time.
    """
    atoms, slots = sizes
    tops = np.unique([bucket.n_slots for bucket in buckets])
    kind = np.searchsorted(tops, slots)  # the last class is that of frames beyond every bucket
    plan: list[np.ndarray] = []
    for c in np.unique(kind):
        members = np.flatnonzero(kind == c)
        n_batches = -(-len(members) // batch_size)
        for batch in deal(atoms[members], n_batches, generator):
            plan += _split(members[batch], atoms, slots, buckets)
    if generator is None:
        return plan
    return [plan[i] for i in generator.permutation(len(plan))]


def deal(
    sizes: Int[np.ndarray, " n"], n_batches: int, generator: np.random.Generator | None
) -> list[Int[np.ndarray, " members"]]:
    """Distribute items over batches of nearly equal counts and nearly equal sums of sizes.

    Large items go first, in rounds of one for each batch; within a round the larger ones go to the
    batches that hold less.
    """
    noise = 0.0 if generator is None else generator.normal(size=len(sizes))
    order = np.argsort(-sizes * np.exp(_SHUFFLE * noise), kind="stable")
    sums, owner = np.zeros(n_batches), np.empty(len(sizes), np.int64)
    for first in range(0, len(sizes), n_batches):
        row = order[first : first + n_batches]
        row = row[np.argsort(-sizes[row], kind="stable")]
        emptiest = np.argsort(sums, kind="stable")[: len(row)]
        owner[row] = emptiest
        sums[emptiest] += sizes[row]
    members = np.argsort(owner, kind="stable")
    return np.split(members, np.cumsum(np.bincount(owner, minlength=n_batches))[:-1])


def _cut(atoms, slots, batch_size, n_classes):
    """Largest K of each class, so that the pair slots of one epoch are fewest; and their number."""
    tops = np.unique(slots)
    if len(tops) > 64:  # more candidates change little
        tops = np.unique(np.quantile(slots, np.linspace(0, 1, 64), method="higher"))
    least = np.full(len(tops) + 1, np.inf)
    least[0] = 0.0
    chosen: list[list[int]] = [[] for _ in least]
    for _ in range(n_classes):
        previous, previous_chosen = least, chosen
        least, chosen = least.copy(), list(chosen)
        for b, top in enumerate(tops):
            for a in range(b + 1):
                below = tops[a - 1] if a else 0
                inside = atoms[(slots > below) & (slots <= top)]
                cost = previous[a] + _cost(inside, top, batch_size)
                if cost < least[b + 1]:
                    least[b + 1] = cost
                    chosen[b + 1] = [*previous_chosen[a], int(top)]
    return chosen[-1], least[-1]


def _cost(atoms, n_slots, batch_size):
    n_batches = -(-len(atoms) // batch_size)
    per_batch = -(-len(atoms) // n_batches)
    return n_batches * max(per_batch * atoms.mean(), atoms.max()) * n_slots


def _bucket(atoms, n_slots, batch_size, n_shares=1):
    n_batches = -(-len(atoms) // batch_size)
    generator = np.random.default_rng(0)
    deals = [batch for _ in range(_TRIALS) for batch in deal(atoms, n_batches, generator)]
    if n_shares > 1:
        deals = [batch[s] for batch in deals for s in deal(atoms[batch], n_shares, None)]
    return Bucket(
        n_atoms=int(max(atoms[batch].sum() for batch in deals)),
        n_slots=int(n_slots),
        n_graphs=max(len(batch) for batch in deals) + 1,
    )


def _split(batch, atoms, slots, buckets):
    """Halve a batch until it fits; a single frame may stay without a bucket."""
    n, k = atoms[batch].sum(), slots[batch].max()
    has_room = any(n <= b.n_atoms and k <= b.n_slots and len(batch) < b.n_graphs for b in buckets)
    if has_room or len(batch) == 1:
        return [batch]
    middle = len(batch) // 2
    parts = batch[:middle], batch[middle:]
    return [piece for part in parts for piece in _split(part, atoms, slots, buckets)]


def round_up(size: int) -> int:
    """To one of four steps per octave: at most a quarter is padding."""
    step = max(1, 2 ** (max(size - 1, 1).bit_length() - 3))
    return -(-size // step) * step
