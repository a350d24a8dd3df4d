"""Training that starts from a potential: other labels, the same model, parts that stay."""

import tomllib

import numpy as np
import pytest

from jmlip.core.checkpoint import read_arrays
from jmlip.data import read, write
from jmlip.factory import load_potential


@pytest.fixture(scope="module")
def configuration(folder, potential):
    """The configuration of the potential with other energies, and the potential for a model."""
    frames = read(folder / "hydrogen.xyz")
    moved = [frame.replace(energy=frame.energy + 3.0) for frame in frames]
    write(folder / "moved.xyz", moved)
    text = (folder / "config.toml").read_text().replace("hydrogen.xyz", "moved.xyz")
    start, end = text.index("[model]"), text.index("[loss]")
    path = folder / "tuned.toml"
    path.write_text(f"{text[:start]}[model]\npotential = 'run/potential'\n\n{text[end:]}")
    return path


def test_a_run_starts_from_the_potential_with_references_of_its_own_data(
    jmlip, folder, potential, configuration, tmp_path, without_report
):
    """With rates of zero nothing is learned: what is left are the new reference energies."""
    names = sorted({name.split("/")[0] for name in read_arrays(potential / "params.safetensors")})
    frozen = "optimizer.rate_factors={" + ", ".join(f"{name}=0.0" for name in names) + "}"
    options = ("--set", "training.max_epochs=1", "--set", frozen)
    result = jmlip("train", configuration, "--run", tmp_path / "tuned", *options)
    assert result.code == 0, result.err
    assert "notice: optimizer.rate_factors are 0 for all parameters" in result.err
    before, after = (load_potential(p) for p in (potential, tmp_path / "tuned" / "potential"))
    assert before.kind == after.kind
    assert before.model.config == after.model.config
    for name, array in read_arrays(potential / "params.safetensors").items():
        found = read_arrays(tmp_path / "tuned" / "potential" / "params.safetensors")[name]
        np.testing.assert_array_equal(found, array)
    frames = read(folder / "held-out.xyz")
    gains = [
        two.energy - one.energy
        for one, two in zip(before.predict(frames), after.predict(frames), strict=True)
    ]
    np.testing.assert_allclose(gains, 3.0, atol=0.05)
    written = tomllib.loads((tmp_path / "tuned" / "config.toml").read_text())
    assert written["model"] == {"potential": str(folder / "run" / "potential")}


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (("--set", "model.potential=elsewhere"), 1, "must be a directory, and there is none"),
        (("--set", "model.cutoff=3.0"), 2, "must stand alone"),
        (("--set", "model.kind=mace"), 2, "must stand alone"),
        (("--set", "model.potential=[]"), 2, "must be the directory of a potential, found []"),
        (("--set", "model.potential="), 2, "must be the directory of a potential, found ''"),
    ],
)
def test_impossible_starts(jmlip, configuration, tmp_path, options, code, message):
    result = jmlip("train", configuration, "--run", tmp_path / "run", *options)
    assert result.code == code
    assert message in result.err
    assert not (tmp_path / "run").exists()
