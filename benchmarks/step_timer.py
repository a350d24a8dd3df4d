"""What the scripts that `models_speed.py` runs have in common; needs nothing but NumPy.

Each is called as `python SCRIPT FRAMES.npz KIND MODE BATCH SECONDS THREADS` in the environment of
its own program and prints one JSON line, see `report`.
"""

import json
import os
import resource
import sys
import time
from collections.abc import Callable
from types import SimpleNamespace

import numpy as np

CUTOFF = 5.0
SYMBOLS = {1: "H", 6: "C", 8: "O"}
LEARNING_RATE = 1.0e-4

# the same network everywhere; each script translates
MACE = {"n_layers": 2, "n_channels": 32, "max_degree": 1, "harmonics": 3, "correlation": 3}
NEQUIP = {"n_layers": 3, "n_channels": 32, "max_degree": 2, "harmonics": 2}
ALLEGRO = {"n_layers": 2, "n_scalars": 64, "n_channels": 32, "harmonics": 2}
MACE_RADIAL, NEQUIP_RADIAL, N_BESSEL = (64, 64, 64), (64, 64), 8


def arguments() -> SimpleNamespace:
    """The command line; also binds this process to the first THREADS cores it may use."""
    path, kind, mode, batch, seconds, threads = sys.argv[1:]
    bind(int(threads))
    return SimpleNamespace(
        path=path, kind=kind, mode=mode, batch=int(batch), seconds=float(seconds),
        threads=int(threads), begin=time.perf_counter(),
    )  # fmt: skip


def bind(threads: int) -> None:
    """Keep this process on the first of the cores that it may use."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    os.environ["OMP_NUM_THREADS"] = str(threads)


def frames(path: str) -> list[SimpleNamespace]:
    """Frames of one molecule: numbers, positions, energy (relative to the mean) and forces."""
    with np.load(path) as arrays:
        rows = zip(arrays["Z"], arrays["R"], arrays["E"][:, 0], arrays["F"], strict=True)
        return [SimpleNamespace(numbers=z, positions=r, energy=e, forces=f) for z, r, e, f in rows]


def mean_neighbors(members: list[SimpleNamespace]) -> float:
    """Atoms within the cutoff of an atom."""
    counts = []
    for frame in members:
        distance = np.linalg.norm(frame.positions[:, None] - frame.positions[None], axis=-1)
        counts.append((distance < CUTOFF).sum(axis=1) - 1)
    return float(np.mean(counts))


def in_batches(members: list, size: int) -> list[list]:
    """Consecutive groups of `size` members; what is left over is dropped."""
    return [members[n : n + size] for n in range(0, len(members) - size + 1, size)]


def report(
    options: SimpleNamespace,
    *,
    train: Callable[[int], object],
    evaluate: Callable[[int], object],
    n_atoms: int,
    n_parameters: int,
) -> None:
    """Time training steps, then force evaluations, and print the line.

    Args:
        options: from `arguments`.
        train: one training step on the n-th batch, finished when it returns.
        evaluate: energy and forces of the n-th batch, finished when it returns.
        n_atoms: atoms of a batch.
        n_parameters: of the network.
    """
    train(0)
    first = time.perf_counter() - options.begin
    step = _median(train, options.seconds)
    call = _median(evaluate, options.seconds)
    found = {
        "structures_per_s": options.batch / step,
        "atoms_per_s": n_atoms / call,
        "first_step_s": first,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "parameters": n_parameters,
    }
    print(json.dumps(found))


def _median(function: Callable[[int], object], seconds: float) -> float:
    for n in range(1, 4):  # compilation, caches
        function(n)
    times, start = [], time.perf_counter()
    while time.perf_counter() - start < seconds or len(times) < 5:
        begin = time.perf_counter()
        function(len(times))
        times.append(time.perf_counter() - begin)
    return float(np.median(times))
