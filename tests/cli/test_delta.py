"""Corrections to a given potential: what stays, where they begin, what they learn, bad input."""

import tomllib

import jax
import numpy as np
import pytest

from jmlip.core.checkpoint import read_arrays
from jmlip.data import read, write
from jmlip.factory import load_potential, make_model, split_pair
from jmlip.potentials.potential import initial_potential, save_potential
from jmlip.training.delta import differences

SHIFT, STIFFER = 3.0, 12.0
"""Another level of theory: E + SHIFT + STIFFER (r - 0.9)^2 / 2."""


def other_level(frame):
    bond = frame.positions[1] - frame.positions[0]
    r = np.linalg.norm(bond)
    pull = STIFFER * (r - 0.9) * bond / r
    energy = frame.energy + SHIFT + 0.5 * STIFFER * (r - 0.9) ** 2
    return frame.replace(energy=energy, forces=frame.forces + np.array([pull, -pull]))


@pytest.fixture(scope="module")
def configuration(folder, potential):
    for name in ("hydrogen", "held-out"):
        write(folder / f"{name}-cc.xyz", [other_level(s) for s in read(folder / f"{name}.xyz")])
    text = (folder / "config.toml").read_text()
    data = """[data]
train = "hydrogen-cc.xyz"
validation = "held-out-cc.xyz"

[model]
baseline = "run/potential"
cutoff = 3.0
n_features = 4
n_sensitivities = 4
n_interactions = 1
n_onsite = 0
max_rank = 0

"""
    path = folder / "delta.toml"
    path.write_text(
        data + text[text.index("[loss]") :].replace("max_epochs = 60", "max_epochs = 30")
    )
    return path


def test_a_correction_learns_the_difference_and_the_baseline_stays(
    jmlip, folder, potential, configuration, tmp_path, without_report
):
    result = jmlip("train", configuration, "--run", tmp_path / "run")
    assert result.code == 0, result.err
    found = tmp_path / "run" / "potential"
    whole, baseline = load_potential(found), load_potential(potential)
    before, after = (read_arrays(p / "params.safetensors") for p in (potential, found))
    for name, array in before.items():
        np.testing.assert_array_equal(after[f"small/{name}"], array)

    # reference energies: of the baseline, and the mean of what it leaves
    train = read(folder / "hydrogen-cc.xyz")
    left = np.mean(
        [s.energy - p.energy for s, p in zip(train, baseline.predict(train), strict=True)]
    )
    gain = whole.reference_energies[0] - baseline.reference_energies[0]
    assert 2.0 * gain == pytest.approx(left, abs=1e-4)
    assert left == pytest.approx(SHIFT, abs=0.5)

    # the sum of both parts is the potential, and errs less than the baseline
    test = read(folder / "held-out-cc.xyz")
    said, base = whole.predict(test), baseline.predict(test)
    _, correction = split_pair(whole)
    for p, b, c in zip(said, base, correction.predict(test), strict=True):
        np.testing.assert_allclose(p.forces, b.forces + c.forces, atol=1e-4)
        assert p.energy == pytest.approx(b.energy + c.energy + 2.0 * gain, abs=1e-4)
    errors = [
        np.sqrt(np.mean([(s.forces - p.forces) ** 2 for s, p in zip(test, each, strict=True)]))
        for each in (said, base)
    ]
    assert errors[0] < 0.3 * errors[1]

    # what was resolved from the data makes the same run
    written = tomllib.loads((tmp_path / "run" / "config.toml").read_text())
    assert written["model"]["baseline"] == str(potential)
    assert written["model"]["r_high"] == pytest.approx(0.85 * 3.0)
    assert "rate_factors" not in written["optimizer"]


def test_differences_keep_what_is_absent(folder, potential):
    frames = read(folder / "held-out.xyz")[:2]
    baseline = load_potential(potential)
    left = differences([frames[0], frames[1].replace(forces=None)], baseline)
    said = baseline.predict(frames)
    assert left[0].energy == pytest.approx(frames[0].energy - said[0].energy)
    np.testing.assert_allclose(left[0].forces, frames[0].forces - said[0].forces)
    assert left[1].forces is None
    assert left[0].stress is None


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (("model.baseline=elsewhere",), 1, "must be a directory, and there is none"),
        (("model.baseline=3",), 2, "must be the directory of a potential, found 3"),
        (("model.potential=run/potential",), 2, "with fields of its own, found model.potential"),
        (("model.kind=pair",), 2, "found model.kind = 'pair'"),
        (("model.n_feature=4",), 2, "did you mean 'n_features'"),
        (("optimizer.rate_factors={small=0.1}",), 2, "means nothing with model.baseline"),
    ],
)
def test_bad_corrections(jmlip, configuration, tmp_path, options, code, message):
    words = [word for one in options for word in ("--set", one)]
    result = jmlip("train", configuration, "--run", tmp_path / "run", *words)
    assert (result.code, message in result.err) == (code, True), result.err
    assert not (tmp_path / "run").exists()


def test_a_pair_is_no_baseline(jmlip, configuration, tmp_path):
    fields = {"kind": "hipnn", "cutoff": 3.0, "r_high": 2.5, "n_features": 2, "n_onsite": 0}
    model = make_model("pair", {"species": [1], "small": fields, "large": fields})
    pair = initial_potential("pair", model, key=jax.random.key(0), reference_energies=(0.0,))
    save_potential(pair, tmp_path / "pair")
    words = ("--set", f"model.baseline={tmp_path / 'pair'}", "--run", tmp_path / "run")
    result = jmlip("train", configuration, *words)
    assert result.code == 2
    assert "model.baseline must be a single model, found a pair" in result.err
