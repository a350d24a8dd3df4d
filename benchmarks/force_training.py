"""A training step on forces by each way of its gradient, in units of a step on energies alone.

    taskset -c 1 python benchmarks/force_training.py [--kinds hipnn mace ...] [--seconds 10]

Models of size S, 16 molecules of acetylacetone that it makes itself, Adam, float32. The steps take
turns; medians of the time of the processor, which other programs on a shared core do not count in:
pin it to one core. Memory is that of temporary arrays as the compiler plans it
(`memory_analysis().temp_size_in_bytes`); the time of compiling includes that of tracing.
"""

import argparse
import time
from typing import NamedTuple

import jax
import numpy as np
from ase import Atoms
from sizes_speed import CUTOFF, FIELDS, POSITIONS, SYMBOLS

from jmlip.core.structure import Structure
from jmlip.data import species_of
from jmlip.factory import make_model
from jmlip.graphs.batching import exact_bucket, pad_batch
from jmlip.graphs.frames import make_frame
from jmlip.graphs.graph import Batch
from jmlip.models.sizes import SIZES
from jmlip.potentials.potential import Potential, initial_potential
from jmlip.training.directional import ForceGradient
from jmlip.training.loss_config import LossConfig, TermConfig
from jmlip.training.optimizers import OptimizerConfig, make_optimizer
from jmlip.training.step import Compilations, Controls, TrainState, init_state, make_step

ENERGY = LossConfig(energy=TermConfig())
FORCES = LossConfig(energy=TermConfig(), forces=TermConfig())
WAYS: dict[str, tuple[LossConfig, ForceGradient]] = {
    "energy only": (ENERGY, "double_backward"),
    "double_backward": (FORCES, "double_backward"),
    "jvp": (FORCES, "jvp"),
    "finite_difference": (FORCES, "finite_difference"),
}


class Way(NamedTuple):
    step: jax.stages.Compiled
    state: list[TrainState]  # one: a step takes over the memory of its state
    controls: Controls
    compile_s: float
    memory_mb: float
    times: list[float]


def molecules() -> list[Structure]:
    """Labels are random: what they are does not change the time."""
    rng = np.random.default_rng(0)
    return [
        Structure(
            species=Atoms(SYMBOLS).numbers,
            positions=POSITIONS + rng.normal(scale=0.05, size=POSITIONS.shape),
            energy=float(rng.normal()),
            forces=rng.normal(size=POSITIONS.shape),
        )
        for _ in range(16)
    ]


def start(kind: str) -> tuple[Potential, Batch]:
    structures = molecules()
    species = species_of(structures)
    fields = {"species": list(species), "size": "S", "cutoff": CUTOFF, **FIELDS.get(kind, {})}
    zeros = (0.0,) * len(species)
    model = make_model(kind, fields)
    potential = initial_potential(kind, model, key=jax.random.key(0), reference_energies=zeros)
    options = {"species": species, "cutoff": CUTOFF, "reference_energies": zeros}
    frames = [make_frame(structure, **options, dtype=np.float32) for structure in structures]
    batch = pad_batch(frames, exact_bucket(frames), cutoff=CUTOFF, dtype=np.float32)
    return potential, jax.device_put(batch)


def prepare(name: str, potential: Potential, batch: Batch) -> Way:
    loss, force_gradient = WAYS[name]
    optimizer = make_optimizer(OptimizerConfig(name="adam"))
    step = make_step(
        potential.apply,
        loss,
        optimizer,
        reference_energies=potential.reference_energies,
        ema_decay=0.999,
        max_skipped=10,
        compilations=Compilations(),
        force_gradient=force_gradient,
    )
    state = init_state(potential.params, optimizer)
    controls = Controls(np.float32(1e-4), np.ones(len(loss.terms), np.float32))
    begin = time.process_time()
    compiled = step.lower(state, batch, controls).compile()  # type: ignore[attr-defined]
    compile_s = time.process_time() - begin
    memory = compiled.memory_analysis().temp_size_in_bytes / 1e6
    return Way(compiled, [state], controls, compile_s, memory, [])


def compare(kind: str, seconds: float) -> dict[str, Way]:
    potential, batch = start(kind)
    ways = {name: prepare(name, potential, batch) for name in WAYS}
    begin, rounds = time.process_time(), 0
    while rounds < 8 or time.process_time() - begin < seconds:
        for way in ways.values():
            started = time.process_time()
            way.state[0], report = way.step(way.state[0], batch, way.controls)
            jax.block_until_ready((way.state[0], report))
            if rounds:  # the first one warms up
                way.times.append(time.process_time() - started)
        rounds += 1
    return ways


def rows(kind: str, ways: dict[str, Way]) -> list[str]:
    found = {name: (1e3 * np.median(way.times), way.memory_mb) for name, way in ways.items()}
    time_1, memory_1 = found["energy only"]
    return [
        f"| {kind} | {name} | {ms:.1f} | {ms / time_1:.2f} | {mb:.1f} | {mb / memory_1:.2f} "
        f"| {ways[name].compile_s:.1f} |"
        for name, (ms, mb) in found.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    kinds = ["hipnn", "ani", "mace", "nequip", "allegro"]
    parser.add_argument("--kinds", nargs="+", default=kinds, choices=SIZES, metavar="KIND")
    parser.add_argument("--seconds", type=float, default=10.0, help="of timing, each model")
    options = parser.parse_args()
    print("| model | gradient | ms | times energy only | MB | times energy only | compile s |")
    print("|---|---|---|---|---|---|---|", flush=True)
    for kind in options.kinds:
        print(*rows(kind, compare(kind, options.seconds)), sep="\n", flush=True)
        jax.clear_caches()


if __name__ == "__main__":
    main()
