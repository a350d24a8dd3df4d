"""Structures to padded batches, in an order that follows from seed and epoch alone.

Neighbor lists are made once and kept as long as they fit into a bounded memory; those of the
structures beyond are made anew whenever a batch needs them. So a set of any size can be trained on
where the structures themselves come from disk (`jmlip.data.StructureStore`).
"""

import functools
from collections.abc import Generator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from jmlip.core.structure import Structure
from jmlip.graphs.batching import Bucket, Frame, make_frame, pad_batch
from jmlip.graphs.buckets import choose_buckets, plan_batches, sizes_of, smallest_bucket
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
    """

    def __init__(
        self,
        structures: Sequence[Structure],
        potential: Potential,
        *,
        dtype: str,
        seed: int = 0,
        kept_bytes: int = KEPT_BYTES,
    ):
        self._structures, self._potential = structures, potential
        self._dtype, self._seed = np.dtype(dtype).type, seed
        self._kept: list[Frame] = []  # of the first structures
        self._sizes = sizes_of(self._make_all(kept_bytes))
        # an epoch asks for its plan at every step
        self._buckets = functools.lru_cache(maxsize=1)(self._choose)
        self._plan = functools.lru_cache(maxsize=1)(self._draw)

    def n_batches(self, epoch: int, batch_size: int) -> int:
        """Batches of an epoch."""
        return len(self._plan(epoch, batch_size))

    def epoch(self, epoch: int, batch_size: int, *, start: int = 0) -> Generator[Fed, None, None]:
        """The batches of one epoch from the `start`-th on."""
        buckets = self._buckets(batch_size)
        for indices in self._plan(epoch, batch_size)[start:]:
            yield Fed(self._pad(indices, buckets), indices)

    def padded(self, indices: Int[np.ndarray, " members"], bucket: Bucket) -> Batch:
        """The structures at these places as a batch of a given size, which has room for them."""
        return self._batch([self._frame(i) for i in indices.tolist()], bucket)

    def all_batches(self, batch_size: int) -> Generator[Batch, None, None]:
        """Every structure once, the same batches each time."""
        buckets = self._buckets(batch_size)
        for indices in plan_batches(self._sizes, buckets, batch_size=batch_size):
            yield self._pad(indices, buckets)

    def _make_all(self, kept_bytes: int) -> Generator[Frame, None, None]:
        room = kept_bytes
        for structure in self._structures:
            frame = self._make(structure)
            room -= sum(x.nbytes for x in frame if isinstance(x, np.ndarray))
            if room >= 0:
                self._kept.append(frame)
            yield frame

    def _make(self, structure: Structure) -> Frame:
        return make_frame(
            structure,
            species=self._potential.species,
            cutoff=self._potential.cutoff,
            reference_energies=self._potential.reference_energies,
            states=self._potential.states,
            heads=self._potential.heads,
            dtype=self._dtype,
        )

    def _frame(self, index: int) -> Frame:
        kept = index < len(self._kept)
        return self._kept[index] if kept else self._make(self._structures[index])

    def _choose(self, batch_size: int) -> tuple[Bucket, ...]:
        return choose_buckets(self._sizes, batch_size=batch_size)

    def _draw(self, epoch: int, batch_size: int) -> list[Int[np.ndarray, " members"]]:
        generator = np.random.default_rng([self._seed, epoch])
        buckets = self._buckets(batch_size)
        return plan_batches(self._sizes, buckets, batch_size=batch_size, generator=generator)

    def _pad(self, indices: Int[np.ndarray, " members"], buckets: tuple[Bucket, ...]) -> Batch:
        frames = [self._frame(i) for i in indices.tolist()]
        return self._batch(frames, smallest_bucket(frames, buckets))

    def _batch(self, frames: list[Frame], bucket: Bucket) -> Batch:
        return pad_batch(frames, bucket, cutoff=self._potential.cutoff, dtype=self._dtype)
