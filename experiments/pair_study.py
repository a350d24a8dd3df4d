"""What studies of pairs share: a small model, a large one, both together, on one set of frames."""

import json
import shutil
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jmlip
from experiments.study import (
    RMSE,
    Study,
    arguments,
    command,
    one_of,
    paired,
    record,
    score,
    table,
    train,
)
from jmlip.data.writing import write

KEPT = ("small", "conventional", "pair")
COLUMNS = {"energy": 1, "force": 1}
HELD_OUT = 6  # every sixth frame is for the test


def run(text: str, folder: Path, *, data: str) -> None:
    """The command of a study.

    Args:
        text: its description.
        folder: of the study: small.toml, conventional.toml, pair.toml, and variants.toml, in which
            each way to train the pair, "pair" among them, is a list of settings added to pair.toml;
            perhaps distilled.toml, a small student of the conventional one.
        data: name of the folder of its train.xyz.
    """
    parser = arguments(text, folder, data=data)
    variants = tomllib.loads((folder / "variants.toml").read_text())
    names = ["small", "conventional", *variants]
    if (folder / "distilled.toml").exists():
        names.insert(1, "distilled")
    parser.add_argument("names", nargs="*", type=one_of(names), help=", ".join(names))
    options = parser.parse_args()
    study = Study(folder, options.runs, {"": options.runs / "test.xyz"}, RMSE)
    if options.names:
        _split(options.data / "train.xyz", options.runs)
    for seed in options.seeds:
        for name in options.names:
            sets = {
                "data.train": (options.runs / "train.xyz").resolve(),
                "data.split_seed": seed,
                "training.seed": seed,
            }
            if name in variants:
                small = options.runs / f"small-seed{seed}" / "potential"
                sets["model.small.potential"] = small.resolve()
                sets |= dict(word.split("=", 1) for word in variants[name])
            if name == "distilled":
                _distil(study, sets)
                continue
            config = "pair" if name in variants else name
            train(study, name, config, sets, keep=name in KEPT)
    if options.table:
        print(
            table(folder, names, COLUMNS),
            paired(folder, "pair", "conventional", COLUMNS),
            sep="\n\n",
        )


def _distil(study: Study, sets: Mapping[str, Any]) -> None:
    """A student of the conventional model, which must be there."""
    seed = sets["training.seed"]
    run = study.runs / f"distilled-seed{seed}"
    teacher = study.folder / "potentials" / f"conventional-seed{seed}"
    teachers = {"teacher.potentials": f"['{teacher.resolve()}']"}
    command("distill", study.folder / "distilled.toml", run, {**sets, **teachers})
    potential = run / "student" / "potential"
    shutil.copytree(potential, study.folder / "potentials" / run.name, dirs_exist_ok=True)
    summary = json.loads((run / "student" / "summary.json").read_text())
    row = {
        "name": "distilled",
        "seed": seed,
        "minutes": summary["minutes"],
        "parameters": jmlip.load_potential(potential).n_parameters,
    }
    record(study.folder, row | score(study, potential, run / "scores.json"))


def _split(source: Path, folder: Path) -> None:
    """The frames to train on, and those held out."""
    frames = jmlip.read(source)
    folder.mkdir(parents=True, exist_ok=True)
    write(folder / "test.xyz", frames[::HELD_OUT])
    write(folder / "train.xyz", [frame for i, frame in enumerate(frames) if i % HELD_OUT])
