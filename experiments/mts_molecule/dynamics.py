"""Dynamics of aspirin with the trained models: one time step against two, and the speed-up.

python -m experiments.mts_molecule.dynamics            run what is missing, print the tables
"""

import argparse
from pathlib import Path

import jmlip
from experiments.two_time_steps import (
    Case,
    Course,
    compare,
    slow_forces,
    speeds,
    table,
    write_rows,
)
from jmlip.cli.cache import use_compilation_cache
from jmlip.md.config import MDConfig
from jmlip.md.simulate import simulate

HERE = Path(__file__).parent
COURSE = Course(
    temperature_K=300.0,
    timestep_fs=0.5,
    nvt_ps=15.0,
    nve_ps=5.0,
    equilibration_ps=1.0,
    every_fs=12.0,
)
INNER_STEPS = (2, 4, 6, 8)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=Path, default=Path("runs/mts_molecule"))
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    use_compilation_cache()
    small, pair, conventional = (
        HERE / "potentials" / f"{name}-seed{options.seed}"
        for name in ("small", "pair", "conventional")
    )
    cases = [
        Case("large alone", conventional),
        Case("pair, one step", pair),
        *(Case(f"pair, n = {n}", pair, n) for n in INNER_STEPS),
        *(Case(f"small in large, n = {n}", conventional, n, small) for n in (4, 6)),
    ]
    folder = options.runs / f"dynamics-seed{options.seed}"
    folder.mkdir(parents=True, exist_ok=True)
    start = _equilibrated(conventional, options.runs / "test.xyz", folder)
    rows = compare(cases, start, COURSE, folder)
    # the large part of a pair is no potential of its own: what it costs is the rest
    found = speeds([*cases, Case("small alone", small)], start, COURSE, folder)
    rows = [{**row, "us_per_atom_and_small_step": found[row["name"]]} for row in rows]
    write_rows(HERE / "dynamics.json", rows)
    print(table(rows))
    ratio = found["small alone"] / (found["pair, one step"] - found["small alone"])
    print(f"\ncost of the small part over that of the large one: {ratio:.3f}")
    for n in INNER_STEPS:
        print(f"n = {n}: predicted speed-up {1.0 / (ratio + 1.0 / n):.2f}")
    print(
        slow_forces(
            jmlip.load_potential(pair), _every_step(conventional, start, folder), COURSE.timestep_fs
        )
    )


def _equilibrated(potential: Path, frames: Path, folder: Path):
    """A frame of the data, after some picoseconds at the temperature of the runs."""
    path = folder / "start.xyz"
    if not path.exists():
        config = MDConfig(
            ensemble="langevin",
            timestep_fs=0.5,
            n_steps=8000,
            every=8000,
            temperature_K=COURSE.temperature_K,
        )
        simulate(jmlip.load_potential(potential), jmlip.read(frames)[0], config, path)
    return jmlip.read(path)[-1]


def _every_step(potential: Path, start, folder: Path) -> Path:
    path = folder / "every-step.xyz"
    if not path.exists():
        config = MDConfig(ensemble="nve", timestep_fs=0.5, n_steps=2000, every=1)
        simulate(jmlip.load_potential(potential), start, config, path)
    return path


if __name__ == "__main__":
    main()
