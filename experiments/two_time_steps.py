"""What studies of multiple time steps share: the same dynamics with and without, side by side.

Each case is a potential with or without an inner one. It gets a canonical run, which tells
averages, and a run at constant energy from the same start, which tells the drift; a run that is
there already, from an earlier call, is only read. Speeds are those of short runs in turn.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, NamedTuple

import numpy as np

import jmlip
from jmlip.analysis.estimates import mean_of_series
from jmlip.analysis.thermodynamics import drift
from jmlip.core.structure import Structure
from jmlip.data.trajectory_reading import read_trajectory
from jmlip.md.config import MDConfig
from jmlip.md.simulate import simulate
from jmlip.potentials.potential import Potential

Row = dict[str, Any]


class Case(NamedTuple):
    """One way to run."""

    name: str
    potential: Path
    n_inner: int | None = None  # None: one time step
    inner: Path | None = None  # None: the pair's own


class Course(NamedTuple):
    """How long, how hot."""

    temperature_K: float
    timestep_fs: float  # the small one
    nvt_ps: float
    nve_ps: float
    equilibration_ps: float
    every_fs: float  # between frames
    friction_per_ps: float = 10.0
    ensemble: Literal["langevin", "csvr"] = "langevin"  # of the canonical runs
    n_every_step: int = 2000  # small steps of the run that shows how fast forces vary
    n_speed: int = 3840  # small steps of the runs that show speed


def compare(
    cases: Sequence[Case],
    start: Structure,
    course: Course,
    folder: Path,
    *,
    more: Callable[[Path, Course], Row] = lambda path, course: {},
) -> list[Row]:
    """Averages and drift of every case.

    Args:
        cases: ways to run.
        start: equilibrated.
        course: how long.
        folder: of the trajectories.
        more: further figures of a canonical trajectory.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for case in cases:
        canonical, isolated = (folder / f"{case.name}-{kind}.h5md" for kind in ("nvt", "nve"))
        _go(case, start, course, canonical, ensemble=course.ensemble)
        _go(case, start, course, isolated, ensemble="nve")
        rows.append({
            "name": case.name,
            "n": case.n_inner or 1,
            **_averages(canonical, course),
            **_conservation(isolated),
            **more(canonical, course),
        })  # fmt: skip
    return rows


def speeds(
    cases: Sequence[Case], start: Structure, course: Course, *, turns: int = 3
) -> dict[str, float]:
    """Microseconds for each atom and small step of every case: the median of runs in turn.

    In turn, so that whatever else the machine does falls on all cases alike.
    """
    found = np.zeros((turns, len(cases)))
    for turn in range(turns):
        for k, case in enumerate(cases):
            n = case.n_inner or 1
            options = {"n_inner": case.n_inner, "every": course.n_speed // (2 * n)}
            config = _config(course, "nve", n_steps=course.n_speed // n, n=n, **options)
            inner = None if case.inner is None else jmlip.load_potential(case.inner)
            potential = jmlip.load_potential(case.potential)
            with TemporaryDirectory() as folder:
                path = Path(folder) / "speed.xyz"
                result = simulate(potential, start, config, path, inner=inner, progress=False)
            found[turn, k] = result.us_per_atom_step / n
    return dict(zip((case.name for case in cases), np.median(found, axis=0).tolist(), strict=True))


def slow_forces(pair: Potential, path: Path, timestep_fs: float) -> Row:
    """RMS of the large part's forces over that of all, and how fast they vary.

    Args:
        pair: small and large.
        path: trajectory with a frame at every small time step.
        timestep_fs: between frames.
    """
    from jmlip.factory import split_pair

    parts = split_pair(pair)
    assert parts is not None
    frames = jmlip.read(path)
    fast, slow = (np.stack([p.forces for p in part.predict(frames)]) for part in parts)
    spectrum = np.abs(np.fft.rfft(slow - slow.mean(axis=0), axis=0)) ** 2
    power = spectrum.sum(axis=(1, 2))
    period_fs = 1.0 / np.maximum(np.fft.rfftfreq(len(frames), timestep_fs), 1.0e-9)
    above = {
        f"power_faster_than_{p}_fs": float(power[period_fs < p].sum() / power.sum())
        for p in (4, 8, 16)
    }
    rms = lambda x: float(np.sqrt(np.mean(x**2)))
    return {"slow_over_all": rms(slow) / rms(fast + slow), **above}


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    path.write_text(json.dumps(list(rows), indent=1) + "\n")


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Markdown table of cases."""
    head = [
        "case",
        "T, K",
        "E_pot, meV/atom",
        "its spread, meV/atom",
        "drift, meV/atom/ps",
        *(["D, 1e-9 m²/s"] if "diffusion" in rows[0] else []),
    ]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row in rows:
        cells = [
            row["name"],
            _pm(row["temperature_K"], 1),
            _pm(row["energy_meV"], 2),
            _pm(row["spread_meV"], 2),
            _pm(row["drift_meV_ps"], 3),
            *([_pm(row["diffusion"], 2)] if "diffusion" in row else []),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _pm(value: Sequence[float], digits: int) -> str:
    return f"{value[0]:.{digits}f} ± {value[1]:.{digits}f}"


def _config(course: Course, ensemble: Any, *, n_steps: int, every: int, n: int = 1, **more: Any):
    return MDConfig(
        ensemble=ensemble,
        timestep_fs=course.timestep_fs * n,
        n_steps=n_steps,
        every=every,
        temperature_K=course.temperature_K,
        **more,
    )


def _go(case: Case, start: Structure, course: Course, path: Path, *, ensemble: str) -> None:
    n = case.n_inner or 1
    step = course.timestep_fs * n
    length = course.nve_ps if ensemble == "nve" else course.nvt_ps
    options = {"friction_per_ps": course.friction_per_ps} if ensemble == "langevin" else {}
    config = _config(
        course,
        ensemble,
        n_steps=round(1000.0 * length / step),
        every=max(1, round(course.every_fs / step)),
        n=n,
        n_inner=case.n_inner,
        **options,
    )
    inner = None if case.inner is None else jmlip.load_potential(case.inner)
    potential = jmlip.load_potential(case.potential)
    simulate(potential, start, config, path, inner=inner, restart=True, progress=False)


def _averages(path: Path, course: Course) -> Row:
    trajectory = read_trajectory(path).select(skip_ps=course.equilibration_ps)
    energy = 1.0e3 * trajectory.observables["potential_energy"] / trajectory.n_atoms
    temperature = trajectory.observables["temperature_K"]
    variance = mean_of_series((energy - energy.mean()) ** 2).mean
    spread = float(np.sqrt(variance.value))
    return {
        "temperature_K": list(mean_of_series(temperature).mean),
        "energy_meV": list(mean_of_series(energy).mean),
        "spread_meV": [spread, 0.5 * variance.error / spread],
    }


def _conservation(path: Path) -> Row:
    trajectory = read_trajectory(path)
    energy = trajectory.observables["conserved_energy"]
    slope = drift(trajectory.times_ps, 1.0e3 * energy / trajectory.n_atoms)
    return {"drift_meV_ps": list(slope)}
