"""Dynamics with the trained models of a study of pairs: one time step against two."""

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import jmlip
from experiments.study import one_of
from experiments.two_time_steps import (
    Case,
    Course,
    Row,
    compare,
    slow_forces,
    speeds,
    table,
    write_rows,
)
from jmlip.cli.cache import use_compilation_cache
from jmlip.core.structure import Structure
from jmlip.md.config import MDConfig
from jmlip.md.simulate import simulate
from jmlip.md.tabulation import tabulate
from jmlip.potentials.potential import save_potential

PARTS = ("averages", "forces", "speed")


def run(
    text: str,
    folder: Path,
    course: Course,
    *,
    inner_steps: Sequence[int],
    inside: Mapping[str, Sequence[int]],
    more: Callable[[Path, Course], Row] = lambda path, course: {},
    summary: Callable[[Sequence[Row]], str] = lambda rows: "",
) -> None:
    """The command of a study: what is missing of some PARTS, or all, is run; tables are printed.

    Averages of a case whose row stands in dynamics.json (dynamics-tables.json) are not run again.

    Args:
        text: its description.
        folder: of the study, with the potentials.
        course: of the runs.
        inner_steps: numbers of small steps in a large one for the pair.
        inside: the same for other potentials inside the conventional one, by their names.
        more: further figures of a canonical trajectory.
        summary: what they say together.
    """
    parser = argparse.ArgumentParser(
        description=text, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=Path, default=Path("runs") / folder.name)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--tables", action="store_true", help="with the potentials that jmlip tabulate makes"
    )
    parser.add_argument("parts", nargs="*", type=one_of(PARTS), help=f"{', '.join(PARTS)}, or all")
    options = parser.parse_args()
    parts = options.parts or PARTS
    suffix = "-tables" if options.tables else ""
    use_compilation_cache()
    runs = options.runs / f"dynamics{suffix}-seed{options.seed}"
    runs.mkdir(parents=True, exist_ok=True)

    def potential(name: str) -> Path:
        path = folder / "potentials" / f"{name}-seed{options.seed}"
        return _tabulated(path, runs / path.name) if options.tables else path

    small, pair, conventional = map(potential, ("small", "pair", "conventional"))
    alone, one_step = Case("large alone", conventional), Case("pair, one step", pair)
    with_two = [
        *(Case(f"pair, n = {n}", pair, n) for n in inner_steps),
        *(
            Case(f"{name} in large, n = {n}", conventional, n, potential(name))
            for name, steps in inside.items()
            for n in steps
        ),
    ]
    start = _equilibrated(conventional, options.runs / "test.xyz", runs, course)
    if "averages" in parts:
        rows = _averages(
            folder / f"dynamics{suffix}.json",
            [alone, one_step, *with_two],
            start,
            course,
            runs,
            more,
        )
        print(table(rows), summary(rows), sep="\n", flush=True)
    if "forces" in parts:
        every_step = _every_step(conventional, start, runs, course)
        print(slow_forces(jmlip.load_potential(pair), every_step, course.timestep_fs), flush=True)
    if "speed" in parts:
        found = speeds([alone, one_step, *with_two, Case("small alone", small)], start, course)
        write_rows(folder / f"speed{suffix}.json", [found])
        print(_speed_table(found))


def _tabulated(path: Path, made: Path) -> Path:
    if not made.exists():
        save_potential(tabulate(jmlip.load_potential(path))[0], made)
    return made


def _averages(
    path: Path,
    cases: Sequence[Case],
    start: Structure,
    course: Course,
    runs: Path,
    more: Callable[[Path, Course], Row],
) -> list[Row]:
    """Those in the file stand; what is missing is run and written beside them."""
    done = {row["name"]: row for row in json.loads(path.read_text())} if path.exists() else {}
    for case in cases:
        if case.name not in done:
            (done[case.name],) = compare([case], start, course, runs, more=more)
            write_rows(path, [done[case.name] for case in cases if case.name in done])
    return [done[case.name] for case in cases]


def _speed_table(found: dict[str, float]) -> str:
    # the large part of a pair is no potential of its own: what it costs is the rest
    ratio = found["small alone"] / (found["pair, one step"] - found["small alone"])
    lines = ["| run | \N{MICRO SIGN}s | speed-up | predicted |", "|---|---|---|---|"]
    for name, time in found.items():
        speed = found["large alone"] / time
        n = name.rpartition("n = ")[2] if name.startswith("pair, n") else None
        predicted = f"{1.0 / (ratio + 1.0 / int(n)):.2f}" if n else ""
        lines.append(f"| {name} | {time:.1f} | {speed:.2f} | {predicted} |")
    return "\n".join([*lines, f"c = {ratio:.3f}"])


def _equilibrated(potential: Path, frames: Path, folder: Path, course: Course) -> Structure:
    """A frame of the data, after some picoseconds at the temperature of the runs."""
    path = folder / "start.xyz"
    if not path.exists():
        n_steps = round(1000.0 * course.equilibration_ps / course.timestep_fs)
        config = MDConfig(
            ensemble="langevin",
            timestep_fs=course.timestep_fs,
            n_steps=n_steps,
            every=n_steps,
            temperature_K=course.temperature_K,
            friction_per_ps=course.friction_per_ps,
        )
        simulate(jmlip.load_potential(potential), jmlip.read(frames)[0], config, path)
    return jmlip.read(path)[-1]


def _every_step(potential: Path, start: Structure, folder: Path, course: Course) -> Path:
    path = folder / "every-step.xyz"
    if not path.exists():
        config = MDConfig(
            ensemble="nve", timestep_fs=course.timestep_fs, n_steps=course.n_every_step, every=1
        )
        simulate(jmlip.load_potential(potential), start, config, path)
    return path
