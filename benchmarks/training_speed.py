"""Training steps per second of HIP-NN here and in hippynn, same network, frames, batch and threads.

    python benchmarks/training_speed.py DATA.xyz --hippynn-python /path/to/python [--batch 16]

Both programs take turns, three rounds each, on the same machine; the table has the median. A step
is forward, forces, gradient of an energy and force loss, and Adam. Network: 64 features, 20
sensitivities, 2 interactions, 3 on-site layers, cutoff 5.5 angstrom. hippynn uses numba's kernels
where numba is installed in its environment.
"""

import argparse
import json
import os
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
ROUNDS = 3


def export(structures, path: Path) -> None:
    """Frames of one molecule as arrays, energies relative to their mean."""
    energy = np.array([[s.energy] for s in structures])
    np.savez(
        path,
        Z=np.array([s.species for s in structures], np.int64),
        R=np.array([s.positions for s in structures], np.float32),
        E=(energy - energy.mean()).astype(np.float32),
        F=np.array([s.forces for s in structures], np.float32),
    )


def time_jmlip(structures, rank: int, batch: int, seconds: float) -> dict:
    """Median structures/s of the compiled step, time to the first step, and compilations."""
    import jax

    from jmlip.data import reference_energies_least_squares, species_of
    from jmlip.factory import make_model
    from jmlip.potentials.potential import initial_potential
    from jmlip.training.feed import Feed
    from jmlip.training.loss_config import LossConfig, TermConfig
    from jmlip.training.optimizers import OptimizerConfig, make_optimizer
    from jmlip.training.step import Compilations, Controls, init_state, make_step

    begin = time.perf_counter()
    species = species_of(structures)
    model = make_model(
        "hipnn",
        {"species": list(species), "cutoff": 5.5, "r_low": 0.85, "r_high": 5.0, "max_rank": rank,
         "n_features": 64, "n_sensitivities": 20, "n_interactions": 2, "n_onsite": 3},
    )  # fmt: skip
    potential = initial_potential(
        "hipnn",
        model,
        key=jax.random.key(0),
        reference_energies=reference_energies_least_squares(structures, species),
    )
    optimizer, compilations = make_optimizer(OptimizerConfig()), Compilations()
    step = make_step(
        potential.apply,
        LossConfig(energy=TermConfig(weight=1.0), forces=TermConfig(weight=1.0)),
        optimizer,
        reference_energies=potential.reference_energies,
        ema_decay=0.999,
        max_skipped=10,
        compilations=compilations,
    )
    state = init_state(jax.tree.map(jax.numpy.asarray, potential.params), optimizer)
    controls = Controls(1.0e-4, np.ones(2, np.float32))
    feed = Feed(structures, potential, dtype="float32")
    first, times, epoch, start = None, [], 0, None
    while start is None or time.perf_counter() - start < seconds:
        for fed in feed.epoch(epoch, batch):
            tick = time.perf_counter()
            state, report = step(state, fed.batch, controls)
            jax.block_until_ready(report)
            now = time.perf_counter()
            if first is None:
                first, start = now - begin, now
            elif len(fed.indices) == batch:
                times.append(now - tick)
        epoch += 1
    rate = batch / float(np.median(times[3:]))
    return {"structures_per_s": rate, "first_step_s": first, "compilations": compilations.count}


def worker(options: argparse.Namespace) -> None:
    import jmlip

    structures = jmlip.read(options.data)
    print(json.dumps(time_jmlip(structures, options.rank, options.batch, options.seconds)))


def run(command: list[str], threads: int) -> dict:
    flags = f"--xla_cpu_multi_thread_eigen={'true' if threads > 1 else 'false'}"
    environment = {
        **os.environ, "OMP_NUM_THREADS": str(threads), "NUMBA_NUM_THREADS": str(threads),
        "XLA_FLAGS": flags,
    }  # fmt: skip
    output = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return json.loads(output.stdout.strip().splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data")
    parser.add_argument("--hippynn-python", required=False)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rank", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.rank is not None:
        return worker(options)
    import sys

    import jmlip

    structures = jmlip.read(options.data)
    print("| rank | jmlip | hippynn | ratio | first step, s | compilations |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        arrays = Path(folder) / "frames.npz"
        export(structures, arrays)
        for rank in (0, 1, 2):
            ours, theirs = [], []
            for _ in range(ROUNDS):
                common = ["--batch", str(options.batch), "--seconds", str(options.seconds)]
                ours.append(
                    run([sys.executable, __file__, options.data, "--rank", str(rank), *common],
                        options.threads)
                )  # fmt: skip
                numbers = [rank, options.batch, options.seconds, options.threads]
                words = [str(HERE / "hippynn_step.py"), str(arrays), *map(str, numbers)]
                theirs.append(run([options.hippynn_python, *words], options.threads))
            mine, other = (
                float(np.median([r["structures_per_s"] for r in x])) for x in (ours, theirs)
            )
            last = ours[-1]
            print(
                f"| {rank} | {mine:.0f} | {other:.0f} | {mine / other:.1f} | "
                f"{last['first_step_s']:.1f} | {last['compilations']} |",
                flush=True,
            )
    return None


if __name__ == "__main__":
    main()
