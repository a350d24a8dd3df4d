"""Several runs in one compiled program: each ends as it does alone, and resumes."""

import dataclasses
import json
import os
import signal

import jax
import numpy as np
import optax
import pytest

from jmlip.core.config import from_dict
from jmlip.core.errors import ConfigError, JmlipError
from jmlip.factory import make_model
from jmlip.potentials.potential import initial_potential
from jmlip.potentials.storage import smallest_graph
from jmlip.training.config import TrainingConfig
from jmlip.training.feed import Feed
from jmlip.training.loop import fit
from jmlip.training.loss_config import LossConfig, TermConfig
from jmlip.training.step import Compilations, Controls, init_state, make_step
from jmlip.training.together import Run, fit_together, make_joint_step
from jmlip.training.trainer import Asked, Trainer

LOOP = {"batch_size": 8, "max_epochs": 3, "ema_decay": 0.9}
MACE = {
    "cutoff": 6.0, "n_layers": 1, "n_channels": 2, "max_degree": 0, "harmonics": 1,
    "correlation": 2, "radial_hidden": [4], "mean_neighbors": 4.0,
}  # fmt: skip


@pytest.fixture
def run_of(untrained, clusters, tmp_path):
    """One of several: its own data, seed, and first parameters."""

    def run_of(number, way="run", *, loss=None, model=untrained.model, **loop):
        potential = dataclasses.replace(
            untrained,
            model=model,
            params=jax.jit(model.init)(jax.random.key(number), smallest_graph())["params"],
            reference_energies=(-3.0 + 0.01 * number,),
        )
        values = {
            "loss": loss or {"energy": {}, "forces": {"weight": 10.0, "final_weight": 1.0}},
            "optimizer": {"name": "adam", "learning_rate": 5e-3, "warmup_steps": 2},
            "training": {**LOOP, "seed": number, **loop},
        }
        order = np.random.default_rng(number).permutation(24)
        sized = [smaller(clusters[k]) if k % 3 == 0 else clusters[k] for k in order]
        config = from_dict(TrainingConfig, values)
        return Run(potential, sized[:18], sized[18:], config, tmp_path / way / f"member_{number}")

    return run_of


def smaller(cluster):
    """Without its last atom, so that batches differ in size."""
    few = {name: getattr(cluster, name)[:5] for name in ("species", "positions", "forces")}
    return cluster.replace(**few)


def alone(run):
    return fit(*run[:4], run.run_dir, resume=True, progress=False)


def assert_same(left, right, *, exactly=False):
    for one, other in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True):
        if exactly:
            np.testing.assert_array_equal(one, other)
        np.testing.assert_allclose(one, other, rtol=2e-3, atol=2e-4)


def rows(run):
    return [json.loads(x) for x in (run.run_dir / "metrics.jsonl").read_text().splitlines()]


def test_members_are_those_that_are_trained_alone(run_of):
    both = [run_of(n, "both") for n in (0, 1)]
    found = fit_together(both, progress=False)
    for number, potential in enumerate(found):
        single = run_of(number, "alone")
        assert_same(potential.params, alone(single).params)
        for one, other in zip(rows(both[number]), rows(single), strict=True):
            assert one["train_loss"] == pytest.approx(other["train_loss"], rel=1e-4)
    left, right = (jax.tree.leaves(potential.params) for potential in found)
    assert any(np.any(a != b) for a, b in zip(left, right, strict=True))


def test_native_kernels_serve_members_side_by_side(clusters):
    """MACE, whose convolutions and products are kernels where these are built."""
    model = make_model("mace", {"species": [18], **MACE})
    potentials = [
        initial_potential("mace", model, key=jax.random.key(k), reference_energies=(-3.0,))
        for k in (0, 1)
    ]
    loss, optimizer = LossConfig(energy=TermConfig(), forces=TermConfig()), optax.adam(1.0)
    step = make_step(
        potentials[0].apply,
        loss,
        optimizer,
        reference_energies=(-3.0,),
        ema_decay=0.0,
        max_skipped=1,
        compilations=Compilations(),
    )
    controls = Controls(np.float32(1e-2), np.ones(2, np.float32))
    feeds = [
        Feed(clusters[2 * k : 2 * k + 2], p, dtype="float32") for k, p in enumerate(potentials)
    ]
    asked = [
        Asked(init_state(p.params, optimizer), next(feed.epoch(0, 2)), controls)
        for p, feed in zip(potentials, feeds, strict=True)
    ]
    for (state, report), one in zip(make_joint_step(step)(asked, feeds), asked, strict=True):
        expected, alone_ = step(one.state, one.fed.batch, one.controls)
        np.testing.assert_allclose(report.terms, alone_.terms, rtol=1e-5)
        np.testing.assert_allclose(report.gradient_norm, alone_.gradient_norm, rtol=1e-5)
        assert_same(state.on_host().params, expected.params)


def test_interrupted_together_they_go_on_to_the_same_end(run_of, tmp_path, monkeypatch):
    """And one of them has fewer epochs than the other."""

    def runs(way):
        return [run_of(n, way, max_epochs=4 - n) for n in (0, 1)]

    whole = fit_together(runs("whole"), progress=False)
    took = Trainer._took

    def took_and_interrupt(self, fed, state, report):
        took(self, fed, state, report)
        if self.course.step == 5 and self.files.run_dir.name == "member_0":
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(Trainer, "_took", took_and_interrupt)
    with pytest.raises(KeyboardInterrupt):
        fit_together(runs("cut"), progress=False)
    monkeypatch.undo()
    for number in (0, 1):
        saved = {p.name for p in (tmp_path / "cut" / f"member_{number}" / "checkpoints").iterdir()}
        assert saved & {"000000005", "000000006"}
    for one, other in zip(fit_together(runs("cut"), progress=False), whole, strict=True):
        assert_same(one.params, other.params, exactly=True)
        assert one.provenance["training"]["epochs"] == other.provenance["training"]["epochs"]


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("RESOURCE_EXHAUSTED: 12 GB")])
def test_what_does_not_fit_into_memory_is_said_with_what_to_do(run_of, monkeypatch, error):
    def full(*_):
        raise error

    monkeypatch.setattr("jmlip.training.together.take_turns", full)
    with pytest.raises(JmlipError, match=r"found 3 on each of 1 that do not; .* --at-once"):
        fit_together([run_of(n) for n in range(3)], progress=False)


def test_what_cannot_share_a_program_is_refused(run_of, untrained, tmp_path):
    wider = type(untrained.model)(dataclasses.replace(untrained.model.config, width=9))
    with pytest.raises(ConfigError, match=r"the same model\.width, which follows from the data"):
        fit_together([run_of(0), run_of(1, model=wider)])
    with pytest.raises(ConfigError, match=r"the same training\.ema_decay, found 0\.9 and 0\.5"):
        fit_together([run_of(0), run_of(1, ema_decay=0.5)])
    both = [run_of(n, loss={"energy": {}, "hierarchy": {"weight": 0.1}}) for n in (0, 1)]
    with pytest.raises(ConfigError, match=r"cannot have loss\.hierarchy"):
        fit_together(both)
    for message, fields in {
        r"whole batches, found training\.accumulate = 2": {"accumulate": 2},
        r"by sharding, found training\.parallel = 'pmap'": {"devices": 2, "parallel": "pmap"},
        r"training\.devices must not be more than there are, found 2 and 1": {"devices": 2},
    }.items():
        with pytest.raises(ConfigError, match=message):
            fit_together([run_of(n, **fields) for n in (0, 1)])
    assert not any(tmp_path.iterdir())
