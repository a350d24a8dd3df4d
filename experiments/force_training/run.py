"""Train a HIP-NN on energies, and on energies and forces by each way of the gradient.

    python -m experiments.force_training.run energies jvp --seeds 0 1
    python -m experiments.force_training.run --table    the table, from results.json

The data are dataset_acac of github.com/davkovacs/BOTNet-datasets.
"""

from pathlib import Path

from experiments.acac.run import COLUMNS, frames_of, study_of
from experiments.study import arguments, one_of, table, train

HERE = Path(__file__).parent
RUNS = ["energies", "double_backward", "jvp", "finite_difference"]


def main() -> None:
    parser = arguments(__doc__ or "", HERE, "acac")
    parser.add_argument("names", nargs="*", type=one_of(RUNS), help=", ".join(RUNS))
    options = parser.parse_args()
    study = study_of(HERE, options)
    for seed in options.seeds:
        for name in options.names:
            change = {"loss.forces": "{weight=1.0}", "training.force_gradient": name}
            change = {} if name == "energies" else change
            train(study, name, "recipe", {**frames_of(options, seed), **change}, keep=False)
    if options.table:
        print(table(HERE, RUNS, COLUMNS))


if __name__ == "__main__":
    main()
