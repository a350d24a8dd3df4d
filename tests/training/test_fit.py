"""Whole runs of a small model: what they write, how they end, and that resuming changes nothing."""

import csv
import json
import os
import shutil
import signal

import jax
import numpy as np
import pytest

from jmlip.core.config import from_dict
from jmlip.core.errors import ConfigError, DivergenceError, JmlipError
from jmlip.core.lock import only_writer
from jmlip.potentials.storage import read_parameters, read_potential_files
from jmlip.training import loss_config, trainer
from jmlip.training.config import TrainingConfig
from jmlip.training.loop import fit

BASE = {
    "loss": {"energy": {"kind": "rmse+mae"}, "forces": {"kind": "rmse+mae"}},
    "optimizer": {"learning_rate": 0.01, "schedule": "constant", "warmup_steps": 0},
    "training": {"batch_size": 8, "max_epochs": 3, "ema_decay": 0.9},
}


def config(**sections):
    merged = {name: {**BASE[name], **sections.get(name, {})} for name in BASE}
    return from_dict(TrainingConfig, merged)


def training(**fields):
    return config(training=fields)


@pytest.fixture
def fitted(untrained, clusters, tmp_path):
    """Run `fit` on 32 clusters, validate on 8; the run directory is remembered."""

    def run(config, name="run", **options):
        sets = options.pop("train", clusters[:32]), options.pop("validation", clusters[32:])
        options = {"progress": False, **options}
        return fit(untrained, *sets, config, tmp_path / name, **options)

    return run


def rows(run_dir):
    with (run_dir / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def same(left, right):
    leaves = zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True)
    return all(np.array_equal(a, b) for a, b in leaves)


def test_a_run_learns_and_writes_what_it_promises(fitted, untrained, clusters, tmp_path):
    potential = fitted(training(max_epochs=40))
    run_dir, table = tmp_path / "run", rows(tmp_path / "run")
    assert [int(row["epoch"]) for row in table] == list(range(1, 41))
    errors = [float(row["validation_forces_rmse_meV_A"]) for row in table]
    assert errors[-1] < 0.2 * errors[0]
    assert {int(row["step"]) for row in table} == set(range(4, 161, 4))
    lines = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    assert [line["train_loss"] for line in lines] == [float(row["train_loss"]) for row in table]

    # the potential on disk is the one returned, and its error that of the best epoch
    files = read_potential_files(run_dir / "potential")
    stored = read_parameters(run_dir / "potential", potential.model, dtype=files.dtype)
    assert same(stored, potential.params)
    predicted = potential.predict(clusters[32:])
    forces = [p.forces - s.forces for p, s in zip(predicted, clusters[32:], strict=True)]
    best = table[int(table[-1]["best_epoch"]) - 1]
    rmse = 1e3 * np.sqrt(np.mean(np.square(forces)))
    np.testing.assert_allclose(rmse, float(best["validation_forces_rmse_meV_A"]), rtol=1e-4)
    losses = [float(row["validation_loss"]) for row in table]
    assert best is table[int(np.argmin(losses))]

    summary = json.loads((run_dir / "summary.json").read_text())
    assert summary["stopped_by"] == "max_epochs"
    assert summary["steps"] == 160
    assert summary["compilations"] == 2
    assert summary["time_to_first_step_s"] > 0.0
    assert len(list((run_dir / "checkpoints").iterdir())) == 2
    assert potential.provenance["training"]["best_epoch"] == summary["best_epoch"]


