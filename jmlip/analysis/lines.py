"""Straight lines through series that arrive piece by piece, such as the drift of an energy."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float


class RunningLine(NamedTuple):
    """Sums from which a least-squares line follows; start with `RunningLine()`.

    Both coordinates are counted from the first point, so that large constants cost no digits.
    """

    n: float = 0.0
    x0: float = 0.0
    y0: float = 0.0
    x: float = 0.0
    y: float = 0.0
    xx: float = 0.0
    xy: float = 0.0

    def add(
        self, x: Float[np.ndarray, " points"], y: Float[np.ndarray, " points"]
    ) -> "RunningLine":
        """The sums with more points.

        >>> line = RunningLine().add(np.array([0.0, 1.0]), np.array([5.0, 7.0]))
        >>> line.add(np.array([2.0]), np.array([9.0])).slope
        2.0
        """
        if len(x) == 0:
            return self
        x0, y0 = (self.x0, self.y0) if self.n else (float(x[0]), float(y[0]))
        dx, dy = np.asarray(x, np.float64) - x0, np.asarray(y, np.float64) - y0
        sums = (dx.sum(), dy.sum(), (dx * dx).sum(), (dx * dy).sum())
        old = (self.x, self.y, self.xx, self.xy)
        new = (float(a + b) for a, b in zip(old, sums, strict=True))
        return RunningLine(self.n + len(x), x0, y0, *new)

    @property
    def slope(self) -> float:
        """Slope of the least-squares line; NaN of fewer than two distinct x."""
        spread = self.n * self.xx - self.x**2
        if self.n < 2 or spread <= 0.0:
            return float("nan")
        return (self.n * self.xy - self.x * self.y) / spread

    @property
    def mean(self) -> float:
        """Mean of y; NaN of no points."""
        return self.y0 + self.y / self.n if self.n else float("nan")


def log_log_slope(x: Float[np.ndarray, " points"], y: Float[np.ndarray, " points"]) -> float:
    """Exponent p of the power law y = c x^p by least squares on logarithmic axes.

    >>> round(log_log_slope(np.array([1.0, 2.0, 4.0]), np.array([3.0, 12.0, 48.0])), 12)
    2.0
    """
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])
