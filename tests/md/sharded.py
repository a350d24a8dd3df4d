"""Run by `test_sharding.py` in a process with eight virtual devices: one trajectory for each k."""

import dataclasses
import sys
from pathlib import Path

import jax
import numpy as np

from jmlip.md.batch_simulate import simulate_batch
from jmlip.md.config import MDConfig
from tests.md.systems import cluster, colliding_clusters, lennard_jones


def main(out: Path) -> None:
    """Eleven systems of two sizes on four ladders: devices hold two each, the last ones filler."""
    config = MDConfig(
        ensemble="langevin", timestep_fs=2.0, n_steps=40, every=10, temperature_K=300.0,
        dtype="float64",
    )  # fmt: skip
    starts = [cluster()] * 3 + [colliding_clusters()] * 3 + [cluster()] * 5
    configs = [
        dataclasses.replace(config, temperature_K=300.0 + 10.0 * k, seed=k)
        for k in range(len(starts))
    ]
    result = simulate_batch(lennard_jones(), starts, configs, out, exchange_every=4, progress=False)
    sys.stdout.write(f"{len(jax.devices())} {np.nansum(result.acceptance)}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
