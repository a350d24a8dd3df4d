"""Structures to padded batches, in an order that follows from seed and epoch alone."""

import functools
from collections.abc import Generator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from jmlip.core.structure import Structure
from jmlip.graphs.batching import Bucket, make_frame, pad_batch
from jmlip.graphs.buckets import choose_buckets, plan_batches, smallest_bucket
from jmlip.graphs.graph import Batch
from jmlip.potentials.potential import Potential


class Fed(NamedTuple):
    """A batch and the places of its structures in the data set."""

    batch: Batch
    indices: Int[np.ndarray, " members"]


class Feed:
    """Batches of a data set.

    Args:
        structures: the data set.
        potential: whose species, cutoff and reference energies the graphs are made with.
        dtype: type of vectors and labels.
        seed: the batches of each epoch follow from it.
    """

    def __init__(
        self, structures: Sequence[Structure], potential: Potential, *, dtype: str, seed: int = 0
    ):
        self._cutoff, self._dtype, self._seed = potential.cutoff, np.dtype(dtype).type, seed
        self._frames = [
            make_frame(
                structure,
                species=potential.species,
                cutoff=potential.cutoff,
                reference_energies=potential.reference_energies,
                dtype=self._dtype,
            )
            for structure in structures
        ]
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

    def all_batches(self, batch_size: int) -> list[Batch]:
        """Every structure once, the same batches each time."""
        buckets = self._buckets(batch_size)
        plan = plan_batches(self._frames, buckets, batch_size=batch_size)
        return [self._pad(indices, buckets) for indices in plan]

    def _choose(self, batch_size: int) -> tuple[Bucket, ...]:
        return choose_buckets(self._frames, batch_size=batch_size)

    def _draw(self, epoch: int, batch_size: int) -> list[Int[np.ndarray, " members"]]:
        generator = np.random.default_rng([self._seed, epoch])
        buckets = self._buckets(batch_size)
        return plan_batches(self._frames, buckets, batch_size=batch_size, generator=generator)

    def _pad(self, indices: Int[np.ndarray, " members"], buckets: tuple[Bucket, ...]) -> Batch:
        frames = [self._frames[i] for i in indices]
        bucket = smallest_bucket(frames, buckets)
        return pad_batch(frames, bucket, cutoff=self._cutoff, dtype=self._dtype)
