"""Displacements, velocities and spectra for `jmlip analyse`."""

import argparse
from collections.abc import Iterator, Mapping

import numpy as np
import scipy.constants
from ase.data import chemical_symbols
from jaxtyping import Int

from jmlip.analysis.blocks import standard_error
from jmlip.analysis.correlation import Correlation, choose_lags
from jmlip.analysis.displacement import (
    Diffusion,
    cube_length,
    diffusion_constants,
    finite_size_correction,
    mean_squared_displacement,
    unwrapped,
)
from jmlip.analysis.estimates import Estimate
from jmlip.analysis.vibrations import density_of_states, normalized, velocity_autocorrelation
from jmlip.cli.analyse_energies import temperature
from jmlip.cli.analyse_output import Result
from jmlip.core.errors import DataError
from jmlip.data.trajectory import Trajectory

_SI = 10.0
"""Of angstrom^2 / ps in 1e-9 m^2 / s."""
_FASTEST = 4000.0
"""1 / cm; bonds of hydrogen vibrate below."""


def displacement(
    trajectories: Mapping[str, Trajectory], options: argparse.Namespace
) -> list[Result]:
    """Mean squared displacements of the elements, and diffusion constants."""
    corrected = options.viscosity_mPa_s is not None
    result = Result(
        name="msd",
        header=("element", "lag_ps", "msd_A2", "msd_error_A2"),
        headings=("", "element", "D, 1e-9 m²/s", "exponent")
        + (("D of infinite size, 1e-9 m²/s",) if corrected else ()),
        x="time, ps",
        y="mean squared displacement, Å²",
    )
    for name, trajectory in trajectories.items():
        lag = lags(trajectory, options)
        symbols, group = _groups(trajectory)
        portions = unwrapped(trajectory.positions.by_atoms(), trajectory.cell, trajectory.pbc)
        correction = _correction(trajectory, options.viscosity_mPa_s) if corrected else None
        msd = mean_squared_displacement(portions, group, len(lag))
        for k, diffusion in enumerate(diffusion_constants(lag, msd)):
            result.add(name, symbols[k], lag, msd.value[k], msd.error[k])
            result.numbers.append((name, symbols[k], *_words(diffusion, correction)))
            result.notices += _not_diffusive(f"{symbols[k]} in {name}", lag[-1], diffusion)
    return [result]


def vibration(trajectories: Mapping[str, Trajectory], options: argparse.Namespace) -> list[Result]:
    """Velocity autocorrelation functions and vibrational densities of states of the elements."""
    vacf = Result(
        name="vacf",
        header=("element", "lag_ps", "vacf", "vacf_error"),
        x="time, ps",
        y="⟨v(0) v(t)⟩ / ⟨v²⟩",
    )
    spectrum = Result(
        name="spectrum",
        header=("element", "wavenumber_per_cm", "density_cm", "density_error_cm"),
        headings=("", "element", "highest at, 1/cm", "resolution, 1/cm", "up to, 1/cm"),
        x="wavenumber, 1/cm",
        y="density of states, cm",
    )
    for name, trajectory in trajectories.items():
        lag = lags(trajectory, options)
        if trajectory.velocities is None:
            raise DataError(
                f"{name} must hold velocities (columns momenta) for correlations of them, found "
                "none; write them, as `jmlip md` does."
            )
        symbols, group = _groups(trajectory)
        portions = trajectory.velocities.by_atoms()
        found = velocity_autocorrelation(portions, trajectory.mass, group, len(lag))
        if not (found.value[:, 0] > 0.0).all():
            raise DataError(
                f"the velocities of {name} must not all be zero for correlations of them, found "
                "an element at rest; skip the frames where it is."
            )
        if options.vacf:
            shape = normalized(found)
            for k, symbol in enumerate(symbols):
                vacf.add(name, symbol, lag, shape.value[k], shape.error[k])
        if options.spectrum:
            _add_spectrum(spectrum, name, symbols, lag, found)
    return [
        result for result, asked in ((vacf, options.vacf), (spectrum, options.spectrum)) if asked
    ]


def _add_spectrum(
    result: Result, name: str, symbols: list[str], lag: np.ndarray, found: Correlation
) -> None:
    wavenumber, density = density_of_states(found, float(lag[1]))
    resolution = 1.0 / (lag[-1] * scipy.constants.c * 1e-10)
    numbers = f"{resolution:.3g}", f"{wavenumber[-1]:.0f}"
    value, blocks = density
    if len(symbols) > 1:  # the sum behind its parts
        symbols = [*symbols, "all"]
        value = np.concatenate([value, value.sum(axis=0, keepdims=True)])
        blocks = np.concatenate([blocks, blocks.sum(axis=1, keepdims=True)], axis=1)
    error = standard_error(blocks)
    for k, symbol in enumerate(symbols):
        result.add(name, symbol, wavenumber, value[k], error[k])
        result.numbers.append((name, symbol, f"{wavenumber[value[k].argmax()]:.0f}", *numbers))
    if "H" in symbols and wavenumber[-1] < _FASTEST:
        result.notices.append(
            f"the frames of {name} are {1000 * lag[1]:g} fs apart and show vibrations up to "
            f"{wavenumber[-1]:.0f} 1/cm; faster ones, as of bonds of hydrogen, are folded back "
            "below; write frames more often."
        )


def lags(trajectory: Trajectory, options: argparse.Namespace) -> np.ndarray:
    """Times of the correlation functions, ps."""
    timestep = trajectory.timestep_ps
    longest = options.max_lag_ps
    frames = None if longest is None else round(longest / timestep)
    return timestep * np.arange(choose_lags(trajectory.n_frames, frames))


def _groups(trajectory: Trajectory) -> tuple[list[str], Int[np.ndarray, " atoms"]]:
    """Symbols of the elements, and which of them each atom is."""
    numbers, group = np.unique(trajectory.species, return_inverse=True)
    return [chemical_symbols[z] for z in numbers], group


def _correction(trajectory: Trajectory, viscosity_mPa_s: float) -> float:
    found = temperature(trajectory)
    if found is None:
        raise DataError(
            f"{trajectory.path} must hold temperature_K or velocities for a finite-size "
            "correction, found neither; leave out --viscosity-mPa-s."
        )
    return finite_size_correction(
        temperature_K=float(found.mean()),
        viscosity_mPa_s=viscosity_mPa_s,
        length=cube_length(trajectory.cell, trajectory.pbc),
    )


def _words(diffusion: Diffusion, correction: float | None) -> Iterator[str]:
    constant, error = diffusion.constant
    yield str(Estimate(_SI * constant, _SI * error))
    yield f"{diffusion.exponent:.2f}"
    if correction is not None:
        yield str(Estimate(_SI * (constant + correction), _SI * error))


def _not_diffusive(what: str, longest_ps: float, diffusion: Diffusion) -> Iterator[str]:
    if not 0.8 < diffusion.exponent < 1.2:
        yield (
            f"{what} does not diffuse within {longest_ps:g} ps: its squared displacement grows as "
            f"time to the power of {diffusion.exponent:.2f}, which must be 1 for a diffusion "
            "constant; look at longer times (--max-lag-ps), or ignore the constant."
        )
