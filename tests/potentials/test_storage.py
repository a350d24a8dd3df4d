"""Potential directories: what is written comes back, what is damaged or hostile is refused."""

import functools
import json
import os
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
import safetensors.numpy

from jmlip.core.errors import JmlipError, PotentialError
from jmlip.factory import load_potential, make_model
from jmlip.potentials.potential import Potential, initial_potential, save_potential
from jmlip.potentials.storage import make_provenance

CONFIG = {
    "species": [8, 1],
    "cutoff": 4.0,
    "n_features": 4,
    "n_sensitivities": 3,
    "n_interactions": 1,
    "n_onsite": 0,
    "r_high": 3.5,
}


@pytest.fixture(scope="module")
def potential() -> Potential:
    potential = initial_potential(
        "hipnn",
        make_model("hipnn", CONFIG),
        key=jax.random.key(1),
        reference_energies=(-2043.123456789012, -13.6),
        statistics={"n_structures": 3, "range": [0.5, None]},
    )
    provenance = make_provenance(data_hash="d" * 16, config_hash="c" * 16, command="jmlip train")
    return Potential(**{**vars(potential), "provenance": provenance})


@pytest.fixture(scope="module")
def saved(potential, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("potential") / "water"
    save_potential(potential, path)
    return path


@pytest.fixture
def copy(saved, tmp_path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "copy"))


def test_everything_comes_back(potential, saved):
    loaded = load_potential(saved)
    for name in ("kind", "species", "cutoff", "reference_energies", "statistics", "provenance"):
        assert getattr(loaded, name) == getattr(potential, name)
    assert loaded.model == potential.model
    assert loaded.n_parameters == potential.n_parameters
    assert jax.tree.structure(loaded.params) == jax.tree.structure(potential.params)
    for found, expected in zip(
        jax.tree.leaves(loaded.params), jax.tree.leaves(potential.params), strict=True
    ):
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)


def test_double_precision_comes_back_bit_for_bit(potential, tmp_path):
    noise = lambda leaf: np.asarray(leaf, np.float64) + 1e-12
    params = jax.tree.map(noise, potential.params)
    double = Potential(**{**vars(potential), "params": params})
    save_potential(double, tmp_path / "double")
    loaded = load_potential(tmp_path / "double")
    for found, expected in zip(
        jax.tree.leaves(loaded.params), jax.tree.leaves(params), strict=True
    ):
        np.testing.assert_array_equal(found, expected)


def test_four_plain_files_that_name_no_machine(saved):
    names = {"config.json", "params.safetensors", "provenance.json", "statistics.json"}
    assert {item.name for item in saved.iterdir()} == names
    provenance = json.loads((saved / "provenance.json").read_text())
    assert {"data_hash", "config_hash", "command", "created", "versions"} == set(provenance)
    assert {"jmlip", "jax", "python"} <= set(provenance["versions"])
    text = "".join((saved / name).read_text() for name in names if name.endswith(".json"))
    assert str(Path.home()) not in text
    assert os.uname().nodename not in text


def test_saving_over_something_else_is_refused(potential, tmp_path):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "thesis.tex").write_text("years of work")
    with pytest.raises(JmlipError, match="other files"):
        save_potential(potential, tmp_path / "notes")
    assert (tmp_path / "notes" / "thesis.tex").exists()


def edit(**changes):
    def apply(path: Path) -> None:
        config = json.loads((path / "config.json").read_text())
        for name, value in changes.items():
            section = config["model"] if name in config["model"] and name != "species" else config
            if value is None:
                del section[name]
            else:
                section[name] = value
        (path / "config.json").write_text(json.dumps(config))

    return apply


def write(name: str, content: bytes):
    return lambda path: (path / name).write_bytes(content)


def remove(name: str):
    return lambda path: (path / name).unlink()


def arrays(change):
    def apply(path: Path) -> None:
        file = path / "params.safetensors"
        params = safetensors.numpy.load_file(file)
        change(params)
        safetensors.numpy.save_file(params, file)

    return apply


