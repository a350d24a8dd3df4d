"""Time correlation functions summed over groups of atoms, with errors from blocks of time.

Atoms come in portions, each over all frames, so that a trajectory need not fit into memory. The
value is that of the whole trajectory; its error is that of the mean over successive blocks, each
evaluated by itself.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jmlip.analysis.blocks import standard_error
from jmlip.core.errors import DataError

Vectors = Float[np.ndarray, "frames atoms 3"]
Portions = Iterable[Float[np.ndarray, "frames _ 3"]]
"""Vectors of some atoms in all frames; portions follow each other in the order of atoms."""

_BLOCKS = 10
_FEWEST_BLOCKS = 4
_LONGEST = 2 * _FEWEST_BLOCKS
"""A block is at least twice as long as the longest lag, and an error needs four of them."""


class Correlation(NamedTuple):
    """A function of lag for each group of atoms: of the whole trajectory, and of blocks of it."""

    value: Float[np.ndarray, "groups lags"]
    blocks: Float[np.ndarray, "blocks groups lags"]

    @property
    def error(self) -> Float[np.ndarray, "groups lags"]:
        """Standard error of the mean over blocks."""
        return standard_error(self.blocks)


def choose_lags(n_frames: int, longest: int | None = None) -> int:
    """Number of lags, 0 among them, up to a lag of `longest` frames, or a twentieth of all.

    Raises:
        DataError: the longest lag is more than an eighth of the frames, so that errors would be
            unknown; or there are fewer than 16 frames.
    """
    if n_frames < 2 * _LONGEST:
        raise DataError(
            f"correlations in time need at least {2 * _LONGEST} frames, found {n_frames}; run "
            "longer, skip less, or write more frames."
        )
    if longest is None:
        return max(2, n_frames // (2 * _BLOCKS)) + 1
    if longest * _LONGEST > n_frames:
        raise DataError(
            f"the longest lag must be at most an eighth of the trajectory, {n_frames // _LONGEST} "
            f"frames, for its error to be known, found {longest}; shorten it, or run longer."
        )
    if longest < 2:
        raise DataError(
            f"the longest lag must be at least 2 frames, found {longest}; lengthen it, or write "
            "more frames."
        )
    return longest + 1


def correlate(
    portions: Portions,
    group: Int[np.ndarray, " all_atoms"],
    function: Callable[[Vectors, int], Float[np.ndarray, "lags atoms"]],
    n_lags: int,
) -> Correlation:
    """Sum a function of lag over the atoms of each group.

    Args:
        portions: vectors of the atoms.
        group: number of the group of each atom, from 0.
        function: vectors and number of lags to the function of each atom.
        n_lags: as `choose_lags` gives it.
    """
    n_groups, first = int(group.max()) + 1, 0
    value, blocks = np.zeros((n_groups, n_lags)), np.zeros((_BLOCKS, n_groups, n_lags))
    n_blocks = _BLOCKS
    for vectors in portions:
        n_blocks = min(_BLOCKS, len(vectors) // (2 * (n_lags - 1)))
        member = np.equal.outer(np.arange(n_groups), group[first : first + vectors.shape[1]])
        value += member @ function(vectors, n_lags).T
        for k, part in enumerate(np.array_split(vectors, n_blocks)):
            blocks[k] += member @ function(part, n_lags).T
        first += vectors.shape[1]
    return Correlation(value, blocks[:n_blocks])
