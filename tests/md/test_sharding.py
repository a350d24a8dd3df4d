"""Systems spread over eight virtual devices go as on one."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from jmlip.data import read

ROOT = Path(__file__).parents[2]
DEVICES = "--xla_force_host_platform_device_count"
SAME = 1e-10
"""Angstrom after 40 steps in float64: a device sums over fewer atoms, so sums round otherwise."""


def run(path, n_devices):
    """What the script prints: devices, and the sum of the acceptance of all pairs."""
    settings = {
        "XLA_FLAGS": f"{os.environ['XLA_FLAGS']} {DEVICES}={n_devices}",
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, "-m", "tests.md.sharded", str(path)]
    return subprocess.run(
        command, cwd=ROOT, env=os.environ | settings, check=True, capture_output=True, text=True
    ).stdout.split()


def test_eight_devices_give_the_trajectories_of_one(tmp_path):
    (one, trades), (eight, same_trades) = (run(tmp_path / f"on{n}.xyz", n) for n in (1, 8))
    assert (one, eight) == ("1", "8")
    assert trades == same_trades != "0.0"
    for k in range(11):
        first, second = (read(tmp_path / f"on{n}.{k}.xyz") for n in (1, 8))
        assert len(first) == len(second) == 5
        for a, b in zip(first, second, strict=True):
            assert a.info["replica"] == b.info["replica"]
            np.testing.assert_allclose(a.positions, b.positions, rtol=0, atol=SAME)
            np.testing.assert_allclose(a.velocities, b.velocities, rtol=0, atol=SAME)
