"""Errors of correlated series: against AR(1) processes, whose statistical inefficiency is known."""

import numpy as np
import pytest
import scipy.signal

from jmlip.analysis.blocks import RunningBlocks
from jmlip.analysis.estimates import (
    Estimate,
    autocorrelation_sums,
    jackknife,
    mean_of_series,
    statistical_inefficiency,
)
from jmlip.core.errors import DataError


def autoregressive(phi, n, seed, series=1):
    """x(t) = phi x(t - 1) + noise, stationary, of variance 1."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(series, n)) * np.sqrt(1.0 - phi**2)
    noise[:, 0] = rng.normal(size=series)
    return scipy.signal.lfilter([1.0], [1.0, -phi], noise, axis=1)


@pytest.mark.parametrize("phi", [0.0, 0.5, 0.9, 0.98])
def test_inefficiency_of_autoregressive_series(phi):
    expected = (1.0 + phi) / (1.0 - phi)
    found = [statistical_inefficiency(x) for x in autoregressive(phi, 50_000, 0, series=5)]
    # the estimate itself scatters by sqrt(2 g / N) times a few
    assert np.mean(found) == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize("phi", [0.0, 0.9])
def test_errors_of_means_are_the_scatter_of_means(phi):
    """In 300 runs, deviations over errors have variance 1, known to sqrt(2 / 300) = 8%.

    An inefficiency known to 20% makes it 1.1 or so, a mean of 20 blocks as well.
    """
    estimates = [mean_of_series(x).mean for x in autoregressive(phi, 20_000, 1, series=300)]
    ratio = np.array([estimate.value / estimate.error for estimate in estimates])
    assert np.mean(ratio**2) == pytest.approx(1.0, abs=0.35)
    blocks = RunningBlocks()
    for values in autoregressive(phi, 20_000, 2, series=300).T:
        blocks = blocks.add(values)
    assert np.mean((blocks.mean / blocks.error) ** 2) == pytest.approx(1.0, abs=0.35)


def test_series_that_do_not_vary_or_hardly_exist():
    assert mean_of_series(np.full(10, -1.3e5)) == (Estimate(-1.3e5, 0.0), 1.0)
    assert mean_of_series(np.array([0.1 + 0.2, 0.3] * 5)).mean.error == 0.0
    single = mean_of_series(np.array([2.0])).mean
    assert single.value == 2.0
    assert np.isnan(single.error)
    with pytest.raises(DataError, match="at least one frame"):
        mean_of_series(np.array([]))


def test_autocorrelation_is_the_sum_written_out():
    x = np.random.default_rng(3).normal(size=(37, 2))
    expected = [(x[: 37 - lag] * x[lag:]).sum(axis=0) for lag in range(37)]
    np.testing.assert_allclose(autocorrelation_sums(x, 37), expected, atol=1e-12)


def test_blocks_keep_the_mean_and_whole_blocks():
    values = np.random.default_rng(4).normal(size=(101, 3))
    blocks = RunningBlocks()
    for value in values:
        blocks = blocks.add(value)
    assert (blocks.n, blocks.size) == (101, 4)
    np.testing.assert_allclose(blocks.mean, values.mean(axis=0))
    np.testing.assert_allclose(blocks.means, values[:100].reshape(25, 4, 3).mean(axis=1))


def test_jackknife_of_a_mean_is_its_standard_error():
    blocks = np.random.default_rng(5).normal(size=(12, 1))
    found = jackknife(blocks, lambda mean: float(mean[0]))
    assert found.error == pytest.approx(blocks.std(ddof=1) / np.sqrt(12))
    assert np.isnan(jackknife(blocks[:1], lambda mean: float(mean[0])).error)
