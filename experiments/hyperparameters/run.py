"""Search the hyperparameters of a small HIP-NN with Optuna, and compare the best with the recipe.

    python -m experiments.hyperparameters.run --trials 8
    python -m experiments.hyperparameters.run --compare --seeds 0 1 2 3

Trials are kept in a database in the folder of the runs: the command goes on with them. The data are
ethanol at CCSD(T)/cc-pVTZ; the search sees the validation part of the frames to train on, the
comparison is on frames held out from both.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import optuna

from experiments.ensemble_distillation.run import split
from experiments.study import RMSE, Study, arguments, command, paired, table, train

HERE = Path(__file__).parent
COLUMNS = {"energy": 1, "force": 1}


def main() -> None:
    parser = arguments(__doc__ or "", HERE, data="ethanol_ccsdt")
    parser.add_argument("--trials", type=int, default=0, help="how many there shall be in all")
    parser.add_argument("--compare", action="store_true", help="train the best with other seeds")
    options = parser.parse_args()
    split(options.data / "train.xyz", options.runs)
    sets = {"data.train": (options.runs / "train.xyz").resolve()}
    search = optuna.create_study(
        study_name="hipnn",
        storage=f"sqlite:///{options.runs / 'trials.db'}",
        sampler=optuna.samplers.TPESampler(seed=0),
        load_if_exists=True,
    )
    missing = options.trials - len(search.get_trials(states=[optuna.trial.TrialState.COMPLETE]))
    if missing > 0:
        search.optimize(lambda trial: _validation_error(trial, options.runs, sets), missing)
    found = {key: _word(value) for key, value in search.best_params.items()}
    if options.compare:
        study = Study(HERE, options.runs, {"": options.runs / "test.xyz"}, RMSE)
        for seed in options.seeds:
            seeds = {"data.split_seed": seed, "training.seed": seed}
            train(study, "recipe", "recipe", {**sets, **seeds}, keep=False)
            train(study, "found", "recipe", {**sets, **seeds, **found}, keep=seed == 0)
    print(f"{len(search.trials)} trials; best {search.best_value:.1f} meV/angstrom with {found}")
    print(table(HERE, ["recipe", "found"], COLUMNS))
    print(paired(HERE, "found", "recipe", COLUMNS))


def _validation_error(trial: optuna.Trial, runs: Path, sets: dict[str, Any]) -> float:
    """Force RMSE of the validation part, meV/angstrom."""
    asked = {
        "optimizer.learning_rate": trial.suggest_float(
            "optimizer.learning_rate", 1e-3, 3e-2, log=True
        ),
        "training.batch_size": trial.suggest_categorical("training.batch_size", [5, 10, 20]),
        "loss.energy.weight": trial.suggest_float("loss.energy.weight", 0.1, 10.0, log=True),
        "model.n_sensitivities": trial.suggest_int("model.n_sensitivities", 6, 20, step=2),
        "model.cutoff": trial.suggest_float("model.cutoff", 3.5, 6.0, step=0.5),
        "model.max_rank": trial.suggest_categorical("model.max_rank", [0, 1, 2]),
    }
    run = runs / f"trial-{trial.number}"
    command("train", HERE / "recipe.toml", run, {**sets, **asked})
    return json.loads((run / "summary.json").read_text())["best"]


def _word(value: Any) -> Any:
    return float(np.format_float_scientific(value, 2)) if isinstance(value, float) else value


if __name__ == "__main__":
    main()