def truncate(path: Path) -> None:
    content = (path / "params.safetensors").read_bytes()
    (path / "params.safetensors").write_bytes(content[: len(content) // 2])


def link_outside(name: str):
    def apply(path: Path) -> None:
        outside = path.parent / name
        shutil.move(path / name, outside)
        (path / name).symlink_to(outside)

    return apply


def pipe(path: Path) -> None:
    (path / "config.json").unlink()
    os.mkfifo(path / "config.json")


def huge(path: Path) -> None:
    with (path / "statistics.json").open("wb") as file:
        file.truncate(2**30)


def first(params: dict) -> str:
    return sorted(params)[0]


def set_nan(params: dict) -> None:
    params[first(params)].flat[0] = np.nan


HOSTILE = {
    "no directory": (shutil.rmtree, "must be a directory"),
    "config missing": (remove("config.json"), "config.json is missing"),
    "parameters missing": (remove("params.safetensors"), "params.safetensors is missing"),
    "statistics missing": (remove("statistics.json"), "statistics.json is missing"),
    "provenance missing": (remove("provenance.json"), "provenance.json is missing"),
    "config empty": (write("config.json", b""), "not valid JSON"),
    "config cut": (write("config.json", b'{"format": "jmlip'), "not valid JSON"),
    "config binary": (write("config.json", b"\x80\x04\x95"), "not valid JSON"),
    "config not an object": (write("config.json", b"[1, 2]"), "must hold a JSON object"),
    "config nested deeply": (write("config.json", b"[" * 10**6), "not valid JSON"),
    "config with NaN": (write("config.json", b'{"cutoff": NaN}'), "not valid JSON"),
    "statistics damaged": (write("statistics.json", b"{"), "not valid JSON"),
    "provenance a string": (write("provenance.json", b'"x"'), "must hold a JSON object"),
    "statistics of a gigabyte": (huge, "at most 16 MiB"),
    "other format": (edit(format="mace"), "must hold format 'jmlip-potential', found 'mace'"),
    "format missing": (edit(format=None), "must hold format"),
    "newer version": (edit(format_version=2), "made by a newer jmlip"),
    "version zero": (edit(format_version=0), "format_version must be a positive integer"),
    "version a string": (edit(format_version="1"), "format_version must be a positive integer"),
    "other units": (edit(units={"energy": "Ha", "length": "bohr"}), "must be in eV and angstrom"),
    "units missing": (edit(units=None), "must be in eV and angstrom"),
    "unknown kind": (edit(kind="hipnm"), "did you mean 'hipnn'"),
    "kind a list": (edit(kind=["hipnn"]), "kind must be a string"),
    "kind a module": (edit(kind="os.system"), "unknown model.kind"),
    "model a string": (edit(model="big"), "model must be an object"),
    "model key unknown": (edit(model={**CONFIG, "wdith": 3}), "unknown key 'model.wdith'"),
    "model value of wrong type": (edit(n_features="64"), "n_features must be of type int"),
    "model value nested deeply": (
        edit(n_features=functools.reduce(lambda inner, _: [inner], range(900), 1)),
        "n_features must be of type int",
    ),
    "model value impossible": (edit(n_features=-4), "n_features must be at least 1"),
    "species empty": (edit(species=[]), "species must be distinct atomic numbers"),
    "species repeated": (edit(species=[1, 1]), "species must be distinct atomic numbers"),
    "species 119": (edit(species=[8, 119]), "species must be distinct atomic numbers"),
    "species true": (edit(species=[8, True]), "species must be distinct atomic numbers"),
    "species strings": (edit(species=["O", "H"]), "species must be distinct atomic numbers"),
    "species of another order": (edit(species=[1, 8]), "contradicts itself: the model has species"),
    "cutoff endless": (edit(cutoff=1.0e9), "cutoff"),
    "references short": (edit(reference_energies=[1.0]), "must be 2 finite numbers"),
    "references strings": (edit(reference_energies=["a", "b"]), "must be 2 finite numbers"),
    "references infinite": (edit(reference_energies=[10**400, 0]), "must be 2 finite numbers"),
    "dtype unknown": (edit(dtype="float16"), "dtype must be float32 or float64"),
    "dtype of others": (edit(dtype="float64"), "arrays must be of type float64, found float32"),
    "parameters empty": (write("params.safetensors", b""), "damaged"),
    "parameters text": (write("params.safetensors", b"hello" * 100), "damaged"),
    "parameters cut": (truncate, "damaged"),
    "array missing": (arrays(lambda p: p.pop(first(p))), "1 arrays differ"),
    "array added": (arrays(lambda p: p.update(x=np.zeros(3))), "1 arrays differ, first 'x'"),
    "array of other shape": (
        arrays(lambda p: p.update({first(p): np.zeros((7, 7), np.float32)})),
        r"must have shape .* found \(7, 7\)",
    ),
    "array of integers": (
        arrays(lambda p: p.update({first(p): p[first(p)].astype(np.int32)})),
        "must be of type float32, found int32",
    ),
    "parameter NaN": (arrays(set_nan), "parameters must be finite"),
    "absurd width": (edit(n_features=10**12), "sizes that config.json asks|must have shape"),
    "absurd number": (edit(n_sensitivities=10**15), "sizes that config.json asks|must have shape"),
    "number of 100 bits": (edit(n_sensitivities=10**30), "at most 64 bits"),
    "absurd depth": (edit(n_interactions=10**9), "n_interactions must be"),
    "absurd depth on site": (edit(n_onsite=10**9), "n_onsite must"),
    "parameters linked": (link_outside("params.safetensors"), "links are not followed"),
    "config linked": (link_outside("config.json"), "links are not followed"),
    "config a pipe": (pipe, "must be a regular file"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_refuses(copy, name):
    damage, message = HOSTILE[name]
    damage(copy)
    with pytest.raises(PotentialError, match=message) as caught:
        load_potential(copy)
    assert str(caught.value).endswith(".")
    assert len(str(caught.value)) < 500
