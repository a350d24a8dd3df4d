"""Teach a small HIP-NN the atomic energies of a large one, and compare it with an untaught one.

    python -m experiments.teacher_student.run teacher plain taught --seeds 0
    python -m experiments.teacher_student.run teacher plain taught annealed permuted --seeds 0 1 2 3
    python -m experiments.teacher_student.run --table

The teacher of a seed is trained on the same frames and split as its students. The data are ethanol
at CCSD(T)/cc-pVTZ: 800 frames, every fourth of them held out.
"""

import json
import shutil
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jmlip
from experiments.ensemble_distillation.run import split
from experiments.study import Study, arguments, command, one_of, record, table, train

HERE = Path(__file__).parent
COLUMNS = {"energy MAE": 2, "energy RMSE": 2, "force MAE": 1, "force RMSE": 1}
ERRORS = ("energy_mae_meV", "energy_rmse_meV", "forces_mae_meV_A", "forces_rmse_meV_A")


def main() -> None:
    parser = arguments(__doc__ or "", HERE, data="ethanol_ccsdt")
    variants = tomllib.loads((HERE / "variants.toml").read_text())
    every = ["teacher", "plain", *variants]
    parser.add_argument("names", nargs="*", type=one_of(every), help=", ".join(every))
    options = parser.parse_args()
    errors = dict(zip(COLUMNS, ERRORS, strict=True))
    study = Study(HERE, options.runs, {"": options.runs / "test.xyz"}, errors)
    if options.names:
        split(options.data / "train.xyz", options.runs)
    for seed in options.seeds:
        sets = {
            **{f"data.{n}": (options.runs / f"{n}.xyz").resolve() for n in ("train", "test")},
            "data.split_seed": seed,
            "training.seed": seed,
        }
        for name in options.names:
            if name in variants:
                _teach(study, name, {**sets, **_settings(variants[name])}, seed)
            else:
                train(study, name, name, sets, keep=seed == 0)
    if options.table:
        print(table(HERE, every, COLUMNS))


def _settings(words: list[str]) -> dict[str, str]:
    return dict(word.split("=", 1) for word in words)


def _teach(study: Study, name: str, sets: Mapping[str, Any], seed: int) -> None:
    """A student of the teacher of its seed, which must be trained."""
    run = study.runs / f"{name}-seed{seed}"
    sets = {**sets, "teacher.potentials": (study.runs / f"teacher-seed{seed}/potential").resolve()}
    command("distill", HERE / "student.toml", run, sets)
    potential = run / "student" / "potential"
    found = json.loads((run / "errors.json").read_text())["test"]["errors"]["student"]
    row = {
        "name": name,
        "seed": seed,
        "minutes": json.loads((run / "student" / "summary.json").read_text())["minutes"],
        "parameters": jmlip.load_potential(potential).n_parameters,
        **{column: found[key] for column, key in study.errors.items()},
    }
    record(HERE, row)
    if seed == 0:
        shutil.copytree(potential, HERE / "potentials" / run.name, dirs_exist_ok=True)


if __name__ == "__main__":
    main()
