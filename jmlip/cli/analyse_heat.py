"""Heat fluxes and thermal conductivities for `jmlip analyse`."""

import argparse
import sys
from collections.abc import Iterator, Mapping

import numpy as np
from rich.console import Console
from rich.progress import track

from jmlip.analysis.conductivity import flux_autocorrelation, thermal_conductivity
from jmlip.analysis.estimates import Estimate
from jmlip.cli.analyse_energies import temperature
from jmlip.cli.analyse_motion import lags
from jmlip.cli.analyse_output import Result
from jmlip.core.errors import DataError
from jmlip.core.structure import Structure
from jmlip.data.trajectory import Trajectory
from jmlip.factory import load_potential
from jmlip.md.heat_flux import heat_flux


def conductivity(
    trajectories: Mapping[str, Trajectory], options: argparse.Namespace
) -> list[Result]:
    """Autocorrelation of the heat flux by a potential, and its integral."""
    potential = load_potential(options.heat_flux)
    result = Result(
        name="conductivity",
        header=(
            "quantity",
            "lag_ps",
            "kappa_W_mK",
            "kappa_error_W_mK",
            "correlation",
            "correlation_error",
        ),
        headings=("", "quantity", "conductivity, W/(m K)", "up to, ps", "temperature, K"),
        x="time, ps",
        y="thermal conductivity, W/(m K)",
    )
    for name, trajectory in trajectories.items():
        _require_bulk(name, trajectory)
        # refused before the long work
        lag, cell = lags(trajectory, options), trajectory.cell
        kelvin = _mean_temperature(trajectory)
        frames = track(
            _moving(trajectory),
            description=f"heat flux of {name}",
            total=trajectory.n_frames,
            console=Console(file=sys.stderr),
            disable=not sys.stderr.isatty(),
        )
        flux = heat_flux(potential, frames)
        found = flux_autocorrelation(flux.total, len(lag))
        kappa = thermal_conductivity(
            found,
            timestep_ps=float(lag[1]),
            volume=float(np.abs(np.linalg.det(cell))),
            temperature_K=kelvin,
        )
        scale = 1.0 / found.value[0, 0] if found.value[0, 0] > 0.0 else 1.0
        columns = (kappa.value[0], kappa.error[0], scale * found.value[0], scale * found.error[0])
        result.add(name, "heat", lag, *columns)
        at_end = Estimate(float(kappa.value[0, -1]), float(kappa.error[0, -1]))
        result.numbers.append((name, "heat", str(at_end), f"{lag[-1]:g}", f"{kelvin:.0f}"))
    return [result]


def _require_bulk(name: str, trajectory: Trajectory) -> None:
    if not trajectory.pbc.all():
        raise DataError(
            f"{name} must be periodic in three directions for a conductivity, which is one of "
            f"bulk, found pbc {trajectory.pbc.tolist()}; leave out --heat-flux."
        )
    if trajectory.velocities is None:
        raise DataError(
            f"{name} must hold velocities (columns momenta) for a heat flux, found none; write "
            "them, as `jmlip md` does."
        )


def _mean_temperature(trajectory: Trajectory) -> float:
    kelvin = float(temperature(trajectory).mean())  # type: ignore[union-attr]
    if not kelvin > 0.0:
        raise DataError(
            f"the mean temperature of {trajectory.path} must be positive for a conductivity, found "
            f"{kelvin:g} K; leave out --heat-flux."
        )
    return kelvin


def _moving(trajectory: Trajectory) -> Iterator[Structure]:
    """Frames with velocities and masses."""
    portions = trajectory.velocities.by_frames()  # type: ignore[union-attr]
    velocities = (frame for portion in portions for frame in portion)
    arrays = {"masses": trajectory.mass}
    for structure, velocity in zip(trajectory.structures(), velocities, strict=True):
        yield structure.replace(velocities=velocity, info={"arrays": arrays})
