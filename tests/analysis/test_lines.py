import numpy as np
import pytest

from jmlip.analysis.lines import RunningLine, log_log_slope


def test_running_line_equals_polyfit_in_pieces():
    rng = np.random.default_rng(0)
    x = np.linspace(3.0, 9.0, 50)
    y = -4.0e4 + 1.0e-4 * x + 1.0e-5 * rng.normal(size=50)
    line = RunningLine()
    for part in np.array_split(np.arange(50), 7):
        line = line.add(x[part], y[part])
    assert line.slope == pytest.approx(np.polyfit(x - 6.0, y + 4.0e4, 1)[0], rel=1e-6)
    assert line.mean == pytest.approx(y.mean(), rel=1e-14)


def test_running_line_of_too_little_is_nan():
    assert np.isnan(RunningLine().slope)
    assert np.isnan(RunningLine().mean)
    assert np.isnan(RunningLine().add(np.ones(3), np.arange(3.0)).slope)


def test_log_log_slope():
    x = np.array([0.5, 1.0, 3.0])
    assert log_log_slope(x, 7.0 * x**-1.5) == pytest.approx(-1.5)
