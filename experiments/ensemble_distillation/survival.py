"""How long ethanol stays ethanol in hot dynamics with teachers and with students of four.

    python -m experiments.ensemble_distillation.survival

Langevin dynamics from a frame of the data, 0.5 fs, 10 ps, 16 replicas at each temperature for each
committed potential. A replica survives while every bond of the start is shorter than twice its
length there, no two atoms are nearer than 0.5 angstrom, and all numbers are finite.
"""

import argparse
import json
import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from ase.data import covalent_radii

import jmlip
from experiments.study import SHARED
from jmlip.core import units
from jmlip.core.structure import Structure
from jmlip.md.forces import allocate_neighbors, make_force_fn
from jmlip.md.integrators import make_langevin
from jmlip.md.velocities import masses, maxwell_boltzmann
from jmlip.potentials.potential import Potential

HERE = Path(__file__).parent
TEMPERATURES = (300.0, 600.0, 1000.0)
REPLICAS, LOOKS, STEPS_BETWEEN = 16, 1000, 20
DT, FRICTION = 0.5 * units.FS, 5.0 / units.PS
ALL_PAIRS = 100.0
"""Angstrom beyond the cutoff: the list holds all pairs, however far atoms fly."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    place = Path(os.environ.get("JMLIP_DATA", SHARED)) / "ethanol_ccsdt" / "train.xyz"
    parser.add_argument("--data", type=Path, default=place)
    options = parser.parse_args()
    start, found = jmlip.read(options.data, index=0)[0], {}
    for path in sorted((HERE / "potentials").iterdir()):
        found[path.name] = survival(jmlip.load_potential(path), start)
        print(path.name, *(f"{fraction:.2f}" for fraction in found[path.name]), flush=True)
    (HERE / "survival.json").write_text(json.dumps(found, indent=1) + "\n")
    for kind in ("teacher", "student"):
        rows = np.array([row for name, row in found.items() if name.startswith(kind)])
        spread = rows.std(axis=0, ddof=1) / np.sqrt(len(rows))
        cells = [f"{m:.2f} ± {s:.2f}" for m, s in zip(rows.mean(axis=0), spread, strict=True)]
        print(f"| {kind} | {len(rows)} | " + " | ".join(cells) + " |")


def survival(potential: Potential, start: Structure) -> list[float]:
    """Share of the replicas that survive, at every temperature."""
    force_fn = make_force_fn(potential, start, dtype="float32", skin=None)
    positions = jnp.asarray(start.positions, jnp.float32)
    cell, mass = jnp.zeros((3, 3)), jnp.asarray(masses(start), jnp.float32)
    neighbors = allocate_neighbors(potential, start, positions, cell, skin=ALL_PAIRS)
    sound = soundness(start)

    def one(key, kT):
        integrator = make_langevin(force_fn, dt=DT, kT=kT, friction=FRICTION)
        momentum_key, noise_key = jax.random.split(key)
        momenta = maxwell_boltzmann(mass, kT=kT, key=momentum_key)
        state = integrator.init(positions, momenta, mass, cell, (neighbors,), noise_key)

        def look(state, _):
            state = jax.lax.fori_loop(0, STEPS_BETWEEN, lambda _, s: integrator.step(s), state)
            return state, sound(state.dynamics.position)

        return jax.lax.scan(look, state, length=LOOKS)[1].all()

    every = jax.jit(jax.vmap(one, (0, None)))
    keys = jax.random.split(jax.random.key(0), REPLICAS)
    return [float(every(keys, units.KELVIN * T).mean()) for T in TEMPERATURES]


def soundness(start: Structure):
    """Whether positions are still those of the molecule."""
    away = lambda x: np.linalg.norm(x[:, None] - x[None], axis=-1) + 10.0 * np.eye(len(x))
    first, radii = away(start.positions), covalent_radii[start.species]
    bonded = jnp.asarray(first < 1.25 * (radii[:, None] + radii[None]))
    longest = jnp.asarray(2.0 * first, jnp.float32)

    def sound(x):
        squared = jnp.sum((x[:, None] - x[None]) ** 2, axis=-1) + 100.0 * jnp.eye(len(x))
        whole = jnp.all(jnp.where(bonded, squared < longest**2, True))
        return whole & jnp.all(squared > 0.25) & jnp.all(jnp.isfinite(x))

    return sound


if __name__ == "__main__":
    main()
