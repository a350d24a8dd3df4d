"""`jmlip info`: the facts of a potential, of data, of a configuration."""

import tomllib

from jmlip.data import read, write
from jmlip.factory import load_potential


def test_potential(jmlip, potential):
    result = jmlip("info", potential)
    facts = dict(line.split("  ", 1) for line in result.out.splitlines())
    facts = {name: value.strip() for name, value in facts.items()}
    assert facts["kind"] == "hipnn"
    assert facts["species"] == "H"
    assert facts["cutoff"] == "3.0 angstrom"
    assert facts["parameters"] == str(load_potential(potential).n_parameters)
    assert facts["command"] == "jmlip train config.toml"
    assert facts["best epoch"].endswith("of 60")
    assert facts["trained on"].startswith("40 structures")


def test_data(jmlip, folder):
    result = jmlip("info", folder / "hydrogen.xyz")
    assert result.code == 0
    assert "H2 (50)" in result.out
    assert "energy        50 structures, -13" in result.out
    assert "stress        none" in result.out
    assert "forces look like -dE/dR" in result.out


def test_gradients_in_place_of_forces_are_found(jmlip, folder, tmp_path):
    path = tmp_path / "gradients.xyz"
    write(path, [s.replace(forces=-s.forces) for s in read(folder / "hydrogen.xyz")])
    assert "forces look like +dE/dR" in jmlip("info", path).out


def test_configuration_is_shown_resolved_and_can_be_read_back(jmlip, folder):
    result = jmlip("info", folder / "config.toml")
    assert result.code == 0
    config = tomllib.loads(result.out)
    assert config["data"]["train"] == str(folder / "hydrogen.xyz")
    assert config["optimizer"]["b1"] == 0.9


def test_configuration_shows_the_whole_model(jmlip, folder):
    config = tomllib.loads(jmlip("info", folder / "config.toml").out)
    trained = tomllib.loads((folder / "run" / "config.toml").read_text())
    # the shortest distance is known only from the data
    assert trained["model"].pop("r_low") > 0.0
    assert config["model"] == trained["model"]


def test_configuration_with_absent_files(jmlip, tmp_path):
    (tmp_path / "c.toml").write_text('[data]\ntrain = ["nowhere.xyz", "c.toml"]\n')
    result = jmlip("info", tmp_path / "c.toml")
    assert result.code == 2
    assert result.err.endswith(f"found none at {tmp_path / 'nowhere.xyz'}.\n")
