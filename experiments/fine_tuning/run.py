"""Take a potential of DFT ethanol to CCSD(T) with 50 frames, and compare with training anew.

    python -m experiments.fine_tuning.run base untouched tuned scratch-50 scratch-600 --seeds 0 1 2
    python -m experiments.fine_tuning.run --table

The data are ethanol at PBE/def2-SVP (1000 frames) and at CCSD(T)/cc-pVTZ (800 frames, every fourth
held out: the test of all rows but that of the base).
"""

from pathlib import Path

import numpy as np

import jmlip
from experiments.ensemble_distillation.run import split
from experiments.study import RMSE, Study, arguments, one_of, record, score, table, train
from jmlip.data.writing import write

HERE = Path(__file__).parent
COLUMNS = {"energy": 1, "force": 1}
NAMES = ("base", "untouched", "tuned", "scratch-50", "scratch-600")
FEW = 50  # frames, a tenth of which selects
EPOCHS_OF_FEW = 600  # 3000 steps, against 8100 of all frames


def main() -> None:
    parser = arguments(__doc__ or "", HERE, data="ethanol_ccsdt")
    parser.add_argument("names", nargs="*", type=one_of(NAMES), help=", ".join(NAMES))
    options = parser.parse_args()
    tests = {"": options.runs / "test.xyz"}
    low = options.data.parent / "ethanol"
    if options.names:
        split(options.data / "train.xyz", options.runs)
    for seed in options.seeds if options.names else ():
        base = options.runs / f"base-seed{seed}" / "potential"
        seeds = {"data.split_seed": seed, "training.seed": seed}
        high = {"data.train": (options.runs / "train.xyz").resolve(), **seeds}
        few = {**high, "data.train": few_frames(options.runs, seed)}
        sets = {
            "base": {"data.train": (low / "train.xyz").resolve(), **seeds},
            "tuned": {**few, "model.potential": base.resolve()},
            "scratch-50": {**few, "training.max_epochs": EPOCHS_OF_FEW},
            "scratch-600": high,
        }
        for name in options.names:
            study = Study(HERE, options.runs, tests, RMSE)
            if name == "base":
                study = study._replace(tests={"": low / "test.xyz"})
            if name == "untouched":
                out = options.runs / f"untouched-seed{seed}.json"
                row = {"name": name, "seed": seed, "minutes": 0.0, "parameters": 0}
                record(HERE, {**row, **score(study, base, out)})
                continue
            config = "tuned" if name == "tuned" else "recipe"
            train(study, name, config, sets[name], keep=seed == 0)
    if options.table:
        print(table(HERE, NAMES, COLUMNS))


def few_frames(runs: Path, seed: int) -> Path:
    """Some of the frames to train on."""
    frames = jmlip.read(runs / "train.xyz")
    chosen = np.random.default_rng(seed).choice(len(frames), FEW, replace=False)
    path = runs / f"few-seed{seed}.xyz"
    write(path, [frames[k] for k in sorted(chosen)])
    return path.resolve()


if __name__ == "__main__":
    main()
