"""`MDConfig`: what a run of molecular dynamics is, checked before anything starts."""

import dataclasses
import math
from itertools import pairwise
from numbers import Integral, Real
from typing import Literal, get_args

from jmlip.core import units
from jmlip.core.errors import ConfigError
from jmlip.md.strain import CellMotion

Ensemble = Literal["nve", "langevin", "nose-hoover", "csvr", "npt"]
Barostat = Literal["mtk", "rescaling"]
Points = tuple[tuple[float, float], ...]

_ONLY_FOR = {
    "friction_per_ps": ("langevin",),
    "tau_fs": ("nose-hoover", "csvr", "npt"),
    "chain_length": ("nose-hoover", "npt"),
    "pressure_GPa": ("npt",),
    "tau_barostat_fs": ("npt",),
    "cell_motion": ("npt",),
    "barostat": ("npt",),
    "compressibility_per_GPa": ("npt",),
    "temperature_ramp": ("langevin", "csvr", "npt"),
    "temperature_swing": ("langevin", "csvr", "npt"),
    "pressure_ramp": ("npt",),
    "density_ramp": ("langevin",),
    "density_swing": ("langevin",),
}
_NOT_WITH = {
    "mtk": (
        "compressibility_per_GPa",
        "n_inner",
        "temperature_ramp",
        "temperature_swing",
        "pressure_ramp",
    ),
    "rescaling": ("chain_length",),
}
"""Options without meaning for a barostat."""
_POSITIVE = (
    "timestep_fs",
    "friction_per_ps",
    "tau_fs",
    "tau_barostat_fs",
    "compressibility_per_GPa",
    "skin",
    "chunk_seconds",
)
_CHOICES = {
    "ensemble": get_args(Ensemble),
    "barostat": get_args(Barostat),
    "cell_motion": get_args(CellMotion),
    "dtype": ("float32", "float64"),
}
_OPTIONAL = ("barostat", "cell_motion")
_LEAST = {"n_steps": 0, "temperature_K": 0, "every": 1, "seed": 0, "chain_length": 2, "n_inner": 1}
_MOST = 2**31 - 1
"""Steps are counted in 32 bits on the device."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class MDConfig:
    """A run of molecular dynamics.

    Args:
        ensemble: "nve", or a canonical ensemble by "langevin" (BAOAB), "nose-hoover" (chain) or
            "csvr" (stochastic velocity rescaling), or constant temperature and pressure, "npt".
        timestep_fs: time step; with an inner potential, the outer one.
        n_steps: steps from the start of the trajectory; a restart may ask for more.
        temperature_K: temperature of the thermostat. In NVE: of the velocities drawn at the start;
            leave it out to keep the velocities that the start structure brings.
        temperature_ramp: points (ps, K) that the temperature of the thermostat goes to, in straight
            lines, from `temperature_K` at the start; with "langevin", "csvr", and "npt" with the
            barostat "rescaling".
        temperature_swing: (A, period), K and ps: A sin^2(pi t / period) is added to the
            temperature, where a ramp may be.
        seed: fixes the velocities drawn and the noise of the thermostat.
        every: steps between frames of the trajectory.
        friction_per_ps: Langevin friction; 10 where it is not given.
        tau_fs: relaxation time of "nose-hoover", "csvr" and "npt"; 100 where it is not given.
        chain_length: thermostats in a Nose-Hoover chain; 3 where it is not given.
        pressure_GPa: external pressure, positive where it compresses; "npt" needs it.
        pressure_ramp: points (ps, GPa) that the external pressure goes to, with "rescaling".
        density_ramp: points (ps, density over that of the start) that the density goes to, in
            straight lines, cell and atoms scaled with it; "langevin" only.
        density_swing: (A, period), the second in ps, as for the temperature.
        barostat: what moves the cell in "npt": "mtk" (Martyna-Tobias-Klein, chains on atoms and
            cell), as where it is not given, or "rescaling" (stochastic, with "csvr" for the atoms).
        tau_barostat_fs: period of the cell with "mtk", relaxation time of its volume with
            "rescaling"; 1000 where it is not given.
        compressibility_per_GPa: roughly, with "rescaling"; 0.1 where it is not given. A wrong one
            costs time, not truth.
        cell_motion: what the cell may do in "npt": scale, "isotropic", as where it is not given;
            stretch along x, y, z, "anisotropic"; take any shape, "full".
        n_inner: steps of the inner potential, or of the small part of a pair, in each time step.
        dtype: precision of positions, momenta and forces.
        skin: neighbors are listed up to cutoff + skin, angstrom.
        chunk_seconds: time between writes of trajectory and checkpoint; no influence on results.

    Raises:
        ConfigError: a value is impossible, or an option has no meaning in the ensemble.
    """

    ensemble: Ensemble
    timestep_fs: float
    n_steps: int
    temperature_K: float | None = None
    temperature_ramp: Points | None = None
    temperature_swing: tuple[float, float] | None = None
    seed: int = 0
    every: int = 100
    friction_per_ps: float | None = None
    tau_fs: float | None = None
    chain_length: int | None = None
    pressure_GPa: float | None = None
    pressure_ramp: Points | None = None
    density_ramp: Points | None = None
    density_swing: tuple[float, float] | None = None
    barostat: Barostat | None = None
    tau_barostat_fs: float | None = None
    compressibility_per_GPa: float | None = None
    cell_motion: CellMotion | None = None
    n_inner: int | None = None
    dtype: Literal["float32", "float64"] = "float32"
    skin: float = 0.5
    chunk_seconds: float = 5.0

    def __post_init__(self):
        _require_kinds(self)
        for name, only_for in _ONLY_FOR.items():
            if getattr(self, name) is not None and self.ensemble not in only_for:
                raise ConfigError(
                    f"{name} means nothing in ensemble {self.ensemble!r} (only in "
                    f"{', '.join(only_for)}); leave it out."
                )
        self._require_options_of_the_barostat()
        if self.ensemble != "nve" and self.temperature_K is None:
            raise ConfigError(f"ensemble {self.ensemble!r} needs temperature_K (--temperature-K).")
        if self.ensemble == "npt" and not math.isfinite(self._pressure_GPa):
            raise ConfigError(
                f"ensemble 'npt' needs a finite pressure_GPa (--pressure-GPa), found "
                f"{'none' if self.pressure_GPa is None else self.pressure_GPa}."
            )
        for name in _POSITIVE:
            _require_positive(name, getattr(self, name))
        if self.ensemble != "nve":
            _require_positive("temperature_K", self.temperature_K)
        _require_points("temperature_ramp", self.temperature_ramp, positive=True)
        _require_points("pressure_ramp", self.pressure_ramp, positive=False)
        _require_points("density_ramp", self.density_ramp, positive=True)
        _require_swing(
            "temperature", self.temperature_K, self.temperature_ramp, self.temperature_swing
        )
        _require_swing("density", 1.0, self.density_ramp, self.density_swing)
        for name, least in _LEAST.items():
            _require_between(name, getattr(self, name), least)

    def _require_options_of_the_barostat(self) -> None:
        if self.ensemble != "npt":
            return
        barostat = self.barostat or "mtk"
        for name in _NOT_WITH[barostat]:
            if getattr(self, name) is not None:
                raise ConfigError(
                    f"{name} means nothing with barostat {barostat!r}; leave it out, or choose "
                    "the other barostat."
                )

    @property
    def _pressure_GPa(self) -> float:
        return float("nan") if self.pressure_GPa is None else self.pressure_GPa

    @property
    def pressure(self) -> float:
        """External pressure, eV / angstrom^3."""
        return self._pressure_GPa * units.GPA

    @property
    def tau_barostat(self) -> float:
        """Period or relaxation time of the cell in internal units."""
        return (1000.0 if self.tau_barostat_fs is None else self.tau_barostat_fs) * units.FS

    @property
    def compressibility(self) -> float:
        """Compressibility that sets the size of random strains, angstrom^3 / eV."""
        per_GPa = self.compressibility_per_GPa
        return (0.1 if per_GPa is None else per_GPa) / units.GPA

    @property
    def cell_moves(self) -> bool:
        """Whether the cell changes, by itself or as prescribed."""
        prescribed = self.density_ramp is not None or self.density_swing is not None
        return prescribed or self.ensemble == "npt"

    @property
    def dt(self) -> float:
        """Time step in internal units."""
        return self.timestep_fs * units.FS

    @property
    def kT(self) -> float:
        """Thermal energy, eV."""
        return (self.temperature_K or 0.0) * units.KELVIN

    @property
    def friction(self) -> float:
        """Langevin friction, 1 / (internal time unit)."""
        return (10.0 if self.friction_per_ps is None else self.friction_per_ps) / units.PS

    @property
    def tau(self) -> float:
        """Relaxation time of the thermostat in internal units."""
        return (100.0 if self.tau_fs is None else self.tau_fs) * units.FS


def _require_kinds(config: MDConfig) -> None:
    """Refuse what no command line lets through: other words, and halves of steps."""
    for name, choices in _CHOICES.items():
        value = getattr(config, name)
        if value not in choices and not (value is None and name in _OPTIONAL):
            raise ConfigError(f"{name} must be one of {', '.join(choices)}, found {value!r}.")
    for name in _LEAST:
        value = getattr(config, name)
        kind, words = (
            (Real, "a number") if name == "temperature_K" else (Integral, "a whole number")
        )
        if value is not None and not isinstance(value, kind):
            raise ConfigError(f"{name} must be {words}, found {value!r}.")


def _require_positive(name: str, value: float | None) -> None:
    if value is not None and not (value > 0.0 and math.isfinite(value)):
        raise ConfigError(f"{name} must be positive, found {value}.")


def _require_points(name: str, points: Points | None, *, positive: bool) -> None:
    if points is None:
        return
    times, values = [time for time, _ in points], [value for _, value in points]
    rising = all(late > early for early, late in pairwise([0.0, *times]))
    possible = all(math.isfinite(x) and (x > 0.0 or not positive) for x in values)
    if not (points and rising and possible and math.isfinite(times[-1])):
        raise ConfigError(
            f"{name} must hold points (time, value) at rising times after 0, with "
            f"{'positive' if positive else 'finite'} values, found {points}."
        )


def _require_swing(
    name: str, start: float | None, points: Points | None, wave: tuple[float, float] | None
) -> None:
    if wave is None:
        return
    amplitude, period = wave
    least = min([start or 0.0, *(value for _, value in points or ())]) + min(amplitude, 0.0)
    if not (period > 0.0 and math.isfinite(period) and math.isfinite(amplitude) and least > 0.0):
        raise ConfigError(
            f"{name}_swing must hold an amplitude, with which the {name} stays positive, and a "
            f"positive period in ps, found {wave}."
        )


def _require_between(name: str, value: float | None, least: int) -> None:
    if value is not None and not least <= value <= _MOST:
        raise ConfigError(f"{name} must lie between {least} and {_MOST}, found {value}.")
