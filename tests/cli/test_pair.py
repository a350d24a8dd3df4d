"""Pairs of models by the commands: trained from a small potential, run, and refused."""

import tomllib

import numpy as np
import pytest

from jmlip.core.checkpoint import read_arrays
from jmlip.data import read
from jmlip.factory import load_potential

LARGE = "model.large={kind='hipnn', cutoff=3.0, n_features=4, n_sensitivities=4, n_onsite=0}"


@pytest.fixture(scope="module")
def configuration(folder, potential):
    """The configuration of the small potential, with a pair that starts from it."""
    text = (folder / "config.toml").read_text()
    start, end = text.index("[model]"), text.index("[loss]")
    path = folder / "pair.toml"
    path.write_text(f"{text[:start]}[model]\nkind = 'pair'\n\n{text[end:]}")
    return path


@pytest.fixture
def train(jmlip, configuration, tmp_path, without_report):
    def train(*assignments, small="{potential='run/potential'}"):
        words = [f"model.small={small}", LARGE, "training.max_epochs=2", *assignments]
        options = [word for one in words for word in ("--set", one)]
        return jmlip("train", configuration, "--run", tmp_path / "pair", *options)

    return train


def test_a_frozen_small_part_stays_and_the_rest_learns(train, jmlip, folder, potential, tmp_path):
    result = train(
        "optimizer.rate_factors={small=0.0}",
        "loss.small_forces={weight=0.1}",
        "loss.slow_forces={weight=0.01}",
    )
    assert result.code == 0, result.err
    before, after = (
        read_arrays(path / "params.safetensors")
        for path in (potential, tmp_path / "pair" / "potential")
    )
    for name, array in before.items():
        np.testing.assert_array_equal(after[f"small/{name}"], array)
    assert len(after) > len(before)
    assert (
        "potential"
        in tomllib.loads((tmp_path / "pair" / "config.toml").read_text())["model"]["small"]
    )
    pair = load_potential(tmp_path / "pair" / "potential")
    assert pair.model.config.large["n_features"] == 4

    out = tmp_path / "t.xyz"
    words = ("--ensemble", "nve", "--timestep-fs", "0.1", "--steps", "4", "--every", "2")
    run = jmlip(
        "md", tmp_path / "pair" / "potential", folder / "held-out.xyz", *words,
        *("--n-inner", "2", "--temperature-K", "10", "--out", out),
    )  # fmt: skip
    assert run.code == 0, run.err
    assert len(read(out)) == 3


@pytest.mark.parametrize(
    ("assignments", "small", "message"),
    [
        ((), "{potential='elsewhere'}", "must be a directory, and there is none"),
        ((), "{potential='run/potential', cutoff=3.0}", "must stand alone"),
        ((), "{cutoff=3.0}", "model.small must have kind, or potential"),
        ((), "{kind='hipn'}", "unknown model.small.kind 'hipn': did you mean 'hipnn'"),
        ((), "{kind='pair'}", "model.small must be a single model"),
        ((), "{kind='hipnn', cutof=3.0}", "unknown key 'model.small.cutof'"),
        ((), "{kind='hipnn', species=[1]}", "model.small.species comes from the data"),
        ((), "3", "model.small of a pair must be a table"),
        (("model.larg={kind='ani'}",), "{kind='hipnn'}", "did you mean 'large'"),
        (("data.reference=none",), "{potential='run/potential'}", "must be those of this training"),
        (("optimizer.rate_factors={smal=0.1}",), "{kind='hipnn'}", "did you mean 'small'"),
        (("optimizer.rate_factors={small=-1.0}",), "{kind='hipnn'}", "must be at least 0"),
    ],
)
def test_bad_pairs(train, tmp_path, assignments, small, message):
    result = train(*assignments, small=small)
    assert result.code == 2 or "there is none" in message
    assert message in result.err
    assert not (tmp_path / "pair").exists()


def test_terms_of_a_pair_need_one(jmlip, folder, tmp_path):
    words = ("--set", "loss.small_forces={weight=0.1}", "--run", tmp_path / "r")
    result = jmlip("train", folder / "config.toml", *words)
    assert result.code == 2
    assert "loss.small_forces compares the parts of a pair of models" in result.err
