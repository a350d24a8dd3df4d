"""Thermal conductivity by Green and Kubo: the integral of the autocorrelation of the heat flux."""

import numpy as np
import scipy.constants
from jaxtyping import Float

from jmlip.analysis.correlation import Correlation, correlate
from jmlip.analysis.vibrations import autocorrelation
from jmlip.core import units

_W_PER_MK = scipy.constants.e * 1e22
"""One eV / (angstrom ps K) in W / (m K)."""


def flux_autocorrelation(flux: Float[np.ndarray, "frames 3"], n_lags: int) -> Correlation:
    """<J(t0) . J(t0 + t)> over all t0; its error from blocks of time.

    Args:
        flux: eV angstrom / (internal time unit).
        n_lags: as `jmlip.analysis.correlation.choose_lags` gives it.
    """
    return correlate([flux[:, None]], np.zeros(1, int), autocorrelation, n_lags)


def thermal_conductivity(
    correlation: Correlation, *, timestep_ps: float, volume: float, temperature_K: float
) -> Correlation:
    """The conductivity that follows from correlations up to each lag.

    kappa(t) = 1 / (3 V k T^2) integral_0^t <J(0) . J(s)> ds,    the trapezoidal rule between frames

    Its value is where it stops to grow; beyond, its error grows with the square root of time.

    Args:
        correlation: of the heat flux of the whole cell, as `flux_autocorrelation` gives it.
        timestep_ps: time between frames.
        volume: angstrom^3.
        temperature_K: mean temperature.

    Returns:
        kappa of each lag, W / (m K).

    References:
        Green, J. Chem. Phys. 22, 398 (1954); Kubo, J. Phys. Soc. Jpn. 12, 570 (1957).
    """
    # J^2 in (eV angstrom / ps)^2
    factor = _W_PER_MK * units.PS**2 * timestep_ps
    factor /= 3.0 * volume * units.KELVIN * temperature_K**2
    return Correlation(*(factor * _running_integral(part) for part in correlation))


def _running_integral(values: np.ndarray) -> np.ndarray:
    middles = 0.5 * (values[..., 1:] + values[..., :-1])
    zero = np.zeros_like(values[..., :1])
    return np.concatenate([zero, np.cumsum(middles, axis=-1)], axis=-1)
