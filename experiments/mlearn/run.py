"""Train models on one element of mlearn, score them, and print the tables of the README.

    python -m experiments.mlearn.run Si --kinds mace allegro ani hipnn
    python -m experiments.mlearn.run Cu --kinds mace allegro
    python -m experiments.mlearn.run Si Cu --table

The data are those of Zuo et al., J. Phys. Chem. A 124, 731 (2020):
github.com/materialsvirtuallab/mlearn.
"""

from pathlib import Path

import jmlip
from experiments.mlearn.crystal import CRYSTALS, Constants, of_labels, of_potential
from experiments.study import Study, arguments, record, table, train

HERE = Path(__file__).parent
ERRORS = {
    "energy": "energy_per_atom_rmse_meV",
    "force": "forces_rmse_meV_A",
    "stress": "stress_rmse_meV_A3",
}
SIZES = {"mace": "S", "allegro": "S", "nequip": "S", "ani": "M", "hipnn": "M"}
COLUMNS = {"energy": 1, "force": 1, "stress": 2, "a": 3, "C11": 0, "C12": 0, "C44": 0}
OPTIONS = {"ani": {"model.angular_cutoff": 5.0}}
"""An ANI's angular functions see the second shell."""


def main() -> None:
    parser = arguments(__doc__ or "", HERE)
    parser.add_argument("elements", nargs="+", choices=[*CRYSTALS], metavar="ELEMENT")
    parser.add_argument("--kinds", nargs="+", choices=[*SIZES], default=[], metavar="KIND")
    options = parser.parse_args()
    for element in options.elements:
        files = [options.data.resolve() / f"{element}_{part}.xyz" for part in ("train", "test")]
        if absent := [path for path in files if not path.is_file()]:
            parser.error(f"--data must name the folder of mlearn, found no {absent[0]}")
        study = Study(HERE, options.runs, {"": files[1]}, ERRORS)
        for kind, seed in ((kind, seed) for kind in options.kinds for seed in options.seeds):
            sets = {
                "data.train": files[0],
                "data.test": files[1],
                "data.split_seed": seed,
                "training.seed": seed,
                "model.kind": kind,
                "model.size": SIZES[kind],
                **OPTIONS.get(kind, {}),
            }
            row = train(study, f"{element} {kind}", "recipe", sets, keep=True)
            kept = HERE / "potentials" / f"{element}-{kind}-seed{seed}"
            record(HERE, row | of_potential(jmlip.load_potential(kept), element)._asdict())
        if options.table:
            print(_shown(element, of_labels(files, element)))
            print(table(HERE, [f"{element} {kind}" for kind in SIZES], COLUMNS), end="\n\n")


def _shown(element: str, constants: Constants) -> str:
    numbers = [f"{n} {v:.{COLUMNS[n]}f}" for n, v in constants._asdict().items() if v is not None]
    return f"{element}, of the labels: {', '.join(numbers)}\n"


if __name__ == "__main__":
    main()
