"""Table and figure of `models.md`, from what experiments and benchmarks have left.

    python docs/model_table.py

rewrites what stands between `<!-- models -->` or `<!-- sizes -->` and `<!-- end -->`, and
images/models.svg.

Errors are those of experiments/acac (force RMSE at 300 and 600 K, one recipe for all, size S, one
seed), times those of benchmarks/sizes.json (energy and forces, two cores).
"""

import json
import re
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt

from jmlip.models.sizes import SIZES
from jmlip.training.plots import STYLE

HERE = Path(__file__).parent
ROOT = HERE.parent
BLOCK = re.compile(r"(<!-- (models|sizes) -->\n).*?(<!-- end -->)", re.DOTALL)


def rows() -> list[dict[str, Any]]:
    """One for each model that was trained: errors, and microseconds for each atom."""
    errors = json.loads((ROOT / "experiments" / "acac" / "results.json").read_text())
    times = json.loads((ROOT / "benchmarks" / "sizes.json").read_text())
    found = []
    for time in times:
        name = f"{time['kind']} {time['size']}"
        match = [row for row in errors if row["name"] == name]
        found += [{**time, **match[0]}] if match else []
    return sorted(found, key=lambda row: row["300 K force"])


def table() -> str:
    lines = [
        "| model | parameters | 300 K energy | 300 K force | 600 K energy | 600 K force "
        "| training, minutes | molecules, µs/atom | silicon, µs/atom |",
        "|" + "---|" * 9,
    ]
    keys = ("300 K energy", "300 K force", "600 K energy", "600 K force")
    for row in rows():
        cells = [row["name"], f"{row['parameters']:,}", *(f"{row[key]:.1f}" for key in keys)]
        cells += [f"{row['minutes']:.0f}", f"{row['acac']:.0f}", f"{row['Si']:.0f}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def sizes() -> str:
    """Fields that each size stands for."""
    lines = ["| kind | S | M | L |", "|---|---|---|---|"]
    for kind, each in SIZES.items():
        cells = [", ".join(f"`{k}` {v}" for k, v in each[size].items()) for size in "SML"]
        lines.append(f"| `{kind}` | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def draw(path: Path) -> None:
    """Force error against time, and those that no other beats in both."""
    found = sorted(rows(), key=lambda row: row["acac"])
    best, front = float("inf"), []
    for row in found:
        if row["300 K force"] < best:
            best = row["300 K force"]
            front.append(row)
    with plt.rc_context({**STYLE, "svg.hashsalt": "models"}):
        figure, axes = plt.subplots(figsize=(6.0, 3.6), layout="constrained")
        x, y = "acac", "300 K force"
        axes.plot([row[x] for row in front], [row[y] for row in front], color="0.8", zorder=1)
        axes.scatter([row[x] for row in found], [row[y] for row in found], s=28, zorder=2)
        for row in found:
            place = {"xytext": (5, 4), "textcoords": "offset points"}
            axes.annotate(row["name"], (row[x], row[y]), fontsize=8, **place)
        axes.set(xscale="log", yscale="log", xlabel="energy and forces, µs/atom")
        axes.set_ylabel("force RMSE at 300 K, meV/Å")
        axes.set_xticks([10, 20, 30, 50], ["10", "20", "30", "50"])
        axes.set_yticks([15, 20, 30, 40], ["15", "20", "30", "40"])
        axes.minorticks_off()
        axes.set_xlim(right=70)
        figure.savefig(path, metadata={"Date": None})
        plt.close(figure)


if __name__ == "__main__":
    page = HERE / "models.md"
    text = page.read_text(encoding="utf-8")
    tables = {"models": table(), "sizes": sizes()}
    page.write_text(BLOCK.sub(lambda m: m[1] + tables[m[2]] + m[3], text), encoding="utf-8")
    draw(HERE / "images" / "models.svg")
