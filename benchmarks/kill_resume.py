"""Kill a training run with SIGKILL at random moments, resume it each time, and compare the bits.

    python benchmarks/kill_resume.py --kills 20 --directory DIR

The run is a small HIP-NN on clusters with Lennard-Jones labels; it saves a checkpoint every few
steps, so that some kills strike while one is written. Compared are the final potential, the final
training state, and the metrics apart from times.
"""

import argparse
import csv
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import IO

TIMES = ("minutes", "structures_per_s")
READY = "ready"


def structures(count: int, seed: int) -> list:
    """Distorted octahedra of argon."""
    import numpy as np
    from ase import Atoms
    from ase.calculators.lj import LennardJones

    from jmlip.core.structure import Structure

    rng, made = np.random.default_rng(seed), []
    corners = np.concatenate([np.eye(3), -np.eye(3)]) * 2.7
    for _ in range(count):
        atoms = Atoms("Ar6", corners + 0.15 * rng.normal(size=(6, 3)))
        atoms.calc = LennardJones(sigma=3.4, epsilon=0.05, rc=12.0)
        made.append(
            Structure(
                species=atoms.numbers,
                positions=atoms.positions,
                energy=atoms.get_potential_energy(),
                forces=atoms.get_forces(),
            )
        )
    return made


def train(run_dir: Path, *, epochs: int, cache: Path) -> None:
    """What the worker does: start, or go on where the last one was killed."""
    import jax

    from jmlip.core.config import from_dict
    from jmlip.factory import make_model
    from jmlip.potentials.potential import Potential
    from jmlip.potentials.storage import smallest_graph
    from jmlip.training.config import TrainingConfig
    from jmlip.training.loop import fit

    jax.config.update("jax_compilation_cache_dir", str(cache))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
    sizes = {"n_features": 6, "n_sensitivities": 6, "n_interactions": 1, "n_onsite": 0}
    model = make_model("hipnn", {"species": [18], "cutoff": 6.0, **sizes})
    params = model.init(jax.random.key(1), smallest_graph())["params"]
    potential = Potential(
        kind="hipnn",
        model=model,
        params=params,
        species=(18,),
        cutoff=6.0,
        reference_energies=(-0.1,),
    )
    term = {"kind": "rmse+mae", "weight": 1.0, "final_weight": 2.0}
    config = {
        "loss": {"energy": term, "forces": term, "hierarchy": {"weight": 0.01}},
        "optimizer": {"name": "amsgrad", "schedule": "plateau", "plateau_patience": 1},
        "training": {
            "batch_size": 4,
            "max_batch_size": 8,
            "max_epochs": epochs,
            "validate_every": 2,
            "checkpoint_every_minutes": 0.0005,
        },
    }
    data = structures(50, seed=0)
    sys.stdout.write(READY + "\n")
    sys.stdout.flush()
    fit(
        potential,
        data[:40],
        data[40:],
        from_dict(TrainingConfig, config),
        run_dir,
        resume=True,
    )


def start(run_dir: Path, options: argparse.Namespace) -> subprocess.Popen:
    """A worker that is ready to train."""
    command = [sys.executable, __file__, "--worker", str(run_dir)]
    command += ["--directory", str(options.directory), "--epochs", str(options.epochs)]
    worker = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=1
    )
    read_until(READY, worker.stdout)
    return worker


def read_until(word: str, stream: IO[str] | None) -> str:
    """Read a worker's output up to the word, or to its end."""
    assert stream is not None
    seen = ""
    for line in stream:
        seen += line
        if word in line:
            break
    return seen


def end_of(worker: subprocess.Popen) -> None:
    """Wait for a worker that nobody kills."""
    _, errors = worker.communicate()
    if worker.returncode != 0:
        raise SystemExit(f"a run failed: {errors}")


def chain(
    run_dir: Path, kills: int, longest: float, draw: random.Random, options: argparse.Namespace
) -> int:
    """One run, killed up to `kills` times and then left to end; how often the kill struck."""
    for struck in range(kills):
        before = last_checkpoint(run_dir)
        worker = start(run_dir, options)
        # one kill in four may strike while the run begins, the others when steps are taken
        if draw.random() > 0.25:
            while worker.poll() is None and last_checkpoint(run_dir) == before:
                time.sleep(0.001)
        delay = draw.uniform(0.0, longest)
        time.sleep(delay)
        if worker.poll() is not None:
            end_of(worker)
            return struck
        worker.send_signal(signal.SIGKILL)
        worker.communicate()
        print(f"kill after {delay:.2f} s, at {state_of(run_dir)}", flush=True)
    end_of(start(run_dir, options))
    return kills


def last_checkpoint(run_dir: Path) -> int | None:
    """Number of steps at the last checkpoint."""
    numbers = [p.name for p in (run_dir / "checkpoints").glob("*") if p.name.isdigit()]
    return int(max(numbers)) if numbers else None


def state_of(run_dir: Path) -> str:
    """Where a killed run stands: its last checkpoint, and what was half written."""
    halves = sorted(run_dir.glob("checkpoints/.*")) + sorted(run_dir.glob(".*"))
    half = ", a checkpoint or potential half written" if halves else ""
    step = last_checkpoint(run_dir)
    return f"the very start{half}" if step is None else f"step {step}{half}"


def differences(left: Path, right: Path) -> list[str]:
    """Names of what differs between two finished runs."""
    last = lambda run: max((run / "checkpoints").iterdir()) / "state.safetensors"
    pairs = {
        "potential": [run / "potential" / "params.safetensors" for run in (left, right)],
        "training state": [last(run) for run in (left, right)],
    }
    found = [name for name, (a, b) in pairs.items() if a.read_bytes() != b.read_bytes()]
    return found + (["metrics"] if metrics(left) != metrics(right) else [])


def metrics(run_dir: Path) -> list[dict]:
    with (run_dir / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [{k: v for k, v in row.items() if k not in TIMES} for row in rows]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--directory", type=Path, required=True)
    parser.add_argument("--worker", type=Path)
    options = parser.parse_args()
    if options.worker is not None:
        train(options.worker, epochs=options.epochs, cache=options.directory / "cache")
        return 0
    place, draw, struck, runs = options.directory, random.Random(options.seed), 0, 0
    end_of(start(place / "compiled", options))
    worker = start(place / "whole", options)
    read_until("loss", worker.stderr)
    begun = time.monotonic()
    end_of(worker)
    seconds, wrong = time.monotonic() - begun, differences(place / "compiled", place / "whole")
    print(f"uninterrupted: {seconds:.1f} s of training")
    longest = 2.0 * seconds / (options.kills + 1)
    while struck < options.kills and not wrong:
        run_dir, runs = place / f"killed-{runs}", runs + 1
        struck += chain(run_dir, options.kills - struck, longest, draw, options)
        wrong = differences(place / "whole", run_dir)
    verdict = f"differ in {', '.join(wrong)}" if wrong else "same bits"
    print(f"{struck} kills in {runs} runs: {verdict}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
