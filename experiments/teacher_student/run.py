"""Teach a small HIP-NN the atomic energies of a large one, and compare it with an untaught one.

    python -m experiments.teacher_student.run ethanol teacher plain taught permuted --seeds 0 1 2 3
    python -m experiments.teacher_student.run ethanol-forces teacher plain taught --seeds 0 1
    python -m experiments.teacher_student.run aluminium teacher plain taught permuted --seeds 0 1
    python -m experiments.teacher_student.run copper teacher plain taught --data path/to/mlearn
    python -m experiments.teacher_student.run ethanol --table

The teacher of a seed is trained on the same frames and split as its students; every fourth frame is
held out. The data are ethanol at CCSD(T)/cc-pVTZ, 800 frames, energies alone or forces, too;
aluminium by density-functional theory (aluminium.py) and copper of the set mlearn, with forces.
"""

import json
import shutil
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jmlip
from experiments.ensemble_distillation.run import COLUMNS, ERRORS, split
from experiments.study import (
    Study,
    arguments,
    command,
    one_of,
    paired,
    record,
    results,
    table,
    train,
)

HERE = Path(__file__).parent
VARIANTS = tomllib.loads((HERE / "variants.toml").read_text())
NAMES = ("teacher", "plain", *VARIANTS)
FORCES = {"data.hide": "[]", "training.select": "forces_rmse"}
CASES: dict[str, dict[str, str]] = {
    "ethanol": {},
    "ethanol-forces": FORCES | {"loss.forces": '{weight = 1.0, kind = "rmse+mae"}'},
    "aluminium": FORCES
    | {
        "loss.forces": '{weight = 30.0, kind = "rmse+mae"}',
        "model.cutoff": "6.0",
        "training.batch_size": "4",
        "training.max_epochs": "100",
    },
    "copper": FORCES
    | {
        "loss.forces": '{weight = 30.0, kind = "rmse+mae"}',
        "training.batch_size": "4",
        "training.max_epochs": "30",
    },
}
SOURCES = {"aluminium": HERE / "aluminium.xyz", "copper": "Cu_train.xyz"}  # of --data the rest
# of students: what differs from student.toml and plain.toml
STUDENTS: dict[str, dict[str, str]] = {
    "aluminium": {"model.n_interactions": "1", "model.max_rank": "1"},
    "copper": {"model.n_features": "8", "model.max_rank": "1"},
}
# of taught students; with 30 for forces, 100 is the weight of the published example
TAUGHT: dict[str, dict[str, str]] = {
    "aluminium": {"loss.atomic_energies.weight": "100.0"},
    "copper": {"loss.atomic_energies.weight": "3.0"},
}
FOUR = 4
KEPT = {"teacher": "teacher", "plain": "student_plain"}
DISTILLED = {"copper": "taught"}  # what is kept as student_distilled; else that of four teachers


def main() -> None:
    parser = arguments(__doc__ or "", HERE, data="ethanol_ccsdt")
    parser.add_argument("case", choices=CASES, help="the data")
    parser.add_argument("names", nargs="*", type=one_of(NAMES), help=", ".join(NAMES))
    options = parser.parse_args()
    case, runs = options.case, options.runs
    if case in SOURCES:
        runs = runs / case
    if options.names:
        runs.mkdir(parents=True, exist_ok=True)
        split(options.data / SOURCES.get(case, "train.xyz"), runs)
    files = {f"data.{name}": (runs / f"{name}.xyz").resolve() for name in ("train", "test")}
    study = Study(HERE, runs, {"": files["data.test"]}, dict(zip(COLUMNS, ERRORS, strict=True)))
    for seed in options.seeds:
        sets = {**files, **CASES[case], "data.split_seed": seed, "training.seed": seed}
        for name in options.names:
            own = {} if name == "teacher" else STUDENTS.get(case, {})
            _run(study, case, name, sets | own)
    if options.table:
        print(table(HERE, [f"{case} {name}" for name in NAMES], COLUMNS))
        rows = {row["name"] for row in results(HERE)}
        for name in (name for name in VARIANTS if f"{case} {name}" in rows):
            print(paired(HERE, f"{case} {name}", f"{case} plain", COLUMNS))


def _run(study: Study, case: str, name: str, sets: Mapping[str, Any]) -> None:
    """Train one potential; keep that of the first seed."""
    seed = sets["training.seed"]
    if name in VARIANTS:
        _teach(study, case, name, sets)
        potential = study.runs / f"{case}-{name}-seed{seed}" / "student" / "potential"
    else:
        train(study, f"{case} {name}", name, sets, keep=False)
        potential = study.runs / f"{case}-{name}-seed{seed}" / "potential"
    kept_as = KEPT | {DISTILLED.get(case, "four"): "student_distilled"}
    if seed == 0 and name in kept_as:
        kept = HERE / "potentials" / f"{case}_{kept_as[name]}"
        shutil.copytree(potential, kept, dirs_exist_ok=True)


def _teach(study: Study, case: str, name: str, sets: Mapping[str, Any]) -> None:
    """A student of the teacher of its seed, or of the first four; they must be trained."""
    seed = sets["training.seed"]
    run = study.runs / f"{case}-{name}-seed{seed}"
    seeds = range(FOUR) if name == "four" else [seed]
    teachers = [study.runs / f"{case}-teacher-seed{k}" / "potential" for k in seeds]
    further = dict(word.split("=", 1) for word in VARIANTS[name])
    sets = {
        **sets,
        **TAUGHT.get(case, {}),
        **further,
        "teacher.potentials": json.dumps([str(p.resolve()) for p in teachers]),
    }
    command("distill", HERE / "student.toml", run, sets)
    potential = run / "student" / "potential"
    (test,) = json.loads((run / "errors.json").read_text()).values()
    found = test["errors"]["student"]
    row = {
        "name": f"{case} {name}",
        "seed": seed,
        "minutes": json.loads((run / "student" / "summary.json").read_text())["minutes"],
        "parameters": jmlip.load_potential(potential).n_parameters,
        **{column: found[key] for column, key in study.errors.items()},
    }
    record(HERE, row)


if __name__ == "__main__":
    main()
