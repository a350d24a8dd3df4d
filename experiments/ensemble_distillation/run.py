"""Distill forces of ensembles that saw energies only, and score them by the hidden true forces.

    python -m experiments.ensemble_distillation.run --members 1 2 4 --seeds 0      a first look
    python -m experiments.ensemble_distillation.run --members 1 2 4 8 --seeds 0 1 2 3
    python -m experiments.ensemble_distillation.run --members 4 --weights 0.1 0.3 3 10
    python -m experiments.ensemble_distillation.run --table

Each seed has teachers of its own, as many as the largest number of members; a student of M members
learns from the first M. The data are ethanol at CCSD(T)/cc-pVTZ: 800 frames, every fourth of them
held out.
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

import jmlip
from experiments.study import arguments, command, record, table
from jmlip.data import write

HERE = Path(__file__).parent
HELD_OUT = 4  # every fourth frame is for the test
KEPT = 4  # teachers of the first seed, and of every student whose potential is kept
FURTHER = 100  # seeds of teachers and students of one seed of the study are this far from the next
COLUMNS = {"energy MAE": 2, "energy RMSE": 2, "force MAE": 1, "force RMSE": 1}
ERRORS = ("energy_mae_meV", "energy_rmse_meV", "forces_mae_meV_A", "forces_rmse_meV_A")


def main() -> None:
    parser = arguments(__doc__ or "", HERE, data="ethanol_ccsdt")
    parser.add_argument("--members", type=int, nargs="*", default=[], help="sizes M of ensembles")
    parser.add_argument("--weights", type=float, nargs="+", default=[1.0], help="of the forces")
    options = parser.parse_args()
    if options.members:
        split(options.data / "train.xyz", options.runs)
    for seed in options.seeds if options.members else ():
        files = {name: (options.runs / f"{name}.xyz").resolve() for name in ("train", "test")}
        sets = {
            **{f"data.{name}": path for name, path in files.items()},
            "data.split_seed": FURTHER * seed,
            "training.seed": FURTHER * seed,
        }
        teachers = train_teachers(options.runs / f"teachers-seed{seed}", seed, options, sets)
        for m in options.members:
            for weight in options.weights:
                train_student(teachers, m, weight, seed, options, sets)
    if options.table:
        print(table(HERE, names(options), COLUMNS))
        print(paired(KEPT))


def names(options) -> list[str]:
    """The rows of the table, in order."""
    sizes = options.members or [1, 2, 4, 8]
    students = [student_name(m, weight) for weight in options.weights for m in sizes]
    return ["teacher", *(mean_name(m) for m in sizes if m > 1), *students]


def paired(m: int) -> str:
    """What the student of `m` gains on the mean of its own teachers, over the seeds."""
    rows = json.loads((HERE / "results.json").read_text())
    of = lambda name: {row["seed"]: row for row in rows if row["name"] == name}
    teachers, students = of("teacher"), of(student_name(m, 1.0))
    lines = []
    for column in ("energy MAE", "force MAE"):
        gains = []
        for seed, student in students.items():
            own = [teachers[FURTHER * seed + k][column] for k in range(m)]
            gains.append(1.0 - student[column] / np.mean(own))
        error = np.std(gains, ddof=1) / np.sqrt(len(gains))
        lines.append(f"{column}: {100 * np.mean(gains):.1f} ± {100 * error:.1f} % lower")
    return f"students of {m} against the mean of their own teachers: " + "; ".join(lines)


def student_name(m: int, weight: float) -> str:
    return f"student of {m}" + ("" if weight == 1.0 else f", forces x {weight:g}")


def mean_name(m: int) -> str:
    return f"mean of {m}"


def split(source: Path, folder: Path) -> None:
    """The frames to train on, and those held out; both have forces, and `data.hide` hides them."""
    if (folder / "test.xyz").exists():
        return
    frames = jmlip.read(source)
    write(folder / "train.xyz", [frame for i, frame in enumerate(frames) if i % HELD_OUT])
    write(folder / "test.xyz", frames[::HELD_OUT])


def train_teachers(run: Path, seed: int, options, sets: Mapping[str, Any]) -> list[Path]:
    """The potentials of the teachers of one seed."""
    wanted = max(options.members)
    there = len(list(run.glob("member_*/summary.json")))
    number = str(max(wanted, there))
    command("ensemble", HERE / "teacher.toml", run, sets, "--members", number)
    errors = json.loads((run / "errors.json").read_text())["test"]["errors"]
    places = []
    for k in range(wanted):
        places.append((run / f"member_{k}" / "potential").resolve())
        summary = json.loads((run / f"member_{k}" / "summary.json").read_text())
        # a row for each of all teachers, whatever the seed of the study
        note("teacher", FURTHER * seed + k, errors[f"member {k}"], places[-1], summary["minutes"])
        if seed == 0 and k < KEPT:
            keep(places[-1], f"teacher_{k}")
    return places


def train_student(
    teachers: list[Path], m: int, weight: float, seed: int, options, sets: Mapping[str, Any]
) -> None:
    """A student of the first `m` teachers; the mean of these is scored, too."""
    name = student_name(m, weight)
    run = options.runs / f"{name.replace(', ', '-').replace(' ', '-')}-seed{seed}"
    chosen = json.dumps([str(path) for path in teachers[:m]])
    more = {"teacher.potentials": chosen, "loss.forces.weight": weight}
    command("distill", HERE / "student.toml", run, {**sets, **more})
    errors = json.loads((run / "errors.json").read_text())["test"]["errors"]
    potential = run / "student" / "potential"
    minutes = json.loads((run / "student" / "summary.json").read_text())["minutes"]
    note(name, seed, errors["student"], potential, minutes)
    if m > 1:
        note(mean_name(m), seed, errors[mean_name(m)], teachers[0], 0.0)
    if (m, weight) == (KEPT, 1.0):
        keep(potential, f"student_{seed}")


def note(name: str, seed: int, errors: Mapping[str, float], potential: Path, minutes: float):
    """A row of results.json."""
    row = {
        "name": name,
        "seed": seed,
        "minutes": minutes,
        "parameters": jmlip.load_potential(potential).n_parameters,
        **{column: errors[key] for column, key in zip(COLUMNS, ERRORS, strict=True)},
    }
    record(HERE, row)


def keep(potential: Path, name: str) -> None:
    """Copy a potential into the folder of the study."""
    shutil.copytree(potential, HERE / "potentials" / name, dirs_exist_ok=True)


if __name__ == "__main__":
    main()
