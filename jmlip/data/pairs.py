"""Neighbor pairs on the host, until `jmlip.ops.neighbors` offers them."""

from typing import NamedTuple

import numpy as np
import vesin


class Neighbors(NamedTuple):
    """Full list of pairs; `vectors` = position[sender] - position[receiver] + shift @ cell."""

    receivers: np.ndarray
    senders: np.ndarray
    shifts: np.ndarray
    vectors: np.ndarray


def neighbors(positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray, cutoff: float) -> Neighbors:
    """All pairs within `cutoff`, angstrom."""
    search = vesin.NeighborList(cutoff=cutoff, full_list=True, sorted=True, n_threads=1)
    i, j, shifts, vectors = search.compute(positions, cell, pbc, quantities="ijSD")
    return Neighbors(i.astype(int), j.astype(int), shifts, vectors)
