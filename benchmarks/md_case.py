"""Time dynamics of one crystal with one program; `md_speed.py` runs it in a process of its own.

    python benchmarks/md_case.py PROGRAM POTENTIAL ATOMS SECONDS THREADS

PROGRAM: "jmlip", which also tells what share of a hundred steps it takes to write a frame with its
observables and a checkpoint, "ase", or "jax-md". Prints one JSON line. POTENTIAL: "argon", which is
Lennard-Jones, or the path of one of silicon, with "+tables" behind it where tables are to take the
place of radial networks.
"""

import json
import resource
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

import step_timer

program, name, n_atoms, seconds, threads = sys.argv[1:]
step_timer.bind(int(threads))

import jax  # noqa: E402

# every run is a program of its own to JAX; compiling the same again would take most of the time
cache = tempfile.TemporaryDirectory()
jax.config.update("jax_compilation_cache_dir", cache.name)

import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
from ase import units  # noqa: E402
from ase.build import bulk  # noqa: E402

import jmlip  # noqa: E402
from jmlip.core.structure import Structure  # noqa: E402
from jmlip.data import from_atoms  # noqa: E402
from jmlip.factory import make_model  # noqa: E402
from jmlip.md.config import MDConfig  # noqa: E402
from jmlip.md.simulate import MDResult, simulate  # noqa: E402
from jmlip.md.tabulation import tabulate  # noqa: E402
from jmlip.potentials.potential import Potential, initial_potential  # noqa: E402

EPSILON, SIGMA, CUTOFF, SKIN = 0.01032, 3.405, 8.5, 0.5  # eV and angstrom
TEMPERATURE_K, TIMESTEP_FS = 300.0, 1.0
OF_ARGON = {"temperature_K": 80.0, "timestep_fs": 4.0}
EVERY = 100  # steps between frames
FEWEST = 20  # steps
ROUNDS = 3
TABLES = "+tables"


def start(n: int) -> Structure:
    """8 m^3 atoms, a rattled crystal: silicon (diamond), or argon (face-centred cubic)."""
    m = round((n / 8) ** (1 / 3))
    if 8 * m**3 != n:
        raise SystemExit(f"ATOMS must be 8 m^3, as 64 or 512, found {n}.")
    argon = name == "argon"
    cell = (
        bulk("Ar", "fcc", a=5.4, cubic=True) if argon else bulk("Si", "diamond", a=5.47, cubic=True)
    )
    crystal = cell.repeat((2 * m, m, m) if argon else (m, m, m))
    crystal.rattle(0.05, seed=0)
    return from_atoms(crystal)


def potential() -> Potential:
    if name != "argon":
        found = jmlip.load_potential(name.removesuffix(TABLES))
        return tabulate(found)[0] if name.endswith(TABLES) else found
    model = make_model("lennard-jones", {"species": [18], "cutoff": CUTOFF})
    return initial_potential(
        "lennard-jones", model, key=jax.random.key(0), reference_energies=(0.0,)
    )


def settings() -> dict[str, float]:
    given = {"temperature_K": TEMPERATURE_K, "timestep_fs": TIMESTEP_FS}
    return OF_ARGON if name == "argon" else given


def ours(structure: Structure) -> Callable[[int], MDResult]:
    """`jmlip.md.simulate`, Langevin, a frame every hundred steps or the last one."""

    def run(n: int) -> MDResult:
        config = MDConfig(
            ensemble="langevin", n_steps=n, every=min(EVERY, n), skin=SKIN, **settings()
        )
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "run.h5md"
            return simulate(potential(), structure, config, path, progress=False)

    return run


