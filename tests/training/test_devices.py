"""A run on several devices, in turns, or in two processes is the run on one device.

And so are members of an ensemble that are spread over them.
"""

import csv
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from jmlip.core.config import from_dict
from jmlip.core.errors import ConfigError
from jmlip.training.config import LoopConfig, TrainingConfig
from jmlip.training.loop import fit
from tests.training.divided import MEMBERS, RUNS

ROOT = Path(__file__).parents[2]
DEVICES = "--xla_force_host_platform_device_count"
CURVE = ("train_loss", "gradient_norm", "validation_loss", "validation_forces_mae_meV_A")
SAME = 1e-11
"""Relative, in float64 after 20 steps: sums over devices round otherwise."""


def start(directory, n_devices, *words):
    settings = {
        "XLA_FLAGS": f"{os.environ['XLA_FLAGS']} {DEVICES}={n_devices}",
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, "-m", "tests.training.divided", directory, *words]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, cwd=ROOT, env=os.environ | settings, text=True, **pipes)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """All runs of the script, in a process with eight devices."""
    directory = tmp_path_factory.mktemp("runs")
    process = start(directory, 8)
    out, errors = process.communicate()
    assert process.returncode == 0, errors
    assert out == "8"
    return directory


def curve(run_dir):
    """Losses, errors and norms of the gradient, by epoch."""
    with (run_dir / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return np.array([[float(row[name]) for name in CURVE] for row in rows])


@pytest.mark.parametrize("name", [name for name in RUNS if name != "one"])
def test_the_learning_curve_is_that_of_one_device(name, runs):
    expected, found = curve(runs / "one"), curve(runs / name)
    assert expected.shape == (5, len(CURVE))
    assert expected[0, 0] > 1.2 * expected[-1, 0]  # something is learned
    np.testing.assert_allclose(found, expected, rtol=SAME)
    parameters = (np.load(runs / f"{each}.npy") for each in (name, "one"))
    np.testing.assert_allclose(*parameters, rtol=1e-8, atol=SAME)


def test_a_resumed_run_on_two_devices_has_the_same_bits(runs):
    np.testing.assert_array_equal(np.load(runs / "resumed.npy"), np.load(runs / "two.npy"))


def test_a_run_may_go_on_with_another_number_of_devices(runs):
    moved, one = np.load(runs / "moved.npy"), np.load(runs / "one.npy")
    np.testing.assert_allclose(moved, one, rtol=1e-8, atol=SAME)


def test_two_processes_take_the_run_of_one_and_stop_together(runs, tmp_path):
    with socket.create_server(("localhost", 0)) as free:
        port = str(free.getsockname()[1])
    processes = [start(tmp_path, 1, "two", str(k), port) for k in (0, 1)]
    errors = [process.communicate()[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], errors
    np.testing.assert_allclose(curve(tmp_path / "two"), curve(runs / "one"), rtol=SAME)
    first, second = (np.load(tmp_path / f"two-{k}.npy") for k in (0, 1))
    np.testing.assert_array_equal(first, second)
    summary = json.loads((tmp_path / "two" / "summary.json").read_text())
    assert summary["steps"] == 20
    assert (tmp_path / "two" / "checkpoints" / "000000016").is_dir()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"devices": 0}, "training.devices must be at least 1, found 0"),
        ({"accumulate": 0}, "training.accumulate must be at least 1, found 0"),
        ({"matmul_precision": "tf32", "dtype": "float64"}, "with training.dtype = 'float64'"),
        ({"parallel": "pmap"}, "training.parallel has no meaning with training.devices = 1"),
    ],
)
def test_what_has_no_meaning_is_refused(fields, message):
    with pytest.raises(ConfigError, match=message):
        LoopConfig(**fields)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"devices": 2}, "not be more than there are, found 2 and 1 in each of 1"),
        ({"batch_size": 7, "devices": 2, "accumulate": 4}, "found 7 structures for devices = 2"),
    ],
)
def test_batches_that_cannot_be_divided_are_refused_before_data_are_read(
    untrained, fields, message, tmp_path
):
    config = from_dict(TrainingConfig, {"loss": {"energy": {}}, "training": fields})
    with pytest.raises(ConfigError, match=message):
        fit(untrained, [], [], config, tmp_path, progress=False)


@pytest.mark.parametrize("member", range(MEMBERS))
def test_members_spread_over_devices_are_those_of_one(member, runs):
    """Three members on two devices: one of these has room for a fourth."""
    one, two = (runs / f"members-{name}" / f"member_{member}" for name in ("one", "two"))
    np.testing.assert_allclose(curve(two), curve(one), rtol=SAME)
    assert len(curve(one)) == 2 + member % 2  # they end at different epochs
    found = {
        name: np.load(runs / f"members-{name}-{member}.npy")
        for name in ("one", "two", "resumed", "moved")
    }
    np.testing.assert_allclose(found["two"], found["one"], rtol=1e-8, atol=SAME)
    np.testing.assert_allclose(found["moved"], found["one"], rtol=1e-8, atol=SAME)
    np.testing.assert_array_equal(found["resumed"], found["two"])


def test_members_differ_and_each_device_has_its_own(runs):
    first, *others = (np.load(runs / f"members-one-{k}.npy") for k in range(MEMBERS))
    assert all(np.abs(other - first).max() > 1e-3 for other in others)
    placed = json.loads((runs / "placed.json").read_text())
    assert placed == [[0, 2], [1, 2]]  # devices and their rows
