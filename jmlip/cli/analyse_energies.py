"""Energies, temperature, pressure and what follows from them, for `jmlip analyse`."""

import argparse
from collections.abc import Iterator, Mapping

import numpy as np
import scipy.constants
from jaxtyping import Float

from jmlip.analysis.estimates import Estimate, mean_of_series
from jmlip.analysis.thermodynamics import (
    degrees_of_freedom,
    drift,
    heat_capacity,
    kinetic_energy,
)
from jmlip.cli.analyse_output import Curve, Result
from jmlip.core import units
from jmlip.core.errors import DataError
from jmlip.data.trajectory import Trajectory

Series = Float[np.ndarray, " frames"]

FEWEST_INDEPENDENT = 10
"""Values of which an error can be believed."""
_G_PER_CM3 = scipy.constants.atomic_mass * 1e27
"""One u / angstrom^3."""


def energies(trajectories: Mapping[str, Trajectory], options: argparse.Namespace) -> list[Result]:
    """Series of all frames, and their means with errors, drift and heat capacity."""
    series = Result(name="energies", header=("quantity", "time_ps", "value"), x="time, ps")
    means = Result(
        name="means",
        header=("quantity", "mean", "error", "inefficiency_frames"),
        headings=("", "quantity", "mean", "statistical inefficiency, frames"),
    )
    for name, trajectory in trajectories.items():
        times = trajectory.times_ps
        found = dict(_series(trajectory))
        if not found:
            raise DataError(
                f"{name} must hold energies, temperatures or velocities, found none; use a "
                "trajectory of jmlip md, or write energy=... into its comment lines."
            )
        for quantity, values in found.items():
            _require_finite(name, quantity, values)
            series.rows += [(name, quantity, *row) for row in zip(times, values, strict=True)]
            title, shown = _drawn(quantity, values)
            if np.ptp(shown) > 0.0:
                series.panels.setdefault(title, {})[name] = Curve(times, shown)
        for quantity, estimate, inefficiency in _numbers(trajectory, found):
            means.rows.append((name, quantity, *estimate, inefficiency))
            frames = "" if np.isnan(inefficiency) else f"{inefficiency:.3g}"
            means.numbers.append((name, quantity, str(estimate), frames))
            if trajectory.n_frames < FEWEST_INDEPENDENT * inefficiency:
                means.notices.append(
                    f"the {quantity.split(',')[0]} of {name} has few independent values, about "
                    f"{trajectory.n_frames / inefficiency:.0f}, so that its error is not to be "
                    "believed; run longer, or skip more of the start (--skip-ps)."
                )
        if trajectory.is_exchanged:
            means.notices.append(
                f"replicas were exchanged in {name}: one of them alone has no drift there."
            )
    return [series, means]


def _require_finite(name: str, quantity: str, values: Series) -> None:
    wrong = np.flatnonzero(~np.isfinite(values))
    if wrong.size:
        raise DataError(
            f"the {quantity.split(',')[0]} must be finite in every frame of {name}, found "
            f"{values[wrong[0]]} in frame {wrong[0]}; cut it out."
        )


def temperature(trajectory: Trajectory) -> Series | None:
    """Temperature of each frame, from the file or from velocities; None if it has neither."""
    if "temperature_K" in trajectory.observables:
        return trajectory.observables["temperature_K"]
    kinetic = _kinetic(trajectory)
    if kinetic is None:
        return None
    n_free = degrees_of_freedom(trajectory.n_atoms, int(trajectory.fixed.sum()))
    return 2.0 * kinetic / (n_free * units.KELVIN)


def _kinetic(trajectory: Trajectory) -> Series | None:
    if "kinetic_energy" in trajectory.observables or trajectory.velocities is None:
        return trajectory.observables.get("kinetic_energy")
    portions = trajectory.velocities.by_frames()
    return np.concatenate([kinetic_energy(v, trajectory.mass) for v in portions])


def _series(trajectory: Trajectory) -> Iterator[tuple[str, Series]]:
    """Quantities by name and unit, those that the file has."""
    observables, n = trajectory.observables, trajectory.n_atoms
    kelvin = temperature(trajectory)
    if kelvin is not None:
        yield "temperature, K", kelvin
    if "pressure_GPa" in observables:
        yield "pressure, GPa", observables["pressure_GPa"]
    if trajectory.pbc.all():
        volume = np.abs(np.linalg.det(trajectory.cells))
        yield "density, g/cm³", _G_PER_CM3 * trajectory.mass.sum() / volume
    for name in ("potential", "conserved"):
        if f"{name}_energy" in observables:
            yield f"{name} energy, eV/atom", observables[f"{name}_energy"] / n


def _drawn(quantity: str, values: Series) -> tuple[str, Series]:
    """Title and values of a panel; of what is conserved the change, as nothing else can be seen."""
    if quantity.startswith("conserved"):
        return "change of conserved energy, meV/atom", 1000.0 * (values - values[0])
    return quantity, values


def _numbers(
    trajectory: Trajectory, series: Mapping[str, Series]
) -> Iterator[tuple[str, Estimate, float]]:
    """Quantity, estimate, statistical inefficiency (NaN where it means nothing)."""
    for quantity, values in series.items():
        if not quantity.startswith("conserved"):
            mean, inefficiency = mean_of_series(values)
            yield quantity, mean, inefficiency
    observables, n = trajectory.observables, trajectory.n_atoms
    if "conserved_energy" in observables and not trajectory.is_exchanged:
        slope = drift(trajectory.times_ps, observables["conserved_energy"])
        per_atom = Estimate(*(1000.0 * value / n for value in slope))
        yield "drift of the conserved energy, meV/atom/ps", per_atom, float("nan")
    kinetic, kelvin = _kinetic(trajectory), temperature(trajectory)
    if kinetic is None or kelvin is None or "potential_energy" not in observables:
        return
    total = observables["potential_energy"] + kinetic
    fixed = np.ptp(trajectory.cells, axis=0).max() < 1e-9
    if fixed and _is_canonical(total, observables.get("conserved_energy")):
        capacity = heat_capacity(total, float(kelvin.mean()), n)
        yield "heat capacity at constant volume, k/atom", capacity, float("nan")


def _is_canonical(total: Series, conserved: Series | None) -> bool:
    """Whether energy is exchanged with a bath; without one, its fluctuations say nothing."""
    return len(total) > 1 and (conserved is None or not np.allclose(total, conserved, rtol=1e-12))
