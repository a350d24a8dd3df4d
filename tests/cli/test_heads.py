"""Two levels of theory by `jmlip train`: the data name the head, the run leaves two potentials."""

import numpy as np
import pytest

from jmlip.cli.config import load_config
from jmlip.cli.description import describe
from jmlip.cli.run_report import compare
from jmlip.cli.sets import read_sets
from jmlip.cli.workflow import prepare
from jmlip.core.checkpoint import read_arrays
from jmlip.data import read, write
from jmlip.factory import load_potential
from tests.cli.test_delta import SHIFT, other_level


@pytest.fixture(scope="module")
def configuration(folder, potential):
    """Both levels in one file; the trunk and the first readouts are those of the potential."""
    for name, cut in (("hydrogen", 20), ("held-out", 10)):
        frames = read(folder / f"{name}.xyz")
        both = [s.replace(info={"head": "dft"}) for s in frames]
        both += [other_level(s).replace(info={"head": "cc"}) for s in frames[:cut]]
        write(folder / f"{name}-both.xyz", both)
    text = (folder / "config.toml").read_text()
    data = """[data]
train = "hydrogen-both.xyz"
validation = "held-out-both.xyz"

[model]
potential = "run/potential"
heads = ["dft", "cc"]

"""
    path = folder / "heads.toml"
    path.write_text(
        data + text[text.index("[loss]") :].replace("max_epochs = 60", "max_epochs = 30")
    )
    return path


def test_replay_with_a_frozen_trunk(
    jmlip, folder, potential, configuration, tmp_path, without_report
):
    run = tmp_path / "run"
    words = ("--set", "optimizer.rate_factors={trunk = 0.0}")
    result = jmlip("train", configuration, "--run", run, *words)
    assert result.code == 0, result.err
    assert f"potential: {run / 'heads' / 'cc'}" in result.out
    said = jmlip("info", run / "potential").out
    assert "reference energies of head dft" in said
    assert "reference energies of head cc" in said
    start = read_arrays(potential / "params.safetensors")
    found = {head: load_potential(run / "heads" / head) for head in ("dft", "cc")}
    assert {p.kind for p in found.values()} == {"hipnn"}
    for head in found:
        arrays = read_arrays(run / "heads" / head / "params.safetensors")
        assert arrays.keys() == start.keys()
        for name, array in start.items():
            assert np.array_equal(arrays[name], array) == (not name.startswith("energy_"))
    gain = found["cc"].reference_energies[0] - found["dft"].reference_energies[0]
    assert 2.0 * gain == pytest.approx(SHIFT, abs=0.5)

    sets = read_sets(load_config(configuration).data, heads=("dft", "cc"))
    reported = {c.name for c in compare(load_potential(run / "potential"), sets, dtype="float32")}
    assert {"training, dft", "training, cc"} <= reported

    # the frozen trunk serves both: each head errs less on its own level
    frames = read(folder / "held-out.xyz")
    levels = {"dft": frames, "cc": [other_level(s) for s in frames]}
    said = {head: p.predict(frames) for head, p in found.items()}
    rms = lambda head, level: np.sqrt(
        np.mean(
            [(p.forces - s.forces) ** 2 for p, s in zip(said[head], levels[level], strict=True)]
        )
    )
    assert rms("dft", "dft") < 0.5 * min(rms("dft", "cc"), rms("cc", "dft"))
    assert rms("cc", "cc") < 0.7 * min(rms("cc", "dft"), rms("dft", "cc"))

    # the potential with both is told by the structures, and is no place to start from
    told = run / "potential"
    evaluated = jmlip("evaluate", told, folder / "held-out-both.xyz")
    assert evaluated.code == 0, evaluated.err
    refused = jmlip("evaluate", told, folder / "held-out.xyz")
    assert "must name its head, one of dft, cc, found None" in refused.err
    words = "--ensemble", "nve", "--timestep-fs", 1, "--steps", 1, "--temperature-K", 300, "--out"
    refused = jmlip("md", told, folder / "held-out.xyz", *words, tmp_path / "md.xyz")
    assert refused.code == 1
    assert "take one of dft, cc: the directory heads/NAME that jmlip train leaves" in refused.err
    assert not [*tmp_path.glob("md.xyz*")]
    again = jmlip(
        "train", configuration, "--run", tmp_path / "again", "--set", f"model.potential={told}"
    )
    assert again.code == 2
    assert "training must start from one head, found the 2 of" in again.err


def test_heads_of_the_data_alone_are_mentioned(folder, configuration):
    config = load_config(configuration, ["model={n_features = 4}"])
    said = describe(*prepare(config, command="")[:3])
    assert "note: the data name the heads cc, dft, which the model does not tell apart" in said
    assert "note" not in describe(*prepare(load_config(configuration), command="")[:3])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("model.heads=[]",), "must be an array of names, found []"),
        (("model.heads=dft",), "must be an array of names"),
        (("model.heads=['cc','cc']",), "each head once"),
        (
            ("model.heads=['cc']",),
            "both.xyz, frame 0: every structure must name its head, one of cc",
        ),
        (("model.heads=['dft','cc','xc']",), "none of head 'xc'"),
        (("model.heads=['trunk']",), "other than 'trunk'"),
        (("model.baseline=run/potential",), "must be a single model, found model.baseline"),
        (("model={heads=['dft','cc'], kind='ani'}",), "found 'ani'"),
        (("loss.hierarchy={weight=1.0}",), "found model.heads; remove one of them"),
        (("optimizer.rate_factors={trunc=0.0}",), "did you mean 'trunk'"),
    ],
)
def test_bad_heads(jmlip, configuration, tmp_path, options, message):
    words = [word for one in options for word in ("--set", one)]
    result = jmlip("train", configuration, "--run", tmp_path / "run", *words)
    assert result.code in (1, 2)
    assert message in result.err
    assert not (tmp_path / "run").exists()
