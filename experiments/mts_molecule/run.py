"""Train small, conventional and co-trained models of aspirin, score them, print the table.

    python -m experiments.mts_molecule.run small conventional pair --seeds 0 1 2
    python -m experiments.mts_molecule.run frozen free slow --seeds 0       other ways to train it
    python -m experiments.mts_molecule.run --table

The data are aspirin of rMD17 at PBE/def2-SVP: 1200 frames, every sixth of them held out.
"""

import tomllib
from pathlib import Path

import jmlip
from experiments.study import Study, arguments, table, train
from jmlip.data.writing import write

HERE = Path(__file__).parent
KEPT = ["small", "conventional", "pair"]
COLUMNS = {"energy": 1, "force": 1}
HELD_OUT = 6  # every sixth frame


def main() -> None:
    parser = arguments(__doc__ or "", HERE, data="aspirin")
    variants = tomllib.loads((HERE / "variants.toml").read_text())
    names = ["small", "conventional", *variants]
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(names))
    options = parser.parse_args()
    study = Study(
        HERE,
        options.runs,
        {"": options.runs / "test.xyz"},
        {"energy": "energy_rmse_meV", "force": "forces_rmse_meV_A"},
    )
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
            config = "pair" if name in variants else name
            train(study, name, config, sets, keep=name in KEPT)
    if options.table:
        print(table(HERE, names, COLUMNS))


def _split(source: Path, folder: Path) -> None:
    """The frames to train on, and those held out."""
    frames = jmlip.read(source)
    folder.mkdir(parents=True, exist_ok=True)
    write(folder / "test.xyz", frames[::HELD_OUT])
    kept = [frame for i, frame in enumerate(frames) if i % HELD_OUT]
    write(folder / "train.xyz", kept)


if __name__ == "__main__":
    main()
