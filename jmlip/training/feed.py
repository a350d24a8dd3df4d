"""Structures to padded batches, in an order that follows from seed and epoch alone.

Neighbor lists are made once and kept as long as they fit into a bounded memory; those of the
structures beyond are made anew whenever a batch needs them. So a set of any size can be trained on
where the structures themselves come from disk (`jmlip.data.StructureStore`).

For several devices, or steps in several turns, a batch is divided in shares of one padded size,
stacked along a first axis. Which structures a batch has does not depend on that.
"""

import functools
from collections.abc import Generator, Sequence
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Int

from jmlip.core.structure import Structure
from jmlip.graphs.batching import Bucket, pad_batch
from jmlip.graphs.buckets import (
    choose_buckets,
    divide,
    needed_bucket,
    plan_batches,
    share_buckets,
    sizes_of,
    smallest_bucket,
)
from jmlip.graphs.frames import Frame
from jmlip.graphs.graph import Batch
from jmlip.potentials.potential import Potential

KEPT_BYTES = 2**31
"""How much memory the kept neighbor lists of one data set may take."""


class Fed(NamedTuple):
    """A batch and the places of its structures in the data set."""

    batch: Batch
    indices: Int[np.ndarray, " members"]


class Feed:
    """Batches of a data set.

    Args:
        structures: the data set; it is read from start to end once, then by index.
        potential: whose species, cutoff and reference energies the graphs are made with.
        dtype: type of vectors and labels.
        seed: the batches of each epoch follow from it.
        kept_bytes: memory for neighbor lists that are kept.
        n_shares: shares of a batch; `None`: batches are not divided and have no axis of shares.
        mine: those shares that are made; all unless given.
    """

    def __init__(
        self,
        structures: Sequence[Structure],
        potential: Potential,
        *,
        dtype: str,
        seed: int = 0,
        kept_bytes: int = KEPT_BYTES,
        n_shares: int | None = None,
        mine: slice = slice(None),
    ):
        self._structures, self._potential = structures, potential
        self._dtype, self._seed = np.dtype(dtype).type, seed
        self._n_shares, self._mine = n_shares, mine
        self._kept: list[Frame] = []  # of the first structures
        self._like: list[Frame] = []  # what all shares of a batch have, some of them has
        self._sizes = sizes_of(self._make_all(kept_bytes))
        # an epoch asks for its plan at every step
        self._buckets = functools.lru_cache(maxsize=1)(self._choose)
        self._padded = functools.lru_cache(maxsize=1)(self._choose_padded)
        self._plan = functools.lru_cache(maxsize=1)(self._draw)

    def n_batches(self, epoch: int, batch_size: int) -> int:
        """Batches of an epoch."""
        return len(self._plan(epoch, batch_size))

    def epoch(self, epoch: int, batch_size: int, *, start: int = 0) -> Generator[Fed, None, None]:
        """The batches of one epoch from the `start`-th on."""
        for indices in self._plan(epoch, batch_size)[start:]:
            yield Fed(self._pad(indices, batch_size), indices)

    def padded(self, indices: Int[np.ndarray, " members"], bucket: Bucket) -> Batch:
        """The structures at these places as a batch of a given size, which has room for them."""
        frames = [self._frame(i) for i in indices.tolist()]
        like = [] if self._n_shares is None else self._like
        return pad_batch(
            frames, bucket, cutoff=self._potential.cutoff, dtype=self._dtype, like=like
        )

    def all_batches(self, batch_size: int) -> Generator[Batch, None, None]:
        """Every structure once, the same batches each time."""
        buckets = self._buckets(batch_size)
        for indices in plan_batches(self._sizes, buckets, batch_size=batch_size):
            yield self._pad(indices, batch_size)

    def _make_all(self, kept_bytes: int) -> Generator[Frame, None, None]:
        room = kept_bytes
        for structure in self._structures:
            frame = self._make(structure)
            room -= sum(x.nbytes for x in frame if isinstance(x, np.ndarray))
            if room >= 0:
                self._kept.append(frame)
            if not self._like or frame.energy_orders is not None:
                self._like = [frame]
            yield frame

    def _make(self, structure: Structure) -> Frame:
        return self._potential.frame(structure, dtype=self._dtype)

    def _frame(self, index: int) -> Frame:
        kept = index < len(self._kept)
        return self._kept[index] if kept else self._make(self._structures[index])

    def _choose(self, batch_size: int) -> tuple[Bucket, ...]:
        return choose_buckets(self._sizes, batch_size=batch_size)

    def _choose_padded(self, batch_size: int) -> tuple[Bucket, ...]:
        buckets, n = self._buckets(batch_size), self._n_shares
        if n is None:
            return buckets
        return share_buckets(self._sizes, buckets, batch_size=batch_size, n_shares=n)

    def _draw(self, epoch: int, batch_size: int) -> list[Int[np.ndarray, " members"]]:
        generator = np.random.default_rng([self._seed, epoch])
        buckets = self._buckets(batch_size)
        return plan_batches(self._sizes, buckets, batch_size=batch_size, generator=generator)

    def _pad(self, indices: Int[np.ndarray, " members"], batch_size: int) -> Batch:
        n = self._n_shares
        shares = [indices] if n is None else divide(indices, self._sizes, n)
        bucket = smallest_bucket(needed_bucket(shares, self._sizes), self._padded(batch_size))
        if n is None:
            return self.padded(indices, bucket)
        batches = [self.padded(share, bucket) for share in shares[self._mine]]
        return jax.tree.map(lambda *x: np.stack(x), *batches)