def test_stopping_by_the_clock_and_going_on_ends_with_the_same_bits(fitted, tmp_path):
    sections = {
        "optimizer": {"name": "amsgrad", "schedule": "plateau", "plateau_patience": 0},
        "training": {"max_batch_size": 32, "max_epochs": 6, "validate_every": 2},
    }
    whole = fitted(config(**sections), "whole")
    sections["training"]["max_minutes"] = 1e-9  # one step, however long it takes
    part, calls = fitted(config(**sections), "parts"), 1
    summary = json.loads((tmp_path / "parts" / "summary.json").read_text())
    assert summary["stopped_by"] == "max_minutes"
    assert summary["steps"] == 1
    assert not same(part.params, whole.params)
    for minutes in (1e-9, 1e-9, 1e-9, None):  # the fourth ends the epoch
        sections["training"]["max_minutes"] = minutes
        part, calls = fitted(config(**sections), "parts", resume=True), calls + 1
    assert same(part.params, whole.params)
    times = ("minutes", "structures_per_s")
    tables = [rows(tmp_path / name) for name in ("whole", "parts")]
    assert [{k: v for k, v in row.items() if k not in times} for row in tables[0]] == [
        {k: v for k, v in row.items() if k not in times} for row in tables[1]
    ]
    sizes = [int(row["batch_size"]) for row in tables[0]]
    assert sizes[0] == 8
    assert sizes == sorted(sizes)


def test_two_processes_do_not_write_one_run(fitted, tmp_path):
    (tmp_path / "run").mkdir()
    with (
        only_writer(tmp_path / "run"),
        pytest.raises(ConfigError, match="being written by another process"),
    ):
        fitted(training(max_epochs=1))


def test_a_run_without_a_finite_step_fails(fitted, monkeypatch):
    # weights that no configuration admits are a short way to gradients beyond float32
    monkeypatch.setattr(loss_config, "LARGEST_WEIGHT", 1e30)
    loss = {"energy": {"weight": 1e30}, "forces": {"weight": 1e30}}
    with jax.debug_nans(False), pytest.raises(DivergenceError, match="and none of 4 was"):
        fitted(config(loss=loss, training={"max_epochs": 1, "max_skipped": 10}))


def test_more_epochs_after_the_end_are_those_of_a_longer_run(fitted):
    longer = fitted(training(max_epochs=4), "longer")
    fitted(training(max_epochs=2), "short")
    assert same(fitted(training(max_epochs=4), "short", resume=True).params, longer.params)


def test_resuming_a_finished_run_returns_its_potential(fitted):
    first = fitted(training())
    assert same(fitted(training(), resume=True).params, first.params)


def test_a_new_run_does_not_overwrite_another(fitted):
    fitted(training(max_epochs=1))
    with pytest.raises(ConfigError, match=r"found metrics\.csv"):
        fitted(training(max_epochs=1))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"optimizer": {"learning_rate": 0.02}}, r"optimizer.learning_rate was 0.01, found 0.02"),
        ({"training": {"seed": 1}}, r"training.seed was 0, found 1"),
        ({"loss": {"l2": {"weight": 0.1}}}, r"loss.l2.weight was not set, found 0.1"),
    ],
)
def test_a_resumed_run_must_be_the_same_run(changed, message, fitted):
    fitted(training(max_epochs=1))
    with pytest.raises(ConfigError, match=message):
        fitted(config(**changed), resume=True)


def test_a_damaged_checkpoint_says_what_to_do(fitted, tmp_path):
    whole = fitted(training(), "whole")
    fitted(training(max_minutes=1e-9))
    places = sorted((tmp_path / "run" / "checkpoints").iterdir())
    (places[-1] / "state.safetensors").write_bytes(b"half")
    with pytest.raises(JmlipError, match=rf"damaged.*Remove {places[-1]} to resume"):
        fitted(training(), resume=True)
    shutil.rmtree(places[-1])
    assert same(fitted(training(), resume=True).params, whole.params)


def test_a_resumed_run_must_have_the_same_data(fitted, clusters):
    fitted(training(max_epochs=1))
    with pytest.raises(ConfigError, match="found others to train"):
        fitted(training(max_epochs=1), train=clusters[:31], resume=True)


def test_divergence_names_term_rate_and_structures(fitted, tmp_path):
    diverging = config(optimizer={"learning_rate": 1e30}, training={"max_skipped": 4})
    with jax.debug_nans(False), pytest.raises(DivergenceError) as caught:
        fitted(diverging)
    message = str(caught.value)
    assert "4 steps in a row" in message
    assert "loss term energy and loss term forces are not finite" in message
    assert "learning rate 1e+30" in message
    assert "structures " in message
    assert len(list((tmp_path / "run" / "checkpoints").iterdir())) == 1


