"""Train a HIP-NN on energies, and on energies and forces by each way of the gradient.

    python -m experiments.force_training.run energies jvp --seeds 0 1
    python -m experiments.force_training.run --table    the table, from results.json

The data are dataset_acac of github.com/davkovacs/BOTNet-datasets.
"""

from pathlib import Path

from experiments.study import Study, arguments, record, table, train

HERE = Path(__file__).parent
RUNS = ["energies", "double_backward", "jvp", "finite_difference"]
COLUMNS = {"300 K energy": 1, "300 K force": 1, "600 K energy": 1, "600 K force": 1, "seconds": 0}


def main() -> None:
    parser = arguments(__doc__ or "", HERE, "acac")
    parser.add_argument("names", nargs="*", metavar="RUN", help=", ".join(RUNS))
    options = parser.parse_args()
    if unknown := set(options.names) - set(RUNS):
        parser.error(f"unknown {', '.join(sorted(unknown))}: choose from {', '.join(RUNS)}")
    data = options.data.resolve()
    tests = {"300 K": data / "test_300K.xyz", "600 K": data / "train_600K.xyz"}
    errors = {"energy": "energy_rmse_meV", "force": "forces_rmse_meV_A"}
    study = Study(HERE, options.runs, tests, errors)
    for seed in options.seeds:
        sets = {
            "data.train": data / "train_300K.xyz",
            "data.test": data / "test_300K.xyz",
            "data.split_seed": seed,
            "training.seed": seed,
        }
        for name in options.names:
            change = {"loss.forces": "{weight=1.0}", "training.force_gradient": name}
            change = {} if name == "energies" else change
            row = train(study, name, "recipe", {**sets, **change}, keep=False)
            record(HERE, row | {"seconds": round(60.0 * row["minutes"], 1)})
    if options.table:
        print(table(HERE, RUNS, COLUMNS))


if __name__ == "__main__":
    main()
