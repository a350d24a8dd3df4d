"""Structures to padded batches in a shuffled order that follows from seed and epoch alone."""

from collections.abc import Generator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from jmlip.core.structure import Structure
from jmlip.graphs.batching import make_frame, pad_batch
from jmlip.graphs.buckets import choose_buckets, smallest_bucket
from jmlip.graphs.graph import Batch
from jmlip.potentials.potential import Potential


class Fed(NamedTuple):
    """A batch and the places of its structures in the data set."""

    batch: Batch
    indices: Int[np.ndarray, " structures"]


class Feed:
    """Batches of a data set.

    Args:
        structures: the data set.
        potential: whose species, cutoff and reference energies the graphs are made with.
        dtype: type of vectors and labels.
        seed: the order of structures in each epoch follows from it.
    """

    def __init__(
        self, structures: Sequence[Structure], potential: Potential, *, dtype: str, seed: int = 0
    ):
        self._frames = [
            make_frame(
                structure,
                species=potential.species,
                cutoff=potential.cutoff,
                reference_energies=potential.reference_energies,
            )
            for structure in structures
        ]
        self._cutoff, self._dtype, self._seed = potential.cutoff, np.dtype(dtype).type, seed

    def n_batches(self, batch_size: int) -> int:
        """Batches in an epoch; the last one may be smaller."""
        return -(-len(self._frames) // batch_size)

    def epoch(self, epoch: int, batch_size: int, *, start: int = 0) -> Generator[Fed, None, None]:
        """The batches of one epoch from the `start`-th on."""
        order = np.random.default_rng([self._seed, epoch]).permutation(len(self._frames))
        return self._batches(order, batch_size, start)

    def in_order(self, batch_size: int) -> list[Batch]:
        """All batches in the order of the data set."""
        order = np.arange(len(self._frames))
        return [fed.batch for fed in self._batches(order, batch_size, 0)]

    def _batches(
        self, order: np.ndarray, batch_size: int, start: int
    ) -> Generator[Fed, None, None]:
        buckets = choose_buckets(self._frames, batch_size=batch_size)
        for first in range(start * batch_size, len(order), batch_size):
            indices = order[first : first + batch_size]
            frames = [self._frames[i] for i in indices]
            bucket = smallest_bucket(frames, buckets)
            yield Fed(pad_batch(frames, bucket, cutoff=self._cutoff, dtype=self._dtype), indices)
