"""Distances: histograms of bond lengths, the shortest of all."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from jmlip.core.structure import Structure
from jmlip.ops.neighbors import neighbors, unordered_pairs


class Distribution(NamedTuple):
    """A function of distance on the centers of equal bins."""

    distance: Float[np.ndarray, " bins"]  # angstrom
    value: Float[np.ndarray, " bins"]


def bond_lengths(
    structures: Iterable[Structure], *, pair: tuple[int, int], r_max: float, n_bins: int = 200
) -> Distribution:
    """Histogram of the distances of two elements up to `r_max`, of integral 1; 0 if there are none.

    Args:
        structures: of any periodicity, such as the frames of a trajectory.
        pair: two atomic numbers.
        r_max: longest distance that is a bond, angstrom.
        n_bins: bins between 0 and r_max.
    """
    edges, counts = np.linspace(0.0, r_max, n_bins + 1), np.zeros(n_bins)
    for structure in structures:
        found = unordered_pairs(structure.positions, structure.cell, structure.pbc, r_max)
        ends = np.sort([structure.species[found.first], structure.species[found.second]], axis=0)
        chosen = (ends[0] == min(pair)) & (ends[1] == max(pair))
        counts += np.histogram(found.distances[chosen], edges)[0]
    norm = max(counts.sum(), 1.0) * (edges[1] - edges[0])
    return Distribution(0.5 * (edges[1:] + edges[:-1]), counts / norm)


def shortest_distance(structure: Structure, *, below: float) -> float | None:
    """Shortest distance of two atoms, images included, angstrom; None if none is below a bound.

    Args:
        structure: of any periodicity.
        below: the bound, angstrom; the lower, the faster.
    """
    found = neighbors(structure.positions, structure.cell, structure.pbc, below)
    squares = np.sum(found.vectors**2, axis=1)
    return float(np.sqrt(squares.min())) if len(squares) else None
