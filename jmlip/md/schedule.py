"""Constants of an ensemble that change in time: temperatures and pressures that are ramped.

A control is a number, or a function of the number of steps made so far. Thermostats take it as it
is at the beginning of a step; what they put in is booked as heat, so the conserved energy stays
conserved along a ramp.
"""

from collections.abc import Callable, Sequence

import jax.numpy as jnp
from jaxtyping import Array, Float

from jmlip.md.propagator import Scalar
from jmlip.md.state import Count

Control = Scalar | Callable[[Count], Float[Array, ""]]
"""A constant, or its value after so many steps."""

Points = Sequence[tuple[float, float]]
"""Times, ps, and values there, in the order of time."""


def at(control: Control, step: Count) -> Scalar:
    """The value after so many steps."""
    return control(step) if callable(control) else control


def ramp(start: float, points: Points, *, timestep_ps: float) -> Callable[[Count], Array]:
    """Straight lines from `start` at time 0 through the points; the last value from there on.

    Args:
        start: the first value.
        points: later ones.
        timestep_ps: of the steps counted.

    Example:
        >>> heating = ramp(300.0, [(1.0, 600.0)], timestep_ps=0.001)
        >>> [float(heating(step)) for step in (0, 500, 1000, 9000)]
        [300.0, 450.0, 600.0, 600.0]
    """
    steps = jnp.asarray([0.0, *(time / timestep_ps for time, _ in points)])
    values = jnp.asarray([start, *(value for _, value in points)])
    return lambda step: jnp.interp(jnp.asarray(step, steps.dtype), steps, values)
