"""Draw what dynamics-tables.json and speed.json say: radial distributions and speeds.

python -m experiments.mts_water.figure docs/images/mts-water.svg
"""

import json
import sys
from pathlib import Path

import numpy as np
from matplotlib import rcParams
from matplotlib.figure import Figure

HERE = Path(__file__).parent


def main(out: str) -> None:
    read = lambda name: json.loads((HERE / f"{name}.json").read_text())
    rcParams["svg.hashsalt"] = "jmlip"  # the same file from the same numbers
    figure = Figure(figsize=(8, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    radial(left, read("dynamics-tables"))
    speeds(right, *read("speed"))
    figure.savefig(out, metadata={"Date": None})


def radial(axes, rows) -> None:
    for row in rows:
        for pair, shift in (("OO", 2.0), ("OH", 0.0)):
            r, g, _ = np.array(row["rdf"][pair])
            label = row["name"] if pair == "OO" else None
            color = f"C{rows.index(row)}"
            axes.plot(r, np.minimum(g, 3.5) + shift, color=color, lw=1, label=label)
    axes.set(xlim=(1.2, 6.0), ylim=(0, 6.5), xlabel="distance, Å", ylabel="g(r), O-O above O-H")
    axes.legend(fontsize=7, frameon=False)


def speeds(axes, speed) -> None:
    names = list(speed)
    factors = [speed["large alone"] / speed[name] for name in names]
    axes.barh(names[::-1], factors[::-1], color="C0")
    axes.axvline(1.0, color="0.6", lw=0.8)
    axes.set(xlabel="speed, large alone = 1")
    axes.tick_params(axis="y", labelsize=7)


if __name__ == "__main__":
    main(sys.argv[1])
