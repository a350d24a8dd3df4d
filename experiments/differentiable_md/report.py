"""Tables and the picture of the README, from results.json."""

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from experiments.differentiable_md.liquid import TRUE
from experiments.study import results


def tables(folder: Path) -> str:
    rows = results(folder)
    of = lambda name: [row for row in rows if row["name"] == name]
    return "\n\n".join(
        ("\n".join(_structure(of("structure"))), "\n".join(_diffusion(of("diffusion"))))
    )


def _structure(rows: list[dict[str, Any]]) -> list[str]:
    lines = _head(
        "from g(r)",
        "ε, meV",
        "\N{GREEK SMALL LETTER SIGMA}, Å",
        "n",
        "χ² of g at the start",
        "χ² at the end",
        "minutes",
    )
    for row in rows:
        lines.append(
            f"| seed {row['seed']} | {1e3 * row['epsilon']:.2f} | {row['sigma']:.3f} | "
            f"{row['n']:.2f} | {row['chi_square_start']:.0f} | {row['chi_square']:.2f} | "
            f"{row['minutes']:.1f} |"
        )
    scales = (("epsilon", 1e3, 2), ("sigma", 1, 3), ("n", 1, 2))
    means = [_spread([scale * row[name] for row in rows], digits) for name, scale, digits in scales]
    targets = [f"{scale * TRUE[name]:.{digits}f}" for name, scale, digits in scales]
    return [
        *lines,
        f"| mean | {' | '.join(means)} | | | |",
        f"| target | {' | '.join(targets)} | | | |",
    ]


def _diffusion(rows: list[dict[str, Any]]) -> list[str]:
    names = ("from D", "ε, meV", "D at the start", "D learned", "D of the target")
    lines = _head(*names, "d ln D / d ln ε", "minutes")
    for row in rows:
        pairs = " | ".join(
            f"{row[key]:.4f} ± {row[key + '_error']:.4f}" for key in ("D_start", "D", "D_target")
        )
        lines.append(
            f"| seed {row['seed']} | {1e3 * row['epsilon']:.2f} | {pairs} | "
            f"{row['slope']:.2f} ± {row['slope_error']:.2f} | {row['minutes']:.1f} |"
        )
    mean = _spread([1e3 * row["epsilon"] for row in rows], 2)
    return [
        *lines,
        f"| mean | {mean} | | | | | |",
        f"| target | {1e3 * TRUE['epsilon']:.2f} | | | | | |",
    ]


def _head(*names: str) -> list[str]:
    return ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]


def _spread(values: list[float], digits: int) -> str:
    error = np.std(values, ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.nan
    return f"{np.mean(values):.{digits}f} ± {error:.{digits}f}"


def draw(folder: Path) -> None:
    """learning.png: g(r) before and after, and both learning curves."""
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(10, 3), layout="constrained")
    rows = [row for row in results(folder) if row["name"] == "structure"]
    for row in rows[:1]:
        left.plot(row["r"], row["g_start"], "C1--", label="start")
        left.plot(row["r"], row["g_target"], "k", label="target")
        left.plot(row["r"], row["g"], "C0:", lw=2.5, label="learned")
        left.set(xlabel="r (Å)", ylabel="g(r)")
        left.legend()
    for row in rows:
        relative = np.array(row["path"]) / np.array(list(TRUE.values()))
        for k, name in enumerate(("ε", "\N{GREEK SMALL LETTER SIGMA}", "n")):
            middle.plot(relative[:, k], f"C{k}", lw=1, label=name if row is rows[0] else None)
    middle.axhline(1.0, color="k", lw=0.5)
    middle.set(xlabel="iteration", ylabel="parameter / target", title="from g(r)")
    middle.legend()
    for row in (row for row in results(folder) if row["name"] == "diffusion"):
        right.plot(np.array(row["path"]) / TRUE["epsilon"], "C0", lw=1)
        right.plot(np.array(row["found"]) / row["D_target"], "C3", lw=1)
    right.axhline(1.0, color="k", lw=0.5)
    right.set(xlabel="iteration", ylabel="ε (blue) and D (red) / target", title="from diffusion")
    figure.savefig(folder / "learning.png", dpi=120)
