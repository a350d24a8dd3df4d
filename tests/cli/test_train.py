"""`jmlip train`: what it leaves, how a run is repeated, continued and refused."""

import argparse
import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import numpy as np
import pytest

from jmlip.cli.config import DataConfig
from jmlip.cli.main import INTERRUPTED
from jmlip.cli.train import words_of
from jmlip.core.checkpoint import read_arrays
from jmlip.data import read
from jmlip.factory import load_potential
from jmlip.models.hipnn import HIPNNConfig
from jmlip.training.config import LoopConfig
from jmlip.training.loss_config import LossConfig, TermConfig
from jmlip.training.optimizers import OptimizerConfig
from tests.cli.molecules import ATOM


def test_run_directory_holds_potential_metrics_report_and_config(folder):
    run = folder / "run"
    found = {path.name for path in run.iterdir()}
    wanted = {"potential", "metrics.csv", "metrics.jsonl", "report.html", "config.toml"}
    assert wanted <= found
    assert len((run / "metrics.jsonl").read_text().splitlines()) == 60


def test_what_was_learned_is_the_parabola(folder, potential):
    structures = read(folder / "held-out.xyz")
    predictions = load_potential(potential).predict(structures)
    errors = [p.energy - s.energy for p, s in zip(predictions, structures, strict=True)]
    assert np.sqrt(np.mean(np.square(errors))) < 0.03  # eV, on a range of 0.6 eV
    assert load_potential(potential).reference_energies[0] == pytest.approx(ATOM, abs=0.2)


def test_resolved_config_is_complete_and_absolute(folder):
    config = tomllib.loads((folder / "run" / "config.toml").read_text())
    assert config["data"]["train"] == str(folder / "hydrogen.xyz")
    assert config["model"]["kind"] == "hipnn"
    assert config["model"]["r_high"] == pytest.approx(0.85 * 3.0)
    assert config["model"]["r_low"] == pytest.approx(0.95 * 0.65, abs=0.02)
    assert config["training"]["max_epochs"] == 60


@pytest.mark.parametrize(
    ("assignment", "kept"),
    [
        ("data.train=/home/ann/a.xyz", "data.train=a.xyz"),
        ("data.train=near/a.xyz", "data.train=near/a.xyz"),
        ("data.train=['/home/ann/a.xyz', \"/b/c.xyz\"]", "data.train=['a.xyz', \"c.xyz\"]"),
        ("teacher={potentials = ['/b/c'], n = 1}", "teacher={potentials = ['c'], n = 1}"),
        ("loss.forces.weight=1.0", "loss.forces.weight=1.0"),
    ],
)
def test_provenance_names_no_folder_of_this_machine(assignment, kept):
    options = argparse.Namespace(config=Path("/home/ann/config.toml"), assignments=[assignment])
    assert words_of(options) == ["config.toml", "--set", kept]


def test_resolved_config_reproduces_the_run(jmlip, folder, tmp_path, without_report):
    again = tmp_path / "again"
    assert jmlip("train", folder / "run" / "config.toml", "--run", again).code == 0
    first, second = (
        read_arrays(r / "potential" / "params.safetensors") for r in (folder / "run", again)
    )
    assert first.keys() == second.keys()
    for name in first:
        np.testing.assert_array_equal(first[name], second[name])
    assert (again / "config.toml").read_text() == (folder / "run" / "config.toml").read_text()


def test_defaults_of_directory_and_loss_and_overrides(
    jmlip, folder, tmp_path, monkeypatch, without_report
):
    monkeypatch.chdir(tmp_path)
    text = (folder / "config.toml").read_text()
    start, end = text.index("[loss]"), text.index("[optimizer]")
    (folder / "no-loss.toml").write_text(text[:start] + text[end:])
    words = ("--set", "training.max_epochs=1", "--set", "data.n_train=16")
    result = jmlip("train", folder / "no-loss.toml", *words)
    assert result.code == 0
    assert "16 structures to train on" in result.out
    run = tmp_path / "runs" / "no-loss"
    assert set(tomllib.loads((run / "config.toml").read_text())["loss"]) == {"energy", "forces"}
    provenance = json.loads((run / "potential" / "provenance.json").read_text())
    assert provenance["command"].startswith("jmlip train no-loss.toml --set training.max_epochs=1")
    assert str(tmp_path) not in json.dumps(provenance)


def test_a_finished_run_is_not_overwritten_but_resumes(jmlip, folder, without_report):
    potential = folder / "run" / "potential" / "params.safetensors"
    before = potential.read_bytes()
    refused = jmlip("train", folder / "config.toml", "--run", folder / "run")
    assert refused.code == 2
    assert "--resume" in refused.err
    assert jmlip("train", folder / "config.toml", "--run", folder / "run", "--resume").code == 0
    assert potential.read_bytes() == before


def test_resume_with_another_configuration_is_refused(jmlip, folder):
    words = ("--resume", "--set", "optimizer.learning_rate=0.5")
    result = jmlip("train", folder / "config.toml", "--run", folder / "run", *words)
    assert result.code == 2
    assert "learning_rate" in result.err
    config = tomllib.loads((folder / "run" / "config.toml").read_text())
    assert config["optimizer"]["learning_rate"] == 2e-2  # the file still tells the truth


@pytest.mark.slow
def test_interrupt_leaves_a_checkpoint_and_says_how_to_continue(folder, tmp_path):
    command = [sys.executable, "-m", "jmlip", "train", str(folder / "config.toml")]
    command += ["--run", str(tmp_path / "run"), "--set", "training.max_epochs=100000"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    metrics, deadline = tmp_path / "run" / "metrics.jsonl", time.monotonic() + 120.0
    while not (metrics.exists() and metrics.stat().st_size > 0):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.2)
    os.kill(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == INTERRUPTED
    assert err.splitlines()[-1].startswith("error: interrupted; continue with the same command")
    assert list((tmp_path / "run" / "checkpoints").iterdir())


def test_help_names_every_field_with_its_meaning(jmlip):
    text = jmlip("train", "--help").out
    for config in (DataConfig, HIPNNConfig, LossConfig, TermConfig, OptimizerConfig, LoopConfig):
        for field in dataclasses.fields(config):
            if field.name != "species":
                assert re.search(rf"^  {field.name} +\S.*\w", text, re.MULTILINE), field.name
    assert "(0.005) the highest of the run; 0.03 unless given" in text
    nequip = text.split('[model] kind = "nequip"')[1].split("[model]")[0]
    assert re.search(r"^  n_layers +\(4\)", nequip, re.MULTILINE)  # of the preset, not the class
    assert "S: n_layers 3, n_channels 32" in " ".join(nequip.split())
    assert text.count("(the default)") == 1
