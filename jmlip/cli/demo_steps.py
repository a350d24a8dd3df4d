"""The steps of the demonstration, told as they are made: data, training, dynamics, report."""

import contextlib
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np

from jmlip.cli import demo_figures, workflow
from jmlip.cli.config import load_config
from jmlip.cli.demo_data import ETHANOL, System, Trajectory, sample
from jmlip.cli.evaluate import print_table
from jmlip.cli.run_report import write_run_report
from jmlip.core.checkpoint import whole_file
from jmlip.core.structure import Structure
from jmlip.data import read, write
from jmlip.md.config import MDConfig
from jmlip.md.simulate import MDResult, simulate
from jmlip.potentials.potential import Potential
from jmlip.training.report import Section, Table

N_STEPS = 5


class Sizes(NamedTuple):
    """How much of everything; the defaults fit into a few minutes on two cores."""

    n_train: int = 400
    n_test: int = 150
    every: int = 15  # steps of the engine between frames
    n_features: int = 32
    n_interactions: int = 2
    max_rank: int = 2
    max_epochs: int = 120
    max_minutes: float = 2.5
    nve_ps: float = 10.0
    nvt_ps: float = 20.0


CONFIG = """\
# Made by `jmlip demo`; the same with your own files: jmlip train config.toml
[data]
train = "data/training.xyz"
test = "data/held-out.xyz"
split = "blocks"

[model]
kind = "hipnn"
cutoff = {cutoff}
n_features = {n_features}
n_sensitivities = 8
n_interactions = {n_interactions}
n_onsite = 2
max_rank = {max_rank}  # tensor sensitivities: HIP-NN-TS
initialization = "hippynn"

[loss]
energy = {{weight = 0.5}}
forces = {{weight = 10.0}}

[optimizer]
name = "muon"
learning_rate = 5e-3
schedule = "cosine"
warmup_steps = 200
clip_norm = 10.0
weight_decay = 0.0

[training]
batch_size = 8
max_epochs = {max_epochs}
max_minutes = {max_minutes}
"""


def run_demo(system: System, out: Path, sizes: Sizes | None = None) -> None:
    """Make data, train, simulate, evaluate, report; every step says how long it took.

    Args:
        system: what is simulated.
        out: directory for everything; data and training found there are taken up.
        sizes: how much of everything.
    """
    sizes = sizes or Sizes()
    began = time.monotonic()
    if system is not ETHANOL:
        print(
            "tblite is not installed, so aluminium by EMT stands in for ethanol by GFN2-xTB "
            "(for that: pip install 'jmlip[demo]').",
            flush=True,
        )
    with _step(1, f"data: {system.engine}, {system.title}"):
        frames = make_data(system, out / "data", sizes)
    with _step(2, "training: HIP-NN-TS"):
        run = train(system, out, sizes)
    with _step(3, "dynamics at constant energy, float64"):
        nve = run_md(system, run.potential, frames[-1], out / "md" / "nve.h5", sizes, nve=True)
    with _step(4, "dynamics at constant temperature, float32"):
        nvt = run_md(system, run.potential, frames[-1], out / "md" / "nvt.h5", sizes, nve=False)
    with _step(5, "report"):
        sections = [_conservation(nve), _distributions(system, frames, nvt)]
        comparisons = write_run_report(
            out / "run",
            run,
            title=f"HIP-NN-TS on {system.title} by {system.engine}",
            further=sections,
            path=out / "report.html",
        )
    print()
    print_table({data.name: data.result.metrics for data in comparisons})
    print(f"drift of the total energy in NVE: {nve.drift_meV_per_atom_ps:.1e} meV/atom/ps")
    print(f"report: {out / 'report.html'}   ({(time.monotonic() - began) / 60.0:.1f} minutes)")


def make_data(system: System, folder: Path, sizes: Sizes) -> list[Structure]:
    """Write the training trajectory and the hotter one, unless they are there; return the first."""
    wanted = {
        folder / "training.xyz": Trajectory(system.training_K, sizes.n_train, sizes.every, 0),
        folder / "held-out.xyz": Trajectory(system.hot_K, sizes.n_test, sizes.every, 1),
    }
    if all(_is_made(path, system, trajectory) for path, trajectory in wanted.items()):
        print("      found, not made again", flush=True)
    else:
        for path, frames in zip(wanted, sample(system, list(wanted.values())), strict=True):
            write(path, frames)
    for path, trajectory in wanted.items():
        print(f"      {path}: {trajectory.n_frames} frames at {trajectory.temperature_K:.0f} K")
    return read(folder / "training.xyz")


