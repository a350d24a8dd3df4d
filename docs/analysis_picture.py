"""Picture of `analysis.md`: silicon at two temperatures.

    python docs/analysis_picture.py 300K.h5md 1200K.h5md

The trajectories are those of

    jmlip md experiments/mlearn/potentials/Si-mace-seed0 si.xyz --ensemble csvr --tau-fs 200 \
          --temperature-K 300 --timestep-fs 2 --steps 5000 --every 5 --out 300K.h5md

and the same at 1200 K, from 2 x 2 x 2 cubic cells of ASE's `bulk("Si")`, rattled by 0.02.
"""

import sys
from pathlib import Path

from jmlip.cli.analyse_motion import vibration
from jmlip.cli.analyse_output import Curve, Result, draw
from jmlip.cli.analyse_structure import radial
from jmlip.cli.parser import parse
from jmlip.data.trajectory_reading import read_trajectory


def main(paths: list[str]) -> None:
    options = parse(["analyse", *paths, "--rdf", "--spectrum", "--max-lag-ps", "1", "--out", "x"])
    runs = {Path(p).stem: read_trajectory(p).select(skip_ps=1.0) for p in paths}
    (rdf,), (spectrum,) = radial(runs, options), vibration(runs, options)
    picture = Result(name="analysis", header=())
    picture.panels["g(r) against distance, Å"] = rdf.panels["Si-Si"]
    picture.panels["density of states against 1/cm"] = {
        name: Curve(*(column[curve.x < 700.0] for column in curve))
        for name, curve in spectrum.panels["Si"].items()
    }
    draw(picture).savefig(
        Path(__file__).parent / "images" / "analysis.svg", metadata={"Date": None}
    )


if __name__ == "__main__":
    main(sys.argv[1:])