def test_early_stopping_waits_for_patience_epochs(fitted, tmp_path):
    # a rate too small to change float32 parameters cannot improve on the first epoch
    fitted(config(optimizer={"learning_rate": 1e-20}, training={"max_epochs": 9, "patience": 2}))
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["stopped_by"] == "patience"
    assert (summary["best_epoch"], summary["epochs"]) == (1, 3)


def test_selection_by_forces_keeps_the_smallest_force_error(fitted, tmp_path):
    fitted(config(training={"select": "forces_rmse", "max_epochs": 5}))
    table = rows(tmp_path / "run")
    errors = [float(row["validation_forces_rmse_meV_A"]) for row in table]
    assert int(table[-1]["best_epoch"]) == 1 + int(np.argmin(errors))


def test_missing_labels_are_refused_before_anything_is_written(fitted, clusters, tmp_path):
    bare = [structure.replace(forces=None) for structure in clusters]
    with pytest.raises(ConfigError, match=r"loss.forces needs labels, but none of the 32"):
        fitted(training(), train=bare[:32])
    with pytest.raises(ConfigError, match=r"validation set has one"):
        fitted(training(), validation=bare[32:])
    silent = [s.replace(info={"energy_weight": 0.0}) for s in clusters]
    with pytest.raises(ConfigError, match=r"all weights of energy in the training set are 0"):
        fitted(training(), train=silent[:32])
    silent = [s.replace(info={"arrays": {"forces_weight": 0.0 * s.species}}) for s in clusters]
    with pytest.raises(ConfigError, match=r"all weights of forces in the validation set are 0"):
        fitted(training(), validation=silent[32:])
    energies = from_dict(TrainingConfig, {**BASE, "loss": {"energy": {}}})
    by_forces = from_dict(
        TrainingConfig, {**BASE, "loss": {"energy": {}}, "training": {"select": "forces_rmse"}}
    )
    with pytest.raises(ConfigError, match="needs forces labels in the validation set"):
        fitted(by_forces, validation=bare[32:])
    assert not list(tmp_path.iterdir())
    fitted(energies, train=bare[:32], validation=bare[32:])
    assert rows(tmp_path / "run")[-1]["validation_forces_rmse_meV_A"] == ""


def test_frames_without_a_label_count_in_the_other_terms(fitted, clusters, tmp_path):
    mixed = [
        s.replace(forces=None) if i % 3 else s.replace(energy=None)
        for i, s in enumerate(clusters[:32])
    ]
    fitted(training(max_epochs=2), train=mixed)
    assert float(rows(tmp_path / "run")[-1]["skipped_steps"]) == 0
    assert float(rows(tmp_path / "run")[-1]["train_forces"]) > 0.0


def test_double_precision_is_kept(fitted, tmp_path):
    potential = fitted(config(training={"dtype": "float64", "max_epochs": 1}))
    assert {leaf.dtype for leaf in jax.tree.leaves(potential.params)} == {np.dtype("float64")}
    assert read_potential_files(tmp_path / "run" / "potential").dtype == "float64"


def test_on_a_cpu_precision_of_products_is_said_to_change_nothing(fitted, capsys):
    fitted(training(max_epochs=1, matmul_precision="bf16"), progress=True)
    found = " ".join(capsys.readouterr().err.split())
    assert "training.matmul_precision = 'bf16' changes nothing here" in found


def test_interrupt_saves_first(fitted, tmp_path, monkeypatch):
    whole = fitted(training(), "whole")
    took = trainer.Trainer._took

    def took_and_interrupt(self, fed, state, report):
        took(self, fed, state, report)
        if self.course.step == 5:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(trainer.Trainer, "_took", took_and_interrupt)
    with pytest.raises(KeyboardInterrupt):
        fitted(training(), "cut")
    monkeypatch.undo()
    assert (tmp_path / "cut" / "checkpoints" / "000000005").is_dir()
    assert same(fitted(training(), "cut", resume=True).params, whole.params)
