"""Memory and time of energy and forces by the room that radial weights get.

    python benchmarks/channel_blocks.py [--kind mace] [--size L] [--repeat 4] [--megabytes 16 256]

Silicon, cubic cells of 8 atoms repeated along each edge, float32. "Temporary" is what the compiled
program needs beside its arguments and results. Where weights have no room, they are made for some
channels at a time (`jmlip.models.channel_blocks`); 0 MB stands for as much room as they want.
"""

import argparse
import time

import jax
import jax.numpy as jnp
import numpy as np
from ase.build import bulk
from sizes_speed import CUTOFF

from jmlip.data import from_atoms
from jmlip.factory import make_model
from jmlip.graphs.batching import exact_bucket, pad_batch
from jmlip.graphs.frames import make_frame
from jmlip.models import channel_blocks
from jmlip.models.sizes import SIZES
from jmlip.potentials.evaluate import evaluate
from jmlip.potentials.potential import initial_potential


def row(kind: str, size: str, repeat: int, megabytes: float) -> tuple[int, float, float]:
    """Atoms, temporary MB, and microseconds for each atom: the fastest of three calls."""
    channel_blocks.ROOM = int(megabytes * 2**20) or 2**62
    atoms = bulk("Si", cubic=True).repeat(repeat)
    atoms.rattle(0.05, seed=0)
    model = make_model(kind, {"species": [14], "size": size, "cutoff": CUTOFF})
    potential = initial_potential(kind, model, key=jax.random.key(0), reference_energies=(0.0,))
    frame = make_frame(
        from_atoms(atoms), species=(14,), cutoff=CUTOFF, reference_energies=(0.0,), dtype=np.float32
    )
    batch = pad_batch([frame], exact_bucket([frame]), cutoff=CUTOFF, dtype=np.float32)
    arguments = (jax.tree.map(jnp.asarray, potential.params), jax.device_put(batch.graph))
    run = jax.jit(lambda params, graph: evaluate(potential.apply, params, graph)[:2])
    compiled = run.lower(*arguments).compile()
    times = []
    for _ in range(4):
        begin = time.perf_counter()
        jax.block_until_ready(compiled(*arguments))
        times.append(time.perf_counter() - begin)
    memory = compiled.memory_analysis().temp_size_in_bytes / 2**20
    return len(atoms), memory, min(times[1:]) / len(atoms) * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--kind", choices=SIZES, default="mace", metavar="KIND")
    parser.add_argument("--size", choices=["S", "M", "L"], default="L")
    parser.add_argument("--repeat", type=int, nargs="+", default=[4])
    parser.add_argument("--megabytes", type=float, nargs="+", default=[0.0, 16.0, 256.0])
    options = parser.parse_args()
    print("| atoms | room, MB | temporary, MB | us/atom |\n|---|---|---|---|")
    for repeat in options.repeat:
        for megabytes in options.megabytes:
            n, memory, time_ = row(options.kind, options.size, repeat, megabytes)
            room = f"{megabytes:g}" if megabytes else "-"
            print(f"| {n:,} | {room} | {memory:,.0f} | {time_:.0f} |", flush=True)


if __name__ == "__main__":
    main()
