"""Mean squared displacements, and diffusion constants by Einstein's relation."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from jmlip.analysis.blocks import standard_error
from jmlip.analysis.correlation import Correlation, Portions, Vectors, correlate
from jmlip.analysis.estimates import Estimate, autocorrelation_sums
from jmlip.analysis.lines import log_log_slope
from jmlip.core import units
from jmlip.core.errors import DataError

_YEH_HUMMER = 2.837297
"""Of a cubic lattice; the trace of the Ewald sum of the Oseen tensor."""


class Diffusion(NamedTuple):
    """Diffusion constant, and the power of time by which the displacement grows where it is fitted.

    The motion is diffusive where the exponent is 1; it is 2 of free flight and 0 of a solid.
    """

    constant: Estimate  # angstrom^2 / ps
    exponent: float


def mean_squared_displacement(
    portions: Portions, group: Int[np.ndarray, " all_atoms"], n_lags: int
) -> Correlation:
    """Mean squared displacement of the atoms of each group, angstrom^2, at lags in frames.

    MSD(t) = <|r_i(t0 + t) - r_i(t0)|^2> over atoms i and all origins t0

    Args:
        portions: unwrapped positions, angstrom.
        group: number of the group of each atom, from 0.
        n_lags: as `jmlip.analysis.correlation.choose_lags` gives it.

    References:
        Calandrini et al., École thématique de la Société Française de la Neutronique 12, 201
        (2011), section 4.2.
    """
    sums = correlate(portions, group, _squared_displacement, n_lags)
    n_atoms = np.bincount(group)[:, None]
    return Correlation(sums.value / n_atoms, sums.blocks / n_atoms)


def unwrapped(
    portions: Portions, cell: Float[np.ndarray, "3 3"], pbc: Bool[np.ndarray, "3"]
) -> Iterator[Vectors]:
    """The same portions, after a look whether an atom jumps by half a cell between two frames.

    Raises:
        DataError: one does.
    """
    # whatever stands for open directions, no atom can cross it
    to_fraction = np.linalg.pinv(np.where(pbc[:, None], cell, 0.0))
    for positions in portions:
        step = np.abs(np.diff(positions, axis=0) @ to_fraction).max(initial=0.0)
        if step >= 0.5:
            raise DataError(
                "displacements need positions that are not wrapped into the cell, in frames close "
                f"in time, found an atom that jumps by {step:.2f} lattice vectors from one frame "
                "to the next; unwrap them (MDAnalysis: NoJump)."
            )
        yield positions


def diffusion_constants(lag_ps: Float[np.ndarray, " lags"], msd: Correlation) -> list[Diffusion]:
    """Diffusion constant of each group from the second half of its mean squared displacement.

    MSD(t) = 6 D t + c, by least squares; the error is that of the same fit to blocks of time.
    """
    late = slice(len(lag_ps) // 2, None)
    fit = lambda values: np.polyfit(lag_ps[late], values[..., late].T, 1)[0] / 6.0
    constants, errors = fit(msd.value), standard_error(np.stack([fit(b) for b in msd.blocks]))
    return [
        Diffusion(Estimate(float(constant), float(error)), _exponent(lag_ps[late], values[late]))
        for constant, error, values in zip(constants, errors, msd.value, strict=True)
    ]


def finite_size_correction(*, temperature_K: float, viscosity_mPa_s: float, length: float) -> float:
    """What a diffusion constant lacks in a periodic cube, angstrom^2 / ps.

    D(infinity) - D(L) = 2.837297 kT / (6 pi eta L)

    Args:
        temperature_K: of the liquid.
        viscosity_mPa_s: shear viscosity of the liquid, that of the model if it is known.
        length: edge of the cube, angstrom.

    References:
        Yeh, Hummer, J. Phys. Chem. B 108, 15873 (2004), equation 12.

    Example:
        >>> water = {"temperature_K": 298.0, "viscosity_mPa_s": 0.89}
        >>> round(finite_size_correction(**water, length=18.6), 4)  # of 0.23
        0.0374
    """
    viscosity = viscosity_mPa_s * 1000.0 * units.GPA * units.FS
    kT = temperature_K * units.KELVIN
    return _YEH_HUMMER * kT / (6.0 * np.pi * viscosity * length) * units.PS


def cube_length(cell: Float[np.ndarray, "3 3"], pbc: Bool[np.ndarray, "3"]) -> float:
    """Edge of a cubic cell, angstrom.

    Raises:
        DataError: the cell is no cube.
    """
    length = float(np.linalg.norm(cell[0]))
    if not pbc.all() or not np.allclose(cell @ cell.T, length**2 * np.eye(3), rtol=0, atol=1e-4):
        raise DataError(
            "the finite-size correction holds for cubic cells, periodic in three directions, "
            f"found cell {np.round(cell, 4).tolist()} with pbc {pbc.tolist()}; leave out the "
            "viscosity, and extrapolate from cells of several sizes."
        )
    return length


def _exponent(lag: np.ndarray, msd: np.ndarray) -> float:
    return log_log_slope(lag, msd) if (msd > 0.0).all() else 0.0


def _squared_displacement(positions: Vectors, n_lags: int) -> Float[np.ndarray, "lags atoms"]:
    """<|r(t0 + t) - r(t0)|^2> of each atom as sums of squares less twice the autocorrelation."""
    n = len(positions)
    r = positions - positions.mean(axis=0)  # the nearer to zero, the less cancels
    # one component at a time, as a transform needs several times the memory of its input
    products = sum(autocorrelation_sums(r[..., axis], n_lags) for axis in range(3))
    head = np.cumsum(np.einsum("tax,tax->ta", r, r), axis=0)
    lag = np.arange(n_lags)
    # squares of the first n - lag frames, and of the last n - lag
    first, last = head[n - 1 - lag], head[-1] - np.where(lag[:, None] > 0, head[lag - 1], 0.0)
    return np.maximum(first + last - 2.0 * products, 0.0) / (n - lag)[:, None]
