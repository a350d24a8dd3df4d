"""Averages of liquid argon and of silicon against LAMMPS, block by block.

    python -m experiments.md_averages.run argon silicon      # all ensembles, then the tables
    python -m experiments.md_averages.run argon --ensembles csvr npt
    python -m experiments.md_averages.run --table

Means of blocks of every run stand in `results.json`, those of LAMMPS in `lammps.json`
(`with_lammps.py`); averages, errors and z-scores are computed from them by `compare.py`.
"""

import argparse
import dataclasses
import json
import tempfile
from pathlib import Path

import h5py
import jax
import numpy as np
from ase.build import bulk

from experiments.md_averages.compare import block_means, compare, tables
from experiments.study import one_of
from jmlip.core import units
from jmlip.core.structure import Structure
from jmlip.factory import make_model
from jmlip.md.config import MDConfig
from jmlip.md.simulate import simulate
from jmlip.md.velocities import maxwell_boltzmann
from jmlip.potentials.potential import Potential, initial_potential

HERE = Path(__file__).parent
SYSTEMS = json.loads((HERE / "systems.json").read_text())
KINDS = {
    "argon": ("lennard-jones", {"species": [18], "cutoff": 8.5}),
    "silicon": ("stillinger-weber", {"species": [14]}),
}
COMPRESSIBILITY = {"argon": 3.0, "silicon": 0.01}  # 1 / GPa, rough
RESCALING_FS = {"argon": 1000.0, "silicon": 100.0}  # what a stiff cell remembers is lost time
ENSEMBLES = ("nose-hoover", "langevin", "csvr", "npt", "npt rescaling")
EVERY = 10


def potential_of(name: str) -> Potential:
    kind, fields = KINDS[name]
    model = make_model(kind, fields)
    return initial_potential(kind, model, key=jax.random.key(0), reference_energies=(0.0,))


def start_of(name: str) -> Structure:
    """The crystal, at twice the temperature, half of which goes into the positions."""
    system = SYSTEMS[name]
    crystal = "fcc" if name == "argon" else "diamond"
    atoms = bulk("Ar" if name == "argon" else "Si", crystal, a=system["lattice_A"], cubic=True)
    atoms *= (system["cells"],) * 3
    mass = np.full((len(atoms), 1), system["mass_u"])
    kT = 2.0 * system["temperature_K"] * units.KELVIN
    momenta = maxwell_boltzmann(jax.numpy.asarray(mass), kT=kT, key=jax.random.key(17))
    return Structure(
        species=atoms.numbers,
        positions=atoms.positions,
        velocities=np.asarray(momenta) / mass,
        cell=atoms.cell.array,
        pbc=[True] * 3,
        info={"arrays": {"masses": mass[:, 0]}},
    )


def config_of(name: str, ensemble: str, n_steps: int) -> MDConfig:
    system = SYSTEMS[name]
    config = MDConfig(
        ensemble="nose-hoover",
        temperature_K=system["temperature_K"],
        timestep_fs=system["timestep_fs"],
        n_steps=system["equilibration_steps"] + n_steps,
        every=EVERY,
        seed=3,
    )
    if not ensemble.startswith("npt"):
        return dataclasses.replace(config, ensemble=ensemble)
    barostat = {"pressure_GPa": system["pressure_GPa"], "tau_barostat_fs": 1000.0}
    if ensemble == "npt rescaling":
        barostat |= {
            "barostat": "rescaling",
            "compressibility_per_GPa": COMPRESSIBILITY[name],
            "tau_barostat_fs": RESCALING_FS[name],
        }
    return dataclasses.replace(config, ensemble="npt", **barostat)


def run(name: str, ensemble: str, n_steps: int) -> dict:
    """One run: means of its blocks, and how it went."""
    config = config_of(name, ensemble, n_steps)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.h5md"
        result = simulate(potential_of(name), start_of(name), config, path)
        means = means_of(path, name, n_steps)
    return {
        **means,
        "n_steps": n_steps,
        "drift_meV_per_atom_ps": result.drift_meV_per_atom_ps,
        "moves_taken": result.moves_taken,
    }


def means_of(path: Path, name: str, n_steps: int) -> dict:
    """Means of blocks of the steps after equilibration."""
    system = SYSTEMS[name]
    with h5py.File(path) as file:
        of = lambda key: np.array(file[f"observables/{key}/value"], np.float64)
        energy = of("potential_energy") + of("kinetic_energy")
        cell = np.array(file["particles/trajectory/box/edges/value"], np.float64)
        temperature, pressure = of("temperature_K"), of("pressure_GPa")
    first = system["equilibration_steps"] // EVERY + 1
    kept = slice(first, first + n_steps // EVERY)
    density = system["atoms"] / np.abs(np.linalg.det(cell))
    return block_means(
        temperature[kept], pressure[kept], density[kept], energy[kept] / system["atoms"]
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("systems", nargs="*", type=one_of(SYSTEMS), help=", ".join(SYSTEMS))
    parser.add_argument("--ensembles", nargs="+", choices=ENSEMBLES, default=ENSEMBLES)
    parser.add_argument("--steps", type=int, default=40_000, help="after equilibration")
    parser.add_argument("--table", action="store_true", help="print the tables of the README")
    options = parser.parse_args()
    for name in options.systems:
        for ensemble in options.ensembles:
            row, path = run(name, ensemble, options.steps), HERE / "results.json"
            rows = json.loads(path.read_text()) if path.exists() else {}
            path.write_text(json.dumps(rows | {f"{name} {ensemble}": row}, indent=1) + "\n")
    print(tables(compare()))


if __name__ == "__main__":
    main()
