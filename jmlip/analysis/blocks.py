"""Means over a stream of unknown length, with errors: sums over blocks that grow as it goes on."""

from typing import NamedTuple

import numpy as np

MIN_BLOCKS = 16
"""Between so many blocks and twice as many are kept: enough to know an error to 20%."""


class RunningBlocks(NamedTuple):
    """Sums over successive blocks of equally many arrays; start with `RunningBlocks()`.

    When there are twice `MIN_BLOCKS`, neighbors are joined, so that memory does not grow and blocks
    become longer than whatever time the series takes to forget.
    """

    sums: tuple[np.ndarray, ...] = ()
    size: int = 1
    rest: np.ndarray | None = None
    n_rest: int = 0

    def add(self, value: np.ndarray) -> "RunningBlocks":
        """The sums with one more array.

        >>> blocks = RunningBlocks()
        >>> for k in range(100):
        ...     blocks = blocks.add(np.array(float(k)))
        >>> len(blocks.means), blocks.size, float(blocks.mean)
        (25, 4, 49.5)
        """
        rest = value if self.rest is None else self.rest + value
        if self.n_rest + 1 < self.size:
            return self._replace(rest=rest, n_rest=self.n_rest + 1)
        sums, size = (*self.sums, rest), self.size
        if len(sums) == 2 * MIN_BLOCKS:
            sums = tuple(a + b for a, b in zip(sums[::2], sums[1::2], strict=True))
            size *= 2
        return RunningBlocks(sums, size)

    @property
    def n(self) -> int:
        """How many arrays were added."""
        return len(self.sums) * self.size + self.n_rest

    @property
    def means(self) -> np.ndarray:
        """Mean of each full block, `(blocks, ...)`."""
        return np.stack(self.sums) / self.size

    @property
    def mean(self) -> np.ndarray:
        """Mean of all."""
        total = np.sum(self.sums, axis=0)
        return np.asarray((total if self.rest is None else total + self.rest) / self.n)

    @property
    def error(self) -> np.ndarray:
        """Standard error of the mean, NaN of fewer than two blocks."""
        return standard_error(self.means)


def standard_error(blocks: np.ndarray) -> np.ndarray:
    """Standard error of the mean of independent blocks, along the first axis; NaN of one.

    >>> float(standard_error(np.array([1.0, 3.0])))
    1.0
    """
    if len(blocks) < 2:
        return np.full(blocks.shape[1:], np.nan)
    return np.asarray(blocks.std(axis=0, ddof=1) / np.sqrt(len(blocks)))
