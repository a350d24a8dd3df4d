"""Draw what results.json says: errors against the number of frames of the new level.

python -m experiments.fine_tuning.figure docs/images/fine-tuning.svg
"""

import sys
from pathlib import Path

import numpy as np
from matplotlib import rcParams
from matplotlib.figure import Figure

from experiments.study import results

HERE = Path(__file__).parent
QUANTITIES = {
    "force": "RMSE of forces, meV/Å",
    "energy": "RMSE of energies, meV",
}
CURVES = {
    "from scratch": {50: "scratch-50", 600: "scratch-600"},
    "from the DFT potential": {0: "base", 50: "tuned"},
}
"""Names of rows by number of frames."""


def main(out: str) -> None:
    rcParams["svg.hashsalt"] = "jmlip"  # the same file from the same numbers
    figure = Figure(figsize=(7, 3.0), layout="constrained")
    for axes, (quantity, label) in zip(figure.subplots(1, 2), QUANTITIES.items(), strict=True):
        for name, rows in CURVES.items():
            found = [errors(row, quantity) for row in rows.values()]
            mean, spread = [np.mean(e) for e in found], [np.std(e) for e in found]
            axes.errorbar([*rows], mean, spread, fmt="o-", capsize=3, ms=4, lw=1, label=name)
        axes.set(yscale="log", xlabel="CCSD(T) frames", ylabel=label)
        axes.set_xscale("symlog", linthresh=10)  # that has room for none
        axes.set(xlim=(-2, 900), ylim=(10, 600))
        axes.set_xticks([0, 50, 600], ["0", "50", "600"])
        axes.minorticks_off()
        ticks = [10, 20, 50, 100, 200, 400]
        axes.set_yticks(ticks, map(str, ticks))
    figure.axes[0].legend(fontsize=8, frameon=False)
    figure.savefig(out, metadata={"Date": None})


def errors(name: str, quantity: str) -> list[float]:
    """Of all seeds."""
    return [row[quantity] for row in results(HERE) if row["name"] == name]


if __name__ == "__main__":
    main(sys.argv[1])
