"""Displacements of walkers and of free flight, and the correction of Yeh and Hummer in SI units."""

import numpy as np
import pytest
import scipy.constants

from jmlip.analysis.correlation import choose_lags
from jmlip.analysis.displacement import (
    cube_length,
    diffusion_constants,
    finite_size_correction,
    mean_squared_displacement,
    unwrapped,
)
from jmlip.core.errors import DataError

PERIODIC = np.array([True] * 3)


def walk(n_frames, n_atoms, step, seed):
    steps = np.random.default_rng(seed).normal(size=(n_frames, n_atoms, 3)) * step
    return 100.0 + np.cumsum(steps, axis=0)


def test_is_the_average_written_out():
    positions = walk(40, 3, 1.0, 0)
    found = mean_squared_displacement([positions[:, :1], positions[:, 1:]], np.array([0, 1, 0]), 5)
    squared = lambda lag: np.sum((positions[lag:] - positions[: 40 - lag]) ** 2, axis=2).mean(0)
    expected = np.array([squared(lag) for lag in range(5)]).T
    np.testing.assert_allclose(found.value, [expected[[0, 2]].mean(0), expected[1]], atol=1e-9)
    assert found.blocks.shape == (5, 2, 5)


def test_walkers_have_the_diffusion_constant_of_their_steps():
    """D = sigma^2 / (2 dt); in 20 runs, deviations over errors have variance 1."""
    deviations = []
    for seed in range(20):
        positions = walk(2000, 20, [[[0.2]] * 10 + [[0.1]] * 10], seed)
        n_lags = choose_lags(2000)
        msd = mean_squared_displacement([positions], np.repeat([0, 1], 10), n_lags)
        found = diffusion_constants(0.01 * np.arange(n_lags), msd)
        for diffusion, sigma in zip(found, (0.2, 0.1), strict=True):
            constant, error = diffusion.constant
            deviations.append((constant - sigma**2 / 0.02) / error)
            assert error < 0.15 * constant
            assert diffusion.exponent == pytest.approx(1.0, abs=0.25)
    # Student's distribution of nine degrees of freedom has variance 9 / 7
    assert np.mean(np.square(deviations)) == pytest.approx(9 / 7, abs=0.8)
    assert np.abs(deviations).max() < 4.5


def test_free_flight_is_ballistic_and_a_solid_does_not_diffuse():
    time, velocity = np.arange(400.0), np.random.default_rng(1).normal(size=(5, 3))
    flight = time[:, None, None] * velocity
    msd = mean_squared_displacement([flight], np.zeros(5, int), 21)
    np.testing.assert_allclose(
        msd.value[0], np.sum(velocity**2, axis=1).mean() * np.arange(21) ** 2, rtol=1e-6, atol=1e-6
    )
    assert diffusion_constants(np.arange(21.0), msd)[0].exponent == pytest.approx(2.0)
    solid = np.random.default_rng(2).normal(size=(400, 5, 3))
    (still,) = diffusion_constants(
        np.arange(21.0), mean_squared_displacement([solid], np.zeros(5, int), 21)
    )
    assert abs(still.exponent) < 0.1
    assert abs(still.constant.value) < 4.0 * still.constant.error


def test_the_correction_is_that_of_si_units():
    length, viscosity, temperature = 18.64, 0.896, 298.15
    kT = scipy.constants.k * temperature
    si = 2.837297 * kT / (6.0 * np.pi * viscosity * 1e-3 * length * 1e-10)  # m^2 / s
    found = finite_size_correction(
        temperature_K=temperature, viscosity_mPa_s=viscosity, length=length
    )
    assert found * 1e-8 == pytest.approx(si, rel=1e-5)  # CODATA 2014 against 2018


def test_the_correction_needs_a_cube():
    turned = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0] * 12.0
    assert cube_length(turned, PERIODIC) == pytest.approx(12.0)
    for cell, pbc in ((np.diag([9.0, 9.0, 10.0]), PERIODIC), (9.0 * np.eye(3), ~PERIODIC)):
        with pytest.raises(DataError, match="holds for cubic cells"):
            cube_length(cell, pbc)


def test_wrapped_positions_are_refused():
    cell = np.array([[6.0, 0, 0], [2.0, 7.0, 0], [0, 0, 8.0]])
    positions = np.cumsum(np.full((20, 1, 3), 0.4), axis=0)
    assert next(unwrapped([positions], cell, PERIODIC)) is positions
    wrapped = positions @ np.linalg.inv(cell) % 1.0 @ cell
    with pytest.raises(DataError, match="not wrapped into the cell"):
        list(unwrapped([wrapped], cell, PERIODIC))
    assert len(list(unwrapped([wrapped], cell, ~PERIODIC))) == 1


def test_lags_are_bounded():
    assert choose_lags(2000) == 101
    assert choose_lags(2000, 250) == 251
    with pytest.raises(DataError, match="at least 16 frames, found 1"):
        choose_lags(1)
    with pytest.raises(DataError, match="at most an eighth of the trajectory, 250 frames"):
        choose_lags(2000, 251)
    with pytest.raises(DataError, match="at least 2 frames"):
        choose_lags(2000, 1)
