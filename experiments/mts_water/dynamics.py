"""Dynamics of liquid water with the trained models: one time step against two, and the speed-up.

    python -m experiments.mts_water.dynamics --tables averages
    python -m experiments.mts_water.dynamics [averages] [forces] [speed]

runs what is missing (a case with a row in dynamics-tables.json, or without `--tables` in
dynamics.json, is not run again) and prints the tables.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from experiments.pair_dynamics import run
from experiments.two_time_steps import Course, Row
from jmlip.analysis.correlation import choose_lags
from jmlip.analysis.displacement import diffusion_constants, mean_squared_displacement, unwrapped
from jmlip.analysis.radial import radial_distributions
from jmlip.data.trajectory_reading import read_trajectory

COURSE = Course(
    temperature_K=330.0,
    timestep_fs=0.5,
    nvt_ps=18.0,
    nve_ps=2.0,
    equilibration_ps=3.0,
    every_fs=24.0,
    friction_per_ps=2.0,
    n_every_step=500,
    n_speed=240,
)
LEAST = 0.05  # of g, where bins are compared: rarer distances have no error
OXYGEN, HYDROGEN = 8, 1
PAIRS = {"OO": (OXYGEN, OXYGEN), "OH": (OXYGEN, HYDROGEN), "HH": (HYDROGEN, HYDROGEN)}


def structure_and_diffusion(path: Path, course: Course) -> Row:
    """Radial distributions with their errors, and the diffusion constant of oxygen, 1e-9 m^2/s."""
    late = read_trajectory(path).select(skip_ps=course.equilibration_ps)
    found = radial_distributions(late.structures(), list(PAIRS.values()), r_max=6.0, n_bins=120)
    rdf = {name: [list(map(float, row)) for row in found[pair][:3]] for name, pair in PAIRS.items()}
    lag = late.timestep_ps * np.arange(choose_lags(late.n_frames, late.n_frames // 8))
    group = (late.species == OXYGEN).astype(int)
    portions = unwrapped(late.positions.by_atoms(), late.cell, late.pbc)
    _, oxygen = diffusion_constants(lag, mean_squared_displacement(portions, group, len(lag)))
    return {"rdf": rdf, "diffusion": [10.0 * x for x in oxygen.constant]}


def agreement(rows: Sequence[Row]) -> str:
    """How far radial distributions with two time steps are from those of the same sum with one.

    And how far those of the pair are from those of the large model alone, another potential.
    """
    by_name, lines = {row["name"]: row for row in rows}, []
    for name, row in by_name.items():
        if name == "large alone":
            continue
        one = by_name["pair, one step" if name.startswith("pair, n") else "large alone"]
        for pair in PAIRS:
            (r, g, error), (_, h, own) = (np.array(each["rdf"][pair]) for each in (one, row))
            there = np.maximum(g, h) > LEAST
            difference, width = np.abs(h - g)[there], np.hypot(error, own)[there]
            worst = int(np.argmax(difference))
            lines.append(
                f"{name}, {pair}: largest |dg| {difference[worst]:.3f} ± {width[worst]:.3f} at "
                f"{r[there][worst]:.2f} angstrom; {(difference < 2.0 * width).mean():.0%} of the "
                "bins within two standard errors"
            )
    return "\n".join(lines)


if __name__ == "__main__":
    folder = Path(__file__).parent
    run(
        __doc__ or "",
        folder,
        COURSE,
        inner_steps=(4, 5, 6),
        inside={"small": (4,), "distilled": (4,)},
        more=structure_and_diffusion,
        summary=agreement,
    )
