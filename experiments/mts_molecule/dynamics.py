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
    parser.add_argument("--speed", action="store_true", help="speeds and slow forces only")
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
    if not options.speed:
        rows = compare(cases, start, COURSE, folder)
        write_rows(HERE / "dynamics.json", rows)
        print(table(rows), end="\n\n")
    # the large part of a pair is no potential of its own: what it costs is the rest
    found = speeds([*cases, Case("small alone", small)], start, COURSE, folder)
    write_rows(HERE / "speed.json", [found])
    ratio = found["small alone"] / (found["pair, one step"] - found["small alone"])
    print(_speed_table(found, ratio), f"\nc = {ratio:.3f}")
    every_step = _every_step(conventional, start, folder)
    print(slow_forces(jmlip.load_potential(pair), every_step, COURSE.timestep_fs))


def _speed_table(found: dict[str, float], ratio: float) -> str:
    predicted = {f"pair, n = {n}": f"{1.0 / (ratio + 1.0 / n):.2f}" for n in INNER_STEPS}
    lines = ["| run | \N{MICRO SIGN}s | speed-up | predicted |", "|---|---|---|---|"]
    for name, time in found.items():
        speed = found["large alone"] / time
        lines.append(f"| {name} | {time:.1f} | {speed:.2f} | {predicted.get(name, '')} |")
    return "\n".join(lines)


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
