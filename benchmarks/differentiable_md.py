"""Memory and time of the gradient of a trajectory against its length, by each method.

    python benchmarks/differentiable_md.py [--steps 64 128 ...] [--json FILE] [--table]

Argon-like crystal of 32 atoms with a small HIP-NN of random parameters, NVE, float64; the gradient
of the last kinetic energy with respect to all parameters. Memory is what the compiled program says
it needs for temporary arrays; time is that of the second call. Rows that the file holds already are
not measured again. With --one METHOD STEPS a process measures one row, and by how much its resident
memory grew. The slope is that of memory against steps, log-log, over the second half of the
lengths.
"""

import argparse
import dataclasses
import json
import resource
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from ase.build import bulk

from jmlip.analysis.lines import log_log_slope
from jmlip.core import units
from jmlip.data import from_atoms
from jmlip.factory import make_model
from jmlip.graphs.device_neighbors import allocate
from jmlip.md.checkpointed import checkpointed_scan, require_sound
from jmlip.md.forces import make_force_fn
from jmlip.md.integrators import make_nve
from jmlip.md.reversible import reversible_scan
from jmlip.md.state import kinetic_energy
from jmlip.md.velocities import masses, maxwell_boltzmann
from jmlip.potentials.potential import initial_potential

HERE = Path(__file__).parent
DT, SKIN = 2.0 * units.FS, 1.0
LARGEST = 4e9
"""Bytes beyond which a program is compiled but not run."""


def plain(forces, integrator, state, n_steps):
    del forces
    return jax.lax.scan(lambda s, _: (integrator.step(s), None), state, length=n_steps)[0]


def checkpointed(levels):
    def run(forces, integrator, state, n_steps):
        del forces
        return checkpointed_scan(integrator.step, state, n_steps, levels=levels)[0]

    return run


def reversible(forces, integrator, state, n_steps):
    del integrator
    return reversible_scan(forces, state, n_steps, dt=DT)[0]


METHODS = {
    "plain scan": plain,
    "checkpointed, 1 level": checkpointed(1),
    "checkpointed, 2 levels": checkpointed(2),
    "checkpointed, 3 levels": checkpointed(3),
    "reversible": reversible,
}


def gradient(method: str, n_steps: int):
    """A compiled gradient and its argument."""
    structure = from_atoms(bulk("Ar", "fcc", a=5.3, cubic=True) * (2, 2, 2))
    sizes = {"n_features": 8, "n_sensitivities": 8, "n_interactions": 1, "n_onsite": 1}
    model = make_model("hipnn", {"species": [18], "cutoff": 5.0, "r_high": 4.5, **sizes})
    potential = initial_potential("hipnn", model, key=jax.random.key(0), reference_energies=(0.0,))
    positions, cell = jnp.asarray(structure.positions), jnp.asarray(structure.cell)
    mass = jnp.asarray(masses(structure))
    momenta = maxwell_boltzmann(mass, kT=20.0 * units.KELVIN, key=jax.random.key(1))
    periodic, reach = (True, True, True), {"cutoff": potential.cutoff, "skin": SKIN}
    lists = (allocate(positions, cell, periodic, **reach, capacity_factor=1.6),)

    def outcome(params):
        changed = dataclasses.replace(potential, params=params)
        forces = make_force_fn(changed, structure, dtype="float64", skin=SKIN)
        integrator = make_nve(forces, dt=DT)
        state = integrator.init(positions, momenta, mass, cell, lists, jax.random.key(2))
        end = METHODS[method](forces, integrator, state, n_steps)
        return kinetic_energy(end.dynamics), end

    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, "float64"), potential.params)
    return jax.jit(jax.grad(outcome, has_aux=True)).lower(params).compile(), params


def measure(method: str, n_steps: int) -> dict:
    """One row, in this process."""
    with jax.enable_x64(True):
        program, params = gradient(method, n_steps)
        row = {
            "method": method,
            "steps": n_steps,
            "program_MB": program.memory_analysis().temp_size_in_bytes / 1e6,
        }
        if row["program_MB"] * 1e6 < LARGEST:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            jax.block_until_ready(program(params))
            row["resident_MB"] = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1e3
            begin = time.perf_counter()
            found, end = jax.block_until_ready(program(params))
            require_sound(end)
            row["seconds"] = time.perf_counter() - begin
            row["norm"] = float(sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(found)) ** 0.5)
    return row


def table(rows: list[dict]) -> str:
    steps = sorted({row["steps"] for row in rows})
    late = steps[len(steps) // 2 :]
    lines = ["| method | " + " | ".join(f"{n:,}" for n in steps) + " | slope | ms per step |"]
    lines.append("|" + "---|" * (len(steps) + 3))
    for method in METHODS:
        group = {row["steps"]: row for row in rows if row["method"] == method}
        if len(group) < len(steps):
            continue
        slope = log_log_slope(np.array(late), np.array([group[n]["program_MB"] for n in late]))
        timed = max((n for n in group if "seconds" in group[n]), default=None)
        ms = "" if timed is None else f"{1e3 * group[timed]['seconds'] / timed:.2f}"
        cells = " | ".join(f"{group[n]['program_MB']:.2f}" for n in steps)
        lines.append(f"| {method} | {cells} | {slope:.2f} | {ms} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    lengths = [32, 128, 512, 2048]
    parser.add_argument("--steps", nargs="+", type=int, default=lengths)
    parser.add_argument("--json", type=Path, default=HERE / "differentiable_md.json")
    parser.add_argument("--table", action="store_true", help="only print what the file holds")
    parser.add_argument("--one", nargs=2, metavar=("METHOD", "STEPS"), help="only this row")
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.one[0], int(options.one[1]))))
        return
    rows = json.loads(options.json.read_text()) if options.json.exists() else []
    done = {(row["method"], row["steps"]) for row in rows}
    for wanted in ((method, n_steps) for method in METHODS for n_steps in options.steps):
        if wanted not in done and not options.table:
            row = measure(*wanted)
            row.pop("resident_MB", None)  # of one process with many programs it says nothing
            rows.append(row)
            print(row, flush=True)
            options.json.write_text(json.dumps(rows, indent=1) + "\n")
    print(table(json.loads(options.json.read_text())))


if __name__ == "__main__":
    main()
