"""Learn the parameters of a liquid's pair potential from what is seen of the liquid.

    python -m experiments.differentiable_md.run structure --seeds 0 1 2
    python -m experiments.differentiable_md.run diffusion --seeds 0 1 2
    python -m experiments.differentiable_md.run --table --picture

`structure`: all three parameters from the radial distribution function, by reweighting samples.
`diffusion`: the well depth from the diffusion constant, by reweighting the initial states and
differentiating the trajectories that start from them.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

from experiments.differentiable_md import diffusion, report, structure

HERE = Path(__file__).parent
EXPERIMENTS = {"structure": structure.learn, "diffusion": diffusion.learn}


def record(row: dict[str, Any]) -> None:
    """Put a row into results.json, in place of an older one of that name and seed."""
    key = lambda row: (row["name"], row["seed"])
    rows = [old for old in report.results(HERE) if key(old) != key(row)] + [row]
    text = json.dumps(sorted(rows, key=key), indent=1) + "\n"
    (HERE / "results.json").write_text(text)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="EXPERIMENT", help=" or ".join(EXPERIMENTS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--table", action="store_true", help="print the tables of the README")
    parser.add_argument("--picture", action="store_true", help="draw the picture of the README")
    options = parser.parse_args()
    if unknown := [name for name in options.names if name not in EXPERIMENTS]:
        parser.error(f"EXPERIMENT must be one of {', '.join(EXPERIMENTS)}, found {unknown[0]}")
    for name, seed in ((name, seed) for name in options.names for seed in options.seeds):
        begin = time.perf_counter()
        row = EXPERIMENTS[name](seed)
        minutes = (time.perf_counter() - begin) / 60.0
        record({"name": name, "seed": seed, "minutes": round(minutes, 2), **row})
    if options.table:
        print(report.tables(HERE))
    if options.picture:
        report.draw(HERE)


if __name__ == "__main__":
    main()
