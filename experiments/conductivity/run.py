"""Thermal conductivity of solid argon at 70 K, as in the documentation of LAMMPS.

    python -m experiments.conductivity.run --seeds 0
    python -m experiments.conductivity.run --table

256 atoms, face-centred cubic with 5.376 angstrom, Lennard-Jones. Equilibrated by CSVR, then NVE;
a frame every 40 fs, correlations up to 8 ps.
"""

from pathlib import Path

import jax
import numpy as np
from ase.build import bulk
from rich.progress import track

import jmlip
from experiments.study import arguments, record, results
from jmlip.analysis.conductivity import flux_autocorrelation, thermal_conductivity
from jmlip.analysis.thermodynamics import degrees_of_freedom
from jmlip.core import units
from jmlip.data import from_atoms
from jmlip.factory import make_model
from jmlip.md.config import MDConfig
from jmlip.md.heat_flux import heat_flux
from jmlip.md.simulate import simulate
from jmlip.md.velocities import masses
from jmlip.potentials.potential import Potential, initial_potential

HERE = Path(__file__).parent
FIELDS = {"species": [18], "cutoff": 8.5, "epsilon": 0.010325, "sigma": 3.405}
TEMPERATURE_K, TIMESTEP_FS, EVERY, N_LAGS = 70.0, 4.0, 10, 201
EQUILIBRATION, STEPS = 5000, 50_000


def main() -> None:
    parser = arguments(__doc__ or "", HERE)
    options = parser.parse_args()
    for seed in () if options.table else options.seeds:
        row = {"name": "argon", "seed": seed, **conductivity(options.runs / f"seed{seed}", seed)}
        record(HERE, row)
        print(row)
    for row in results(HERE) if options.table else ():
        print(row)
    found = [row["kappa"] for row in results(HERE)]
    if len(found) > 1:
        error = np.std(found, ddof=1) / np.sqrt(len(found))
        print(f"{len(found)} seeds: {np.mean(found):.3f} ± {error:.3f} W/(m K)")


def potential() -> Potential:
    model = make_model("lennard-jones", FIELDS)
    return initial_potential(
        "lennard-jones", model, key=jax.random.key(0), reference_energies=(0.0,)
    )


def conductivity(run: Path, seed: int) -> dict[str, float]:
    """kappa of one run, its error from blocks, and the temperature."""
    run.mkdir(parents=True, exist_ok=True)
    start = from_atoms(bulk("Ar", "fcc", a=5.376, cubic=True) * (4, 4, 4))
    common = {"timestep_fs": TIMESTEP_FS, "seed": seed}
    warm = MDConfig(
        ensemble="csvr", temperature_K=TEMPERATURE_K, n_steps=EQUILIBRATION, every=EQUILIBRATION,
        **common,
    )  # fmt: skip
    simulate(potential(), start, warm, run / "warm.xyz", restart=True)
    (start,) = jmlip.read(run / "warm.xyz", index=-1)
    alone = MDConfig(ensemble="nve", n_steps=STEPS, every=EVERY, **common)
    simulate(potential(), start, alone, run / "nve.xyz", restart=True)
    frames = jmlip.read(run / "nve.xyz")
    found = flux_autocorrelation(heat_flux(potential(), track(frames, "heat flux")).total, N_LAGS)
    mass, n = masses(start), start.n_atoms
    twice = np.mean([np.sum(mass * frame.velocities**2) for frame in frames])
    kelvin = float(twice / (degrees_of_freedom(n) * units.KELVIN))
    kappa = thermal_conductivity(
        found, timestep_ps=EVERY * TIMESTEP_FS / 1000.0, volume=start.volume, temperature_K=kelvin
    )
    return {
        "kappa": float(kappa.value[0, -1]),
        "error": float(kappa.error[0, -1]),
        "temperature_K": kelvin,
    }


if __name__ == "__main__":
    main()
