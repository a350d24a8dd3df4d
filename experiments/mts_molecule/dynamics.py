"""Dynamics of aspirin with the trained models: one time step against two, and the speed-up.

    python -m experiments.mts_molecule.dynamics [averages] [forces] [speed]

runs what is missing (a case with a row in dynamics.json is not run again) and prints the tables.
"""

from pathlib import Path

from experiments.pair_dynamics import run
from experiments.two_time_steps import Course

COURSE = Course(
    temperature_K=300.0,
    timestep_fs=0.5,
    nvt_ps=15.0,
    nve_ps=5.0,
    equilibration_ps=1.0,
    every_fs=12.0,
)

if __name__ == "__main__":
    folder = Path(__file__).parent
    run(__doc__ or "", folder, COURSE, inner_steps=(2, 4, 6, 8), inside={"small": (4, 6)})
