"""Distances: radial distribution functions, histograms of bond lengths, the shortest of all."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from jmlip.core.errors import DataError
from jmlip.core.structure import Structure
from jmlip.ops.neighbors import neighbors


class Distribution(NamedTuple):
    """A function of distance on the centers of equal bins."""

    distance: Float[np.ndarray, " bins"]  # angstrom
    value: Float[np.ndarray, " bins"]


def radial_distribution(
    structures: Iterable[Structure],
    *,
    r_max: float,
    n_bins: int = 200,
    pair: tuple[int, int] | None = None,
) -> Distribution:
    """Radial distribution function of periodic structures; 1 where the atoms are an ideal gas.

    g(r) = V / (N_a N_b) <number of b in a shell around each a> / (volume of the shell),
    without an atom itself, but with its own images: right for any r_max, also beyond half the cell.

    Args:
        structures: periodic in three directions, such as the frames of a trajectory.
        r_max: angstrom.
        n_bins: bins between 0 and r_max.
        pair: atomic numbers (a, b); all atoms where it is not given.

    Raises:
        DataError: a structure has no volume, or none of these atoms; or there is no structure.
    """
    edges = np.linspace(0.0, r_max, n_bins + 1)
    shells = 4.0 / 3.0 * np.pi * np.diff(edges**3)
    total, n_frames = np.zeros(n_bins), 0
    for structure in structures:
        if not structure.is_periodic:
            raise DataError(
                "a radial distribution needs a cell periodic in three directions, found pbc "
                f"{structure.pbc.tolist()}; use bond_lengths."
            )
        counts, n_a, n_b = _pair_counts(structure, edges, pair)
        if n_a * n_b == 0:
            raise DataError(f"the structure must hold atoms of {pair}, found {structure.formula}.")
        total += counts * structure.volume / (n_a * n_b)
        n_frames += 1
    if n_frames == 0:
        raise DataError("a radial distribution needs at least one structure, found none.")
    return Distribution(0.5 * (edges[1:] + edges[:-1]), total / n_frames / shells)


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
    edges = np.linspace(0.0, r_max, n_bins + 1)
    counts = sum(
        (_pair_counts(structure, edges, pair)[0] for structure in structures), np.zeros(n_bins)
    )
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


def _pair_counts(
    structure: Structure, edges: np.ndarray, pair: tuple[int, int] | None
) -> tuple[np.ndarray, int, int]:
    """Pairs (a around which, b) in each bin, and the numbers of a and b."""
    found = neighbors(structure.positions, structure.cell, structure.pbc, float(edges[-1]))
    distances = np.linalg.norm(found.vectors, axis=1)
    if pair is None:
        return np.histogram(distances, edges)[0], structure.n_atoms, structure.n_atoms
    is_a, is_b = (structure.species == number for number in pair)
    chosen = is_a[found.receivers] & is_b[found.senders]
    return np.histogram(distances[chosen], edges)[0], int(is_a.sum()), int(is_b.sum())
