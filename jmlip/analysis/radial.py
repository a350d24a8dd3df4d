"""Radial distribution functions of periodic systems, and the first shell that they show."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import scipy.ndimage
import scipy.signal
from ase.data import chemical_symbols
from jaxtyping import Float

from jmlip.analysis.blocks import RunningBlocks, standard_error
from jmlip.analysis.estimates import Estimate, jackknife
from jmlip.core.errors import DataError
from jmlip.core.structure import Structure
from jmlip.ops.neighbors import unordered_pairs

Pair = tuple[int, int]

_SMOOTHING = 0.05
"""Angstrom; peaks are looked for in g(r) smoothed by a Gaussian of this width."""
_PROMINENCE = 0.1
"""Of the largest value: what rises less is noise, no shell."""


class RadialDistribution(NamedTuple):
    """g(r) on the centers of equal bins, its standard error, and the number of neighbors within.

    Blocks are means over successive parts of the trajectory, for errors of what follows from them.
    """

    distance: Float[np.ndarray, " bins"]  # angstrom
    value: Float[np.ndarray, " bins"]
    error: Float[np.ndarray, " bins"]
    coordination: Float[np.ndarray, " bins"]  # neighbors b of an atom a up to the end of the bin
    blocks: Float[np.ndarray, "blocks bins"]
    coordination_blocks: Float[np.ndarray, "blocks bins"]


class FirstShell(NamedTuple):
    """The first peak of g(r) and the neighbors up to the minimum behind it."""

    position: Estimate  # angstrom
    height: Estimate
    end: float  # angstrom, the minimum
    coordination: Estimate


def radial_distributions(
    structures: Iterable[Structure], pairs: Sequence[Pair], *, r_max: float, n_bins: int = 200
) -> dict[Pair, RadialDistribution]:
    """Radial distribution functions of periodic structures; 1 for the elements of an ideal gas.

    g(r) = V / (N_a N_b) <number of b in a shell around each a> / (volume of the shell),
    without an atom itself, but with its own images: right for any r_max, also beyond half the cell.
    (For like atoms of an ideal gas it is 1 - 1 / N before the first image, as an atom has N - 1
    others.)

    Args:
        structures: periodic in three directions, such as the frames of a trajectory, in order;
            cells may change.
        pairs: atomic numbers (a, b).
        r_max: angstrom.
        n_bins: bins between 0 and r_max.

    Raises:
        DataError: a structure has no volume, or none of these atoms; or there is no structure.

    References:
        Allen, Tildesley, Computer Simulation of Liquids, 2nd edition, section 2.6.
    """
    edges = np.linspace(0.0, r_max, n_bins + 1)
    shells = 4.0 / 3.0 * np.pi * np.diff(edges**3)
    running = RunningBlocks()
    for structure in structures:
        _require_volume(structure)
        running = running.add(_frame(structure, pairs, shells, r_max))
    if running.n == 0:
        raise DataError("a radial distribution needs at least one structure, found none.")
    distance = 0.5 * (edges[1:] + edges[:-1])
    mean, blocks, error = running.mean, running.means, running.error
    return {
        pair: RadialDistribution(
            distance, mean[k, 0], error[k, 0], mean[k, 1], blocks[:, k, 0], blocks[:, k, 1]
        )
        for k, pair in enumerate(pairs)
    }


def first_shell(rdf: RadialDistribution) -> FirstShell | None:
    """The first peak, and the coordination number up to the minimum behind it; None without a peak.

    The bins of peak and minimum are those of the mean over all blocks; the position is the vertex
    of a parabola through the top three bins. Errors are those of blocks, at fixed bins.
    """
    width = float(rdf.distance[1] - rdf.distance[0])
    smooth = scipy.ndimage.gaussian_filter1d(rdf.value, _SMOOTHING / width)
    prominence = _PROMINENCE * max(float(smooth.max()), 1.0)
    peaks, _ = scipy.signal.find_peaks(smooth, prominence=prominence)
    if len(peaks) == 0:
        return None
    top = int(peaks[0] - 1 + np.argmax(rdf.value[peaks[0] - 1 : peaks[0] + 2]))
    until = peaks[1] if len(peaks) > 1 else len(smooth)
    end = int(peaks[0] + np.argmin(smooth[peaks[0] : until]))
    return FirstShell(
        position=jackknife(rdf.blocks, lambda mean: _vertex(rdf.distance, mean, top)),
        height=Estimate(float(rdf.value[top]), float(rdf.error[top])),
        end=float(rdf.distance[end] + 0.5 * width),
        coordination=Estimate(
            float(rdf.coordination[end]),
            float(standard_error(rdf.coordination_blocks[:, end])),
        ),
    )


def _frame(
    structure: Structure, pairs: Sequence[Pair], shells: np.ndarray, r_max: float
) -> Float[np.ndarray, "pairs 2 bins"]:
    """g(r) and the neighbors up to r of one structure."""
    n_bins = len(shells)
    found = unordered_pairs(structure.positions, structure.cell, structure.pbc, r_max)
    bins = (found.distances * (n_bins / r_max)).astype(np.int64)
    first, second = structure.species[found.first], structure.species[found.second]
    result = np.empty((len(pairs), 2, n_bins))
    for k, (a, b) in enumerate(pairs):
        n_a, n_b = (int(np.sum(structure.species == number)) for number in (a, b))
        if n_a * n_b == 0:
            missing = chemical_symbols[a if n_a == 0 else b]
            raise DataError(
                f"the structure must hold atoms of {missing}, found {structure.formula}; choose "
                "elements that are there."
            )
        # of two like atoms each has the other as its neighbor
        chosen = ((first == a) & (second == b)) | ((first == b) & (second == a))
        counts = np.bincount(bins[chosen], minlength=n_bins)[:n_bins] * (2.0 if a == b else 1.0)
        result[k, 0] = counts * structure.volume / (n_a * n_b * shells)
        result[k, 1] = np.cumsum(counts) / n_a
    return result


def _require_volume(structure: Structure) -> None:
    if not structure.is_periodic:
        raise DataError(
            "a radial distribution needs the density of a cell periodic in three directions, found "
            f"pbc {structure.pbc.tolist()}; leave out --rdf for molecules (--adf has their angles, "
            "jmlip.analysis.distances.bond_lengths in Python a histogram without density)."
        )


def _vertex(x: np.ndarray, y: np.ndarray, top: int) -> float:
    """Where a parabola through three points is largest; the middle one if nowhere."""
    if not 0 < top < len(y) - 1:
        return float(x[top])
    left, middle, right = y[top - 1 : top + 2]
    curvature = left - 2.0 * middle + right
    shift = 0.5 * (left - right) / curvature if curvature < 0.0 else 0.0
    return float(x[top] + np.clip(shift, -1.0, 1.0) * (x[1] - x[0]))
