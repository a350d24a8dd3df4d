"""Take a potential of DFT ethanol to CCSD(T) with 50 frames, in every way there is, and train anew.

    python -m experiments.fine_tuning.run base tuned difference heads --seeds 0 1 2
    python -m experiments.fine_tuning.run scratch-50 scratch-600 --seeds 0 1 2
    python -m experiments.fine_tuning.run --table

The data are ethanol at PBE/def2-SVP (1000 frames, and 1000 to test) and at CCSD(T)/cc-pVTZ (800
frames, every fourth held out). Every frame names its level, which models without heads ignore.
"""

from pathlib import Path

import numpy as np

import jmlip
from experiments.ensemble_distillation.run import split
from experiments.study import RMSE, Study, arguments, one_of, table, train
from jmlip.data.writing import write

HERE = Path(__file__).parent
COLUMNS = {"energy": 1, "force": 1, "DFT force": 1}
NAMES = ("base", "tuned", "difference", "heads", "scratch-50", "scratch-600")
CONFIGS = {"tuned": "tuned", "heads": "heads"}  # of the others: recipe
FEW = 50  # frames, a tenth of which selects
EPOCHS_OF_FEW = 600  # 3000 steps, against 8100 of all frames
WEIGHT_OF_FEW = 4.0  # among 1000 frames of DFT


def main() -> None:
    parser = arguments(__doc__ or "", HERE, data="ethanol_ccsdt")
    parser.add_argument("names", nargs="*", type=one_of(NAMES), help=", ".join(NAMES))
    options = parser.parse_args()
    runs = options.runs
    if options.names:
        prepare(options.data, runs)
    for seed in options.seeds if options.names else ():
        base = (runs / f"base-seed{seed}" / "potential").resolve()
        few = few_frames(runs, seed)
        training = {"training.max_epochs": EPOCHS_OF_FEW}
        both = [str((runs / "dft.xyz").resolve()), str(few)]
        sets = {
            "base": {"data.train": (runs / "dft.xyz").resolve()},
            "tuned": {"data.train": few, "model.potential": base},
            "difference": {"data.train": few, "model.baseline": base, **training},
            "heads": {"data.train": both, "model.potential": base},
            "scratch-50": {"data.train": few, **training},
            "scratch-600": {"data.train": (runs / "train.xyz").resolve()},
        }
        for name in options.names:
            study = Study(HERE, runs, {"": runs / "test.xyz", "DFT": runs / "dft-test.xyz"}, RMSE)
            seeds = {"data.split_seed": seed, "training.seed": seed}
            config = CONFIGS.get(name, "recipe")
            train(study, name, config, {**sets[name], **seeds}, keep=seed == 0)
    if options.table:
        print(table(HERE, NAMES, COLUMNS))


def prepare(data: Path, runs: Path) -> None:
    """The frames of both levels, to train on and held out, each with its level as head."""
    if (runs / "dft-test.xyz").exists():
        return
    split(data / "train.xyz", runs)
    for name in ("train.xyz", "test.xyz"):
        write(runs / name, [of_head(frame, "ccsdt") for frame in jmlip.read(runs / name)])
    for name, source in {"dft.xyz": "train.xyz", "dft-test.xyz": "test.xyz"}.items():
        frames = jmlip.read(data.parent / "ethanol" / source)
        write(runs / name, [of_head(frame, "dft") for frame in frames])


def of_head(frame: jmlip.Structure, head: str) -> jmlip.Structure:
    """The frame, which names its level."""
    return frame.replace(info={**frame.info, "head": head})


def few_frames(runs: Path, seed: int) -> Path:
    """Some of the frames to train on, with a weight for where they stand beside many of DFT."""
    frames = jmlip.read(runs / "train.xyz")
    chosen = np.random.default_rng(seed).choice(len(frames), FEW, replace=False)
    path = runs / f"few-seed{seed}.xyz"
    write(path, [weighted(frames[k]) for k in sorted(chosen)])
    return path.resolve()


def weighted(frame: jmlip.Structure) -> jmlip.Structure:
    """The frame, whose labels count for several."""
    arrays = {
        **frame.info.get("arrays", {}),
        "forces_weight": np.full(frame.n_atoms, WEIGHT_OF_FEW),
    }
    return frame.replace(info={**frame.info, "energy_weight": WEIGHT_OF_FEW, "arrays": arrays})


if __name__ == "__main__":
    main()
