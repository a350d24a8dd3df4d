"""Velocity autocorrelation, and the vibrational density of states that is its Fourier transform."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import scipy.constants
import scipy.fft
from jaxtyping import Float, Int

from jmlip.analysis.correlation import Correlation, Portions, Vectors, correlate
from jmlip.analysis.estimates import autocorrelation_sums

_CM_PER_PS = scipy.constants.c * 1e2 * 1e-12
_PADDING = 4
"""Points of the spectrum for each point of the correlation function: a smooth curve, not more
resolution."""


def velocity_autocorrelation(
    portions: Portions,
    mass: Float[np.ndarray, " all_atoms"],
    group: Int[np.ndarray, " all_atoms"],
    n_lags: int,
) -> Correlation:
    """Mass-weighted velocity autocorrelation of each group, the sum over its atoms.

    C(t) = sum_i m_i <v_i(t0) . v_i(t0 + t)>,  so that C(0) is twice the kinetic energy

    Args:
        portions: velocities, angstrom / (internal time unit).
        mass: u.
        group: number of the group of each atom, from 0.
        n_lags: as `jmlip.analysis.correlation.choose_lags` gives it.
    """
    return correlate(_weighted(portions, np.sqrt(mass)), group, autocorrelation, n_lags)


def normalized(correlation: Correlation) -> Correlation:
    """C(t) / C(0) of each group; 0 of a group at rest."""
    whole, blocks = correlation
    return Correlation(_ratio(whole, whole[..., :1]), _ratio(blocks, blocks[..., :1]))


def density_of_states(
    correlation: Correlation, timestep_ps: float
) -> tuple[Float[np.ndarray, " wavenumbers"], Correlation]:
    """Vibrational density of states, the share of each group; the integral of their sum is 1.

    g(nu) = 2 / C_total(0) integral C(t) w(t) cos(2 pi c nu t) dt over all t,
    with the window w(t) = cos^2(pi t / (2 t_max)) (Hann), which makes lines 1 / (c t_max) wide.

    Args:
        correlation: as `velocity_autocorrelation` gives it.
        timestep_ps: time between frames.

    Returns:
        Wavenumbers, 1 / cm, up to where frames are too far apart, and the density, cm.

    References:
        Allen, Tildesley, Computer Simulation of Liquids, 2nd edition, section 8.3.
    """
    n = 2 * _PADDING * correlation.value.shape[-1]
    wavenumber = scipy.fft.rfftfreq(n, timestep_ps) / _CM_PER_PS
    whole, blocks = (
        _transform(values, n) * 2.0 * timestep_ps * _CM_PER_PS for values in correlation
    )
    return np.asarray(wavenumber), Correlation(whole, blocks)


def _transform(values: np.ndarray, n: int) -> np.ndarray:
    """Cosine transform of a windowed, even function, in units of its sum over groups at 0."""
    n_lags = values.shape[-1]
    window = np.cos(0.5 * np.pi * np.arange(n_lags) / n_lags) ** 2
    total = values[..., :1].sum(axis=-2, keepdims=True)
    even = _ratio(values, total) * window
    even[..., 0] *= 0.5  # counted at positive and at negative times
    transformed: Any = scipy.fft.rfft(even, n, axis=-1)
    return 2.0 * transformed.real


def _ratio(values: np.ndarray, by: np.ndarray) -> np.ndarray:
    return np.divide(values, by, out=np.zeros_like(values), where=by > 0.0)


def _weighted(portions: Portions, weight: np.ndarray) -> Iterator[Vectors]:
    first = 0
    for velocities in portions:
        stop = first + velocities.shape[1]
        yield velocities * weight[first:stop, None]
        first = stop


def autocorrelation(vectors: Vectors, n_lags: int) -> Float[np.ndarray, "lags atoms"]:
    """<x(t0) . x(t0 + t)> of each atom, over all t0."""
    counts = len(vectors) - np.arange(n_lags)
    sums = sum(autocorrelation_sums(vectors[..., axis], n_lags) for axis in range(3))
    return np.asarray(sums) / counts[:, None]
