"""Means and their errors: standard errors of correlated series, and of whatever follows from them.

Neighboring frames of a trajectory resemble each other. A mean of N of them is as uncertain as one
of N / g independent frames, where g is the statistical inefficiency.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import scipy.fft
from jaxtyping import Float

from jmlip.core.errors import DataError


class Estimate(NamedTuple):
    """A number and its standard error, which is NaN where nothing is known of it."""

    value: float
    error: float

    def __str__(self) -> str:
        """With as many digits as the error has two of.

        >>> print(Estimate(12.3456, 0.0321), Estimate(1234.5, 62.0), Estimate(0.5, float("nan")))
        12.346 ± 0.032 1234 ± 62 0.5
        """
        if not (np.isfinite(self.error) and self.error > 1e-12 * abs(self.value)):  # rounding
            return f"{self.value:.6g}"
        digits = max(0, 1 - int(np.floor(np.log10(self.error))))
        return f"{self.value:.{digits}f} ± {self.error:.{digits}f}"


class SeriesMean(NamedTuple):
    """The mean of a correlated series."""

    mean: Estimate
    inefficiency: float  # frames that count as one


def mean_of_series(series: Float[np.ndarray, " frames"]) -> SeriesMean:
    """Mean of a series, its standard error sqrt(g var / N), and g.

    The error is NaN for a single frame, and 0 for a series that does not vary.

    Raises:
        DataError: the series is empty.
    """
    if len(series) == 0:
        raise DataError("a mean needs at least one frame, found none; skip fewer.")
    mean = float(series.mean())
    if len(series) == 1:
        return SeriesMean(Estimate(mean, float("nan")), 1.0)
    if _is_constant(series):
        return SeriesMean(Estimate(mean, 0.0), 1.0)
    inefficiency = statistical_inefficiency(series)
    variance = float(series.var(ddof=1))
    return SeriesMean(Estimate(mean, np.sqrt(inefficiency * variance / len(series))), inefficiency)


def statistical_inefficiency(series: Float[np.ndarray, " frames"]) -> float:
    """How many frames of a stationary series count as one independent of the others; at least 1.

    g = 1 + 2 sum_t (1 - t / N) C(t),

    where C is the normalized autocorrelation, summed up to where it first is not positive: beyond,
    it is noise.

    References:
        Chodera et al., J. Chem. Theory Comput. 3, 26 (2007), equations 19 and 20.
    """
    n = len(series)
    if _is_constant(series):
        return 1.0
    deviation = series - series.mean()
    sums = autocorrelation_sums(deviation, n)
    correlation = sums / sums[0] * n / np.arange(n, 0, -1)
    end = int(np.argmax(correlation <= 0.0)) or n
    lag = np.arange(1, end)
    return max(1.0, 1.0 + 2.0 * float(np.sum((1.0 - lag / n) * correlation[1:end])))


def _is_constant(series: np.ndarray) -> bool:
    """Whether a series varies no more than by rounding."""
    return bool(np.ptp(series) <= 1e-14 * np.abs(series).max())


def autocorrelation_sums(
    series: Float[np.ndarray, "frames *items"], n_lags: int
) -> Float[np.ndarray, "lags *items"]:
    """sum_t x(t) x(t + lag) of lags from 0, by FFT (Wiener-Khinchin), along the first axis."""
    # zeros at the end keep the start and the end of the series apart up to the longest lag
    padded = scipy.fft.next_fast_len(len(series) + n_lags, real=True)
    spectrum: Any = scipy.fft.rfft(series, padded, axis=0)
    power: Any = spectrum.real**2 + spectrum.imag**2
    return np.asarray(scipy.fft.irfft(power, padded, axis=0))[:n_lags]


def jackknife(
    blocks: Float[np.ndarray, "blocks *items"],
    function: Callable[[np.ndarray], float],
) -> Estimate:
    """A function of the mean of independent blocks, and its error from leaving out each in turn.

    error^2 = (K - 1) / K sum_k (f_k - <f>)^2,  where f_k is f of the mean of all blocks but k

    Args:
        blocks: means of successive parts of a trajectory.
        function: of such a mean; smooth.
    """
    n = len(blocks)
    value = function(blocks.mean(axis=0))
    if n < 2:
        return Estimate(value, float("nan"))
    total = blocks.sum(axis=0)
    without = np.array([function((total - block) / (n - 1)) for block in blocks])
    return Estimate(value, float(np.sqrt((n - 1) * without.var())))