def _is_made(path: Path, system: System, trajectory: Trajectory) -> bool:
    if not path.exists():
        return False
    frames = read(path)
    return len(frames) == trajectory.n_frames and frames[0].info.get("source") == system.engine


def train(system: System, out: Path, sizes: Sizes) -> workflow.Run:
    """Train by a configuration that is left for the reader; a run of the same one is taken up."""
    path, run_dir = out / "config.toml", out / "run"
    text = CONFIG.format(
        cutoff=system.cutoff,
        **sizes._asdict(),
    )
    resume = path.exists() and path.read_text(encoding="utf-8") == text
    if not resume:
        shutil.rmtree(run_dir, ignore_errors=True)
    with whole_file(path) as partial:
        partial.write_text(text, encoding="utf-8")
    return workflow.fit_config(load_config(path), run_dir, command="jmlip demo", resume=resume)


def run_md(
    system: System, potential: Potential, start: Structure, path: Path, sizes: Sizes, *, nve: bool
) -> MDResult:
    """One trajectory, from a frame of the engine's; an older file makes room."""
    for old in (path, path.with_name(path.name + ".restart")):
        shutil.rmtree(old) if old.is_dir() else old.unlink(missing_ok=True)
    timestep_fs = system.timestep_fs / (4.0 if nve else 2.0)
    config = MDConfig(
        ensemble="nve" if nve else "langevin",
        timestep_fs=timestep_fs,
        n_steps=round(1000.0 * (sizes.nve_ps if nve else sizes.nvt_ps) / timestep_fs),
        temperature_K=system.training_K,
        every=10,
        friction_per_ps=None if nve else system.friction_per_ps,
        dtype="float64" if nve else "float32",
    )
    result = simulate(potential, start, config, path, progress=False)
    print("      " + result.summary().replace("\n", "\n      "), flush=True)
    return result


def _conservation(result: MDResult) -> Section:
    n, energies = result.structure.n_atoms, _observables(result)
    total = 1000.0 * energies["conserved_energy"] / n
    figure = demo_figures.energy_conservation(
        energies["time_ps"],
        1000.0 * energies["potential_energy"] / n,
        total,
        drift=result.drift_meV_per_atom_ps,
    )
    facts = [
        ("Length", f"{energies['time_ps'][-1]:.1f} ps in steps of {result.timestep_fs:g} fs"),
        ("Drift", f"{result.drift_meV_per_atom_ps:+.1e} meV/atom/ps"),
        ("Fluctuation of the total energy", f"{total.std():.3g} meV/atom"),
        ("Mean temperature", f"{result.mean_temperature_K:.0f} K"),
    ]
    caption = "Left, what potential and kinetic energy exchange; right, what remains of their sum."
    return Section("Energy conservation", tables=[Table((), facts)], pictures=[(figure, caption)])


def _distributions(system: System, frames: Sequence[Structure], result: MDResult) -> Section:
    positions = _observables(result)["positions"]
    trajectories = {
        system.engine: np.array([frame.positions for frame in frames]),
        "HIP-NN-TS": positions[len(positions) // 10 :],
    }
    if frames[0].is_periodic:
        panels = demo_figures.radial_distribution(frames[0], trajectories)
    else:
        panels = demo_figures.bond_lengths(frames[0], trajectories)
    caption = (
        f"Dynamics at {system.training_K:.0f} K: {system.engine} itself and the potential that was "
        "trained on it."
    )
    figure = demo_figures.distributions(panels)
    return Section("Structure in dynamics", pictures=[(figure, caption)])


def _observables(result: MDResult) -> dict[str, np.ndarray]:
    with h5py.File(result.trajectory) as file:
        group: Any = file
        values = {
            name: group[f"observables/{name}/value"][:]
            for name in ("potential_energy", "conserved_energy")
        }
        position = group["particles/trajectory/position"]
        return {
            **values,
            "time_ps": 1e-3 * position["time"][:].astype(float),
            "positions": position["value"][:],
        }


@contextlib.contextmanager
def _step(number: int, what: str) -> Iterator[None]:
    print(f"[{number}/{N_STEPS}] {what}", flush=True)
    began = time.monotonic()
    yield
    print(f"      {time.monotonic() - began:.1f} s", flush=True)