def by_ase(structure: Structure) -> Callable[[int], float]:
    """ASE's Langevin with the same potential as a calculator."""
    from ase.md.langevin import Langevin
    from ase.md.velocitydistribution import MaxwellBoltzmannDistribution

    from jmlip.data import to_atoms
    from jmlip.interop.ase import Calculator

    atoms, values = to_atoms(structure), settings()
    atoms.calc = Calculator(potential(), skin=SKIN)
    rng = np.random.default_rng(0)
    MaxwellBoltzmannDistribution(atoms, temperature_K=values["temperature_K"], rng=rng)
    dynamics = Langevin(
        atoms, values["timestep_fs"] * units.fs, temperature_K=values["temperature_K"],
        friction=0.01 / units.fs, rng=rng,
    )  # fmt: skip
    dynamics.run(3)
    return lambda n: timed(lambda: dynamics.run(n))


def by_jax_md(structure: Structure) -> Callable[[int], float]:
    """jax-md's own Lennard-Jones, neighbor list and Langevin, one compiled loop."""
    from jax_md import energy, partition, simulate, space

    box = float(structure.cell[0, 0]), float(structure.cell[1, 1]), float(structure.cell[2, 2])
    if min(box) < 2.0 * (CUTOFF + SKIN):
        raise SystemExit("the cell is smaller than jax-md's nearest images allow.")
    displacement, shift = space.periodic(jnp.asarray(box, jnp.float32))
    neighbor_fn, energy_fn = energy.lennard_jones_neighbor_list(
        displacement, jnp.asarray(box, jnp.float32), sigma=SIGMA, epsilon=EPSILON,
        r_onset=0.9 * CUTOFF / SIGMA, r_cutoff=CUTOFF / SIGMA, dr_threshold=SKIN,
        format=partition.OrderedSparse,
    )  # fmt: skip
    values = settings()
    kT = units.kB * values["temperature_K"]
    init, apply = simulate.nvt_langevin(
        energy_fn, shift, dt=values["timestep_fs"] * units.fs, kT=kT, gamma=0.01 / units.fs
    )
    positions = jnp.asarray(structure.positions, jnp.float32)
    neighbors = neighbor_fn.allocate(positions)
    state = init(jax.random.key(0), positions, mass=39.95, neighbor=neighbors)

    def step(_, carry):
        state, neighbors = carry
        state = apply(state, neighbor=neighbors)
        return state, neighbors.update(state.position)

    loop = jax.jit(lambda n, state, neighbors: jax.lax.fori_loop(0, n, step, (state, neighbors)))

    def run(n: int) -> float:
        def go():
            last = jax.block_until_ready(loop(n, state, neighbors))
            assert not bool(last[1].did_buffer_overflow)

        return timed(go)

    run(1)
    return run


def timed(call: Callable[[], object]) -> float:
    begin = perf_counter()
    call()
    return perf_counter() - begin


PROGRAMS = {"ase": by_ase, "jax-md": by_jax_md}


def time_ours(structure: Structure) -> dict[str, float]:
    """Seconds of a step, and what a frame adds to a hundred."""
    run = ours(structure)
    n = steps_for(run(FEWEST).seconds)
    results = [run(n) for _ in range(ROUNDS)]
    a_step = min(result.seconds for result in results) / n
    a_frame = min(result.seconds_writing for result in results) / max(1, n // EVERY)
    return {"step": a_step, "frames_add": a_frame / (EVERY * a_step), "steps": n}


def time_peer(structure: Structure) -> dict[str, float]:
    """Seconds of a step."""
    run = PROGRAMS[program](structure)
    run(FEWEST)
    n = steps_for(run(FEWEST))
    return {"step": min(run(n) for _ in range(ROUNDS)) / n, "steps": n}


def steps_for(seconds_of_fewest: float) -> int:
    """As many as the wanted time allows, or full hundreds."""
    n = max(FEWEST, int(float(seconds) / ROUNDS * FEWEST / seconds_of_fewest))
    return max(n // EVERY * EVERY, min(n, EVERY))


def main() -> None:
    structure = start(int(n_atoms))
    found = (time_ours if program == "jmlip" else time_peer)(structure)
    found["us_per_atom_step"] = 1e6 * found.pop("step") / structure.n_atoms
    found["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps(found))


if __name__ == "__main__":
    main()
