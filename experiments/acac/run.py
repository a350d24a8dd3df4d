"""Train models on acetylacetone at 300 K, score them, and print the tables of the README.

    python -m experiments.acac.run rank2 mace-small --seeds 0 1 2    the best of HIP-NN, a MACE
    python -m experiments.acac.run --presets                   every kind of model at size S
    python -m experiments.acac.run --ablations                 search.toml and presets.toml, changed
    python -m experiments.acac.run --table                     the tables, from results.json

The data are dataset_acac of github.com/davkovacs/BOTNet-datasets.
"""

import argparse
import tomllib
from pathlib import Path

from experiments.study import RMSE, Row, Study, arguments, one_of, table, train
from jmlip.models.sizes import SIZES

HERE = Path(__file__).parent
CONFIGS = ["rank0", "rank1", "rank2", "mace-small", "mace", "mace-wide"]
COLUMNS = {"300 K energy": 1, "300 K force": 1, "600 K energy": 1, "600 K force": 1}


def main() -> None:
    parser = arguments(__doc__ or "", HERE)
    changes = tomllib.loads((HERE / "ablations.toml").read_text())
    parser.add_argument("configs", nargs="*", type=one_of(CONFIGS), help=", ".join(CONFIGS))
    parser.add_argument("--presets", nargs="*", type=one_of(SIZES), help="all, or those named")
    every = [name for found in changes.values() for name in found]
    parser.add_argument("--ablations", nargs="*", type=one_of(every), help="all, or those named")
    options = parser.parse_args()
    study = study_of(HERE, options)
    chosen = lambda names, every: () if names is None else names or every
    for seed in options.seeds:
        sets = frames_of(options, seed)
        for name in options.configs:
            train(study, name, name, sets, keep=True)
        for kind in chosen(options.presets, SIZES):
            model = {"model.kind": kind, "model.size": "S"}
            train(study, f"{kind} S", "presets", {**sets, **model}, keep=True)
        for name in chosen(options.ablations, every):
            base = next(config for config, found in changes.items() if name in found)
            change = dict(word.split("=", 1) for word in changes[base][name])
            train(study, name, base, {**sets, **change}, keep=False)
    if options.table:
        presets = [f"{kind} S" for kind in SIZES]
        groups = (CONFIGS, presets, *changes.values())
        print(*(table(HERE, [*names], COLUMNS) for names in groups), sep="\n\n")


def study_of(folder: Path, options: argparse.Namespace) -> Study:
    """A study of these data: scored at the temperature of training, and above it."""
    data = options.data.resolve()
    tests = {"300 K": data / "test_300K.xyz", "600 K": data / "train_600K.xyz"}
    return Study(folder, options.runs, tests, RMSE)


def frames_of(options: argparse.Namespace, seed: int) -> Row:
    """The settings of a run that name its frames and seed."""
    data = options.data.resolve()
    return {
        "data.train": data / "train_300K.xyz",
        "data.test": data / "test_300K.xyz",
        "data.split_seed": seed,
        "training.seed": seed,
    }


if __name__ == "__main__":
    main()
