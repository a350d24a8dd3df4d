"""Constants of an ensemble that change in time: temperature, pressure and density.

A control is a number, or a function of the number of steps made so far. Thermostats take it as it
is at the beginning of a step; what they put in is booked as heat, so the conserved energy stays
conserved along the way.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jmlip.md.propagator import Scalar
from jmlip.md.state import Count

Course = Callable[[Count], Float[Array, ""]]
"""A value after so many steps."""

Control = Scalar | Course
"""A constant, or its value after so many steps."""

Points = Sequence[tuple[float, float]]
"""Times, ps, and values there, in the order of time."""


def at(control: Control, step: Count) -> Scalar:
    """The value after so many steps."""
    return control(step) if callable(control) else control


def ramp(start: float, points: Points, *, timestep_ps: float) -> Course:
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


def swing(control: Control, *, amplitude: float, period_ps: float, timestep_ps: float) -> Course:
    """What is added to a control and taken away again: x(t) + A sin^2(pi t / period).

    Args:
        control: x, what it is added to.
        amplitude: A.
        period_ps: from one of its zeros to the next.
        timestep_ps: of the steps counted.

    Example:
        >>> heat = swing(300.0, amplitude=100.0, period_ps=2.0, timestep_ps=0.001)
        >>> [round(float(heat(step)), 2) for step in (0, 500, 1000, 2000)]
        [300.0, 350.0, 400.0, 300.0]
    """
    period = period_ps / timestep_ps

    def course(step):
        step = jnp.asarray(step)
        phase = jnp.mod(step.astype(float), period) / period
        return at(control, step) + amplitude * jnp.sin(jnp.pi * phase) ** 2

    return course


def random_schedule(
    rng: np.random.Generator,
    *,
    length_ps: float,
    temperature_K: tuple[float, float],
    temperature_swing_K: tuple[float, float] = (0.0, 0.0),
    density: tuple[float, float] = (1.0, 1.0),
    density_swing: tuple[float, float] = (0.0, 0.0),
    period_ps: tuple[float, float] = (2.0, 50.0),
) -> dict[str, Any]:
    """Fields of an `MDConfig` that lead a run through temperatures and densities drawn at random.

    As in active learning of ANI-Al (Smith et al., Nat. Commun. 12, 1257 (2021)), with L the length
    of the run and each number drawn uniformly from its range,

        T(t) = A sin^2(pi t / period) + (1 - t / L) T_start + t / L T_end

    and the density, relative to that of the start structure, in the same form from 1 on. What does
    not change has no field.

    Args:
        rng: what numbers are drawn from.
        length_ps: L.
        temperature_K: range of the temperatures at the start and at the end.
        temperature_swing_K: range of the amplitude A.
        density: range of the density at the end.
        density_swing: range of its amplitude.
        period_ps: range of the periods.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> found = random_schedule(rng, length_ps=10.0, temperature_K=(100.0, 3000.0))
        >>> {name: np.round(value, 1).tolist() for name, value in found.items()}
        {'temperature_K': 1947.2, 'temperature_ramp': [[10.0, 882.4]]}
    """
    draw = lambda bounds: float(rng.uniform(*bounds))
    fields: dict[str, Any] = {
        "temperature_K": draw(temperature_K),
        "temperature_ramp": ((length_ps, draw(temperature_K)),),
        "temperature_swing": (draw(temperature_swing_K), draw(period_ps)),
        "density_ramp": ((length_ps, draw(density)),),
        "density_swing": (draw(density_swing), draw(period_ps)),
    }
    unchanged = {
        "temperature_swing": temperature_swing_K == (0.0, 0.0),
        "density_ramp": density == (1.0, 1.0),
        "density_swing": density_swing == (0.0, 0.0),
    }
    return {name: value for name, value in fields.items() if not unchanged.get(name)}
