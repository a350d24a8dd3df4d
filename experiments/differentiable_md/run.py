"""Learn the parameters of a liquid's pair potential from what is seen of the liquid.

    python -m experiments.differentiable_md.run structure --seeds 0 1 2
    python -m experiments.differentiable_md.run diffusion --seeds 0 1 2
    python -m experiments.differentiable_md.run --table --picture

`structure`: all three parameters from the radial distribution function, by reweighting samples.
`diffusion`: the well depth from the diffusion constant, by reweighting the initial states and
differentiating the trajectories that start from them.
"""

import argparse
import time
from pathlib import Path

from experiments.differentiable_md import diffusion, report, structure
from experiments.study import one_of, record

HERE = Path(__file__).parent
EXPERIMENTS = {"structure": structure.learn, "diffusion": diffusion.learn}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("names", nargs="*", type=one_of(EXPERIMENTS), help=" or ".join(EXPERIMENTS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--table", action="store_true", help="print the tables of the README")
    parser.add_argument("--picture", action="store_true", help="draw the picture of the README")
    options = parser.parse_args()
    for name, seed in ((name, seed) for name in options.names for seed in options.seeds):
        begin = time.perf_counter()
        row = EXPERIMENTS[name](seed)
        minutes = (time.perf_counter() - begin) / 60.0
        record(HERE, {"name": name, "seed": seed, "minutes": round(minutes, 2), **row})
    if options.table:
        print(report.tables(HERE))
    if options.picture:
        report.draw(HERE)


if __name__ == "__main__":
    main()
