"""Bad input to every command: one sentence, the right exit code, and no trace on disk."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import jax
import pytest

from jmlip.factory import load_potential
from jmlip.potentials.ensembles import write_ensemble

GOOD = "2\nProperties=species:S:1:pos:R:3:forces:R:3 energy=-26.0\nH 0 0 0 0 0 0\nH 0 0 0.8 0 0 0\n"
OXYGEN = GOOD.replace("H 0 0 0.8", "O 0 0 0.8")
OVERLAPPING = GOOD.replace("0 0 0.8", "0 0 0.0")
NVE = "md {p} {d} --ensemble nve --timestep-fs 0.25 --steps 10 --temperature-K 300 --out {t}/o.xyz"
CSVR = NVE.replace("nve", "csvr")
TRAIN = "train {c} --run {t}/run"


class Case(NamedTuple):
    """Words of the command, with {p}otential, {d}ata, {c}onfig and {t}emporary folder filled in."""

    words: str
    code: int
    message: str
    files: Mapping[str, str | bytes] = MappingProxyType({})


def evaluate(content: str | bytes, code: int, message: str, name: str = "x.xyz") -> Case:
    """A damaged file of data."""
    return Case("evaluate {p} {t}/" + name + " --json {t}/e.json", code, message, {name: content})


def config(content: str, code: int, message: str) -> Case:
    """A wrong configuration."""
    return Case("train {t}/x.toml --run {t}/run", code, message, {"x.toml": content})


def change(assignment: str, message: str, code: int = 2) -> Case:
    """A wrong value in a configuration that is right otherwise."""
    return Case(f"{TRAIN} --set {assignment}", code, message)


def members(words: str, message: str) -> Case:
    """An ensemble that cannot be trained."""
    return Case(f"ensemble {{c}} --run {{t}}/run --members {words}", 2, message)


CASES = {
    # outputs that would replace inputs
    "errors over data": Case("evaluate {p} {d} --json {d}", 2, "must not overwrite an input"),
    "errors over a potential": Case(
        "evaluate {p} {d} --json {p}/config.json", 2, "must not overwrite an input"
    ),
    "relaxed over the start": Case("relax {p} {d} --out {d}", 2, "must not exist yet"),
    "labels of a configuration": Case("info {c} --energy-key E", 2, "mean nothing"),
    "one set twice": Case("evaluate {p} {d} {d}", 2, "every set once"),
    "structures from a potential": Case("evaluate {p} {p}", 1, "is a potential"),
    # numbers that are none
    "infinite rate": change("optimizer.learning_rate=inf", "must be a finite number"),
    "infinite weight": change("loss.forces.weight=inf", "must be a finite number"),
    "number of 100 bits": change("training.seed=1267650600228229401496703205376", "64 bits"),
    "negative seed of the split": change("data.split_seed=-1", "at least 0"),
    # several processes and devices
    "half of a process": Case(f"{TRAIN} --processes 2", 2, "belong together"),
    "process beyond the last": Case(
        f"{TRAIN} --coordinator localhost:1 --processes 2 --process-id 2", 2, "from 0 to 1"
    ),
    "coordinator without port": Case(
        f"{TRAIN} --coordinator here --processes 2 --process-id 0", 2, "must be HOST:PORT"
    ),
    "devices for a small batch": change("training.devices=999", "every device a structure"),
    "devices that are not there, known before data are read": change(
        "training.devices=2 --set data.train=no.xyz", "not be more than there are"
    ),
    "devices for members that are divided, not spread": members(
        "2 --set training.devices=999", "every device a structure"
    ),
    "devices without a member": members(
        "2 --together --set training.devices=3", "training.devices = 3 and 2 at once"
    ),
    "devices without a member of a group": members(
        "4 --together --at-once 1 --set training.devices=2", "training.devices = 2 and 1 at once"
    ),
    "devices that are not there, for members": members(
        "2 --together --set training.devices=2", "not be more than there are"
    ),
    "members that take turns": members(
        "2 --together --set training.accumulate=2", "found training.accumulate = 2"
    ),
    "groups of members one by one": members("2 --at-once 1", "means nothing without --together"),
    "groups of no members": members("2 --together --at-once 0", "at least 1, found 0"),
    "no members together": members("0 --together", "at least one member"),
    # files of data
    "data absent": Case("evaluate {p} {t}/no.xyz", 1, "no such file"),
    "data is a directory": Case("evaluate {p} {t}", 1, ""),
    "data empty": evaluate("", 1, "empty"),
    "data binary": evaluate(bytes(range(256)) * 4, 1, "x.xyz"),
    "data truncated": evaluate(GOOD[:-20], 1, "truncated"),
    "data cut in the second frame": evaluate(GOOD + GOOD[:70], 1, "frame 1"),
    "count not a number": evaluate("two" + GOOD[1:], 1, "x.xyz"),
    "zero atoms": evaluate("0\nProperties=species:S:1:pos:R:3\n", 1, "atom"),
    "too few columns": evaluate(GOOD.replace("H 0 0 0 0 0 0", "H 0 0 0"), 1, "frame 0"),
    "unknown element": evaluate(GOOD.replace("H 0", "Hx 0"), 1, "Hx"),
    "position is NaN": evaluate(GOOD.replace("H 0 0 0 ", "H nan 0 0 "), 1, "finite"),
    "position is a word": evaluate(GOOD.replace("H 0 0 0 ", "H abc 0 0 "), 1, "frame 0"),
    "energy is NaN": evaluate(GOOD.replace("-26.0", "NaN"), 1, "finite"),
    "energy is infinite": evaluate(GOOD.replace("-26.0", "1e999"), 1, "finite"),
    "energy is a word": evaluate(GOOD.replace("-26.0", "low"), 1, "energy"),
    "force is NaN": evaluate(GOOD.replace("0.8 0 0 0", "0.8 0 nan 0"), 1, "finite"),
    "no labels": evaluate(GOOD.replace(" energy=-26.0", "").replace("forces", "f"), 1, "labels"),
    "HDF5 in name only": evaluate("not hdf5", 1, "x.h5", name="x.h5"),
    "npz in name only": evaluate("not a zip", 1, "x.npz", name="x.npz"),
    "format unknown": evaluate("?", 1, "format", name="x.unknown"),
    "periodic without a lattice": evaluate(GOOD.replace("energy", 'pbc="T T T" energy'), 1, "latt"),
    "species the potential does not know": evaluate(OXYGEN, 1, "must be among H"),
    "atoms on top of each other": evaluate(OVERLAPPING, 1, "at least 0.05 angstrom apart"),
    "key in no frame": Case("evaluate {p} {d} --energy-key U", 1, "no frame has the key 'U'"),
    # options
    "unit unknown": Case("evaluate {p} {d} --units energy=kcal", 2, "did you mean 'kcal/mol'"),
    "quantity unknown": Case("evaluate {p} {d} --units enrgy=eV", 2, "did you mean 'energy'"),
    "units malformed": Case("evaluate {p} {d} --units eV", 2, "energy=UNIT"),
    "units repeated": Case("evaluate {p} {d} --units energy=eV,energy=eV", 2, "at most once"),
    "dtype unknown": Case("evaluate {p} {d} --dtype float16", 2, "float32"),
    "align unknown": Case("evaluate {p} {d} --align mean", 2, "composition"),
    "JSON below a file": Case("evaluate {p} {d} --json {d}/e.json", 1, "cannot write"),
    "JSON in /proc": Case("evaluate {p} {d} --json /proc/e.json", 1, "cannot write"),
    # potentials
    "potential absent": Case("evaluate {t}/no {d}", 1, "the directory 'potential' of a run"),
    "potential is a file": Case("evaluate {d} {d}", 1, "the directory 'potential' of a run"),
    "potential is empty": Case("evaluate {t} {d}", 1, "config.json"),
    "info of nothing": Case("info {t}/nothing", 1, "no such file"),
    # dynamics and relaxation
    "steps negative": Case(NVE + " --steps -1", 2, "not negative"),
    "steps a fraction": Case(NVE + " --steps 1.5", 2, "a whole number"),
    "time step zero": Case(NVE + " --timestep-fs 0", 2, "positive"),
    "time step infinite": Case(NVE + " --timestep-fs inf", 2, "finite"),
    "temperature NaN": Case(NVE + " --temperature-K nan", 2, "temperature-K"),
    "ensemble unknown": Case(NVE + " --ensemble nvt", 2, "langevin"),
    "seed that nothing is drawn with": Case(
        NVE.replace("--temperature-K 300", "--seed 1"), 2, "--seed means nothing"
    ),
    "thermostat option in NVE": Case(NVE + " --tau-fs 100", 2, "tau_fs"),
    "thermostat without temperature": Case(
        "md {p} {d} --ensemble csvr --timestep-fs 1 --steps 1 --out {t}/o.xyz",
        2,
        "needs temperature_K",
    ),
    "ramp without points": Case(CSVR + " --temperature-ramp 300", 2, "points like"),
    "ramp that goes back": Case(CSVR + " --temperature-ramp 2:300,1:400", 2, "rising times"),
    "ramp to a negative temperature": Case(CSVR + " --temperature-ramp 1:-5", 2, "positive"),
    "ramp without thermostat": Case(NVE + " --temperature-ramp 1:300", 2, "temperature_ramp means"),
    "ramp of a pressure there is not": Case(
        CSVR + " --pressure-ramp 1:2", 2, "pressure_ramp means"
    ),
    "hydrogen bound to hydrogen": Case(NVE + " --hydrogen-mass-u 3", 2, "must have a heavier atom"),
    "hydrogen without mass": Case(NVE + " --hydrogen-mass-u 0", 2, "positive"),
    "limit of zero": Case(NVE + " --max-force 0", 2, "--max-force: must be positive"),
    "spread of nothing": Case(NVE + " --max-spread 1", 2, "--committee"),
    "committee of one": Case(NVE + " --max-spread 1 --committee {p}", 1, "ensemble"),
    "trajectory of no format": Case(NVE.replace("o.xyz", "o.traj"), 2, ".h5md"),
    "trajectory below a file": Case(NVE.replace("{t}/o.xyz", "{d}/o.xyz"), 1, "hydrogen.xyz"),
    "trajectory exists": Case(NVE, 2, "must not exist", {"o.xyz": GOOD}),
    "start of unknown species": Case(
        NVE.replace("{d}", "{t}/x.xyz"), 1, "must be among H", {"x.xyz": OXYGEN}
    ),
    "start with overlapping atoms": Case(
        NVE.replace("{d}", "{t}/x.xyz"), 1, "", {"x.xyz": OVERLAPPING}
    ),
    "relax to no format": Case("relax {p} {d} --out {t}/o.pdb", 2, ".extxyz"),
    "relax the cell of a molecule": Case("relax {p} {d} --out {t}/o.xyz --cell", 2, "periodic"),
    "relax below a file": Case("relax {p} {d} --out {d}/o.xyz", 1, "cannot write"),
    "tables of a HIP-NN": Case("tabulate {p} --out {t}/o", 1, "radial network"),
    "tables over a directory": Case("tabulate {p} --out {t}", 2, "must not exist yet"),
    "tables of few intervals": Case("tabulate {p} --out {t}/o --intervals 3", 2, "16 or more"),
    # configurations
    "config absent": Case("train {t}/no.toml", 2, "cannot read"),
    "config not TOML": config("[data\n", 2, "not valid TOML"),
    "config binary": Case("train {d}", 2, "not valid TOML"),
    "config empty": config("", 2, "data is required"),
    "section unknown": config('[dta]\ntrain = "x"\n', 2, "did you mean 'data'"),
    "training file not named": config("[data]\n", 2, "data.train is required"),
    "training file absent": config('[data]\ntrain = "no.xyz"\n', 2, "no.xyz"),
    "no training file": config("[data]\ntrain = []\n", 2, "data.train must name at least one"),
    "training file without name": config('[data]\ntrain = ""\n', 2, "data.train must name"),
    "one file without name": config('[data]\ntrain = ["a.xyz", ""]\n', 2, "each by a name"),
    "key unknown": change("model.cutof=5.0", "did you mean 'cutoff'"),
    "nested key unknown": change("loss.forces.wieght=1", "did you mean 'weight'"),
    "model unknown": change("model.kind=hipn", "did you mean 'hipnn'"),
    "a table to train": config(
        '[data]\ntrain = "x.xyz"\n[model]\nkind = "mace"\nradial_table = 64\n', 2, "jmlip tabulate"
    ),
    "species given": change("model.species=[1]", "comes from the data"),
    "cutoff below every bond": change("model.cutoff=0.3", "no atom of the training set has a"),
    "values for other elements": change(
        "model={{kind='mace',energy_scale=[1.0,2.0]}}", "one for each of 1 elements, got (1.0, 2.0)"
    ),
    "number or array, neither": change("model={{kind='mace',n_channels='32'}}", "type int"),
    "type wrong": change("training.max_epochs=many", "type int"),
    "bool for a number": change("training.seed=true", "type int"),
    "choice unknown": change("optimizer.name=adma", "'adam'"),
    "cutoff negative": change("model.cutoff=-1.0", "model"),
    "model larger than memory": change("model.n_features=1000000000", "must fit into memory"),
    "potential without a name": change("model={{potential=''}}", "found ''; name the directory"),
    "weight of a term negative": change("loss.forces.weight=-1", "loss.forces.weight must be from"),
    "learning rate zero": change("optimizer.learning_rate=0.0", "positive"),
    "training file twice": change(
        "data.train=['hydrogen.xyz','./hydrogen.xyz']", "hydrogen.xyz twice"
    ),
    "validation that is trained on": Case(
        "train {t}/x.toml --run {t}/run",
        2,
        "data.train and data.validation must name every file once",
        {"x.toml": "[data]\ntrain = 'x.xyz'\nvalidation = 'x.xyz'\n", "x.xyz": GOOD},
    ),
    "test file twice": change(
        "data.test=['held-out.xyz','held-out.xyz']", "data.test must name every"
    ),
    "fraction beyond 1": change("data.validation_fraction=1.5", "between 0 and 1"),
    "part too small": change("data.validation_fraction=0.001", "now 0.001", code=1),
    "more to train on than there is": change("data.n_train=1000", "at most the 40"),
    "fields contradict": change("optimizer.momentum=0.9", "no meaning"),
    "isolated atoms without file": change("data.reference=isolated-atoms", "isolated_atoms"),
    "assignment without value": change("training.seed", "section.key=value"),
    "value is not a section": change("training=3", "must be a section"),
    "loss without terms": change("loss={{}}", "at least one term"),
    "loss without labels": change("loss.stress.weight=1.0", "stress"),
    "weight of forces on the comment line": Case(
        TRAIN + " --set data.train={t}/x.xyz",
        1,
        "x.xyz, frame 1: forces_weight must be a number for each atom",
        {"x.xyz": GOOD + GOOD.replace("energy", "forces_weight=0.5 energy")},
    ),
    "test set of other species": Case(
        TRAIN + " --set data.test={t}/x.xyz", 1, "must be among H", {"x.xyz": OXYGEN}
    ),
    "run below a file": Case("train {c} --run {d}/run", 1, "cannot write"),
    "run is a file": Case("train {c} --run {d}", 2, "is a file"),
    "run in /proc": Case("train {c} --run /proc/run", 1, "cannot write"),
    "run directory in use": Case("train {c} --run {t}", 2, "--resume", {"x": "mine"}),
}


@pytest.mark.parametrize("name", CASES)
def test_bad_input(name, jmlip, folder, potential, tmp_path):
    case = CASES[name]
    for file, content in case.files.items():
        path = tmp_path / file
        path.write_bytes(content) if isinstance(content, bytes) else path.write_text(content)
    before = snapshot(tmp_path), snapshot(folder)
    places = {"p": potential, "d": folder / "hydrogen.xyz", "c": folder / "config.toml"}
    # as outside the tests
    with jax.numpy_rank_promotion("allow"), jax.debug_nans(False):
        result = jmlip(*case.words.format(t=tmp_path, **places).split())
    require_one_sentence(result, case.code, case.message)
    assert (snapshot(tmp_path), snapshot(folder)) == before


@pytest.mark.parametrize(
    "words",
    [
        NVE.replace("{p}", "{e}"),
        NVE + " --inner {e} --n-inner 2",
        "evaluate {e} {d}",
        "relax {e} {d} --out {t}/o.xyz",
        "info {e}",
        "train {c} --run {t}/new --set model={{potential='{e}'}}",
    ],
)
def test_an_ensemble_where_one_potential_is_needed(words, jmlip, folder, potential, tmp_path):
    ensemble = tmp_path / "run" / "ensemble"
    write_ensemble([load_potential(potential)] * 2, ensemble)
    places = {"p": potential, "d": folder / "hydrogen.xyz", "c": folder / "config.toml"}
    result = jmlip(*words.format(e=ensemble, t=tmp_path, **places).split())
    assert result.code != 0
    assert result.err.startswith("error: ")
    assert result.err.count("\n") == 1
    assert "is an ensemble of 2" in result.err
    assert all(f"{ensemble}/potential_{k}" in result.err for k in (0, 1))
    above = jmlip(*words.format(e=ensemble.parent, t=tmp_path, **places).split())
    if "train" not in words:
        assert f"Did you mean {ensemble}?" in above.err


def require_one_sentence(result, code, message):
    assert result.code == code, result.err
    assert result.err.startswith("error: ")
    assert result.err.endswith((".\n", ")\n"))
    assert result.err.count("\n") == 1
    assert message in result.err
    assert "Error:" not in result.err  # no exception reached the last resort
    assert result.out == ""


def snapshot(folder: Path) -> dict[str, bytes]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def edit(**changes):
    def damage(potential: Path):
        path = potential / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return damage


def edit_model(**changes):
    def damage(potential: Path):
        path = potential / "config.json"
        config = json.loads(path.read_text())
        config["model"] |= changes
        path.write_text(json.dumps(config))

    return damage


def cut(name: str, n_bytes: int):
    return lambda potential: (potential / name).write_bytes(
        (potential / name).read_bytes()[:n_bytes]
    )


def link(potential: Path):
    (potential / "params.safetensors").unlink()
    (potential / "params.safetensors").symlink_to("/etc/passwd")


DAMAGES = {
    "parameters missing": lambda potential: (potential / "params.safetensors").unlink(),
    "parameters truncated": cut("params.safetensors", 200),
    "parameters of zero bytes": cut("params.safetensors", 0),
    "parameters are a link": link,
    "config truncated": cut("config.json", 50),
    "config is not an object": lambda potential: (potential / "config.json").write_text("[]"),
    "config deeply nested": lambda p: (p / "config.json").write_text("[" * 100_000),
    "provenance missing": lambda potential: (potential / "provenance.json").unlink(),
    "format newer": edit(format_version=99),
    "format other": edit(format="torch"),
    "kind unknown": edit(kind="os.system"),
    "units other": edit(units={"energy": "hartree", "length": "bohr"}),
    "species impossible": edit(species=[0]),
    "species more than parameters": edit(species=[1, 6], reference_energies=[0.0, 0.0]),
    "cutoff enormous": edit(cutoff=1e9),
    "cutoff a word": edit(cutoff="far"),
    "model key unknown": edit_model(command="rm"),
    "model enormous": edit_model(n_features=10**9),
    "model larger than its parameters": edit_model(n_features=16),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_or_hostile_potential(damage, jmlip, folder, potential, tmp_path):
    copy = tmp_path / "potential"
    shutil.copytree(potential, copy)
    DAMAGES[damage](copy)
    out = tmp_path / "errors.json"
    result = jmlip("evaluate", copy, folder / "held-out.xyz", "--json", out)
    require_one_sentence(result, 1, "")
    assert str(copy) in result.err
    assert not out.exists()


@pytest.mark.parametrize(
    "words",
    [
        "evaluate {p} {d} --json {t}/out/x.json",
        "relax {p} {d} --out {t}/out/x.xyz",
        NVE.replace("{t}", "{t}/out"),
        "train {c} --run {t}/out/run",
    ],
)
def test_full_disk_leaves_nothing_that_looks_whole(
    words, jmlip, folder, potential, tmp_path, monkeypatch
):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("jmlip.core.checkpoint._flush", full)
    places = {"p": potential, "d": folder / "hydrogen.xyz", "c": folder / "config.toml"}
    with jax.numpy_rank_promotion("allow"):
        result = jmlip(*words.format(t=tmp_path, **places).split())
    assert result.code == 1
    last = result.err.splitlines()[-1]
    assert last.startswith("error: ")
    assert "No space left on device" in last
    left = [path for path in (tmp_path / "out").rglob("*") if path.suffix in (".json", ".xyz")]
    assert left == []
    assert not (tmp_path / "out" / "run" / "potential").exists()


def test_missing_extra_is_named(jmlip, folder, monkeypatch):
    monkeypatch.setattr("jmlip.core.config.load_toml", lambda _: __import__("no_such_package"))
    monkeypatch.setattr("jmlip.cli.config.load_toml", lambda _: __import__("no_such_package"))
    result = jmlip("info", folder / "config.toml")
    require_one_sentence(result, 1, "No module named 'no_such_package'")


def test_training_that_diverges_says_so(jmlip, folder, tmp_path):
    words = ("--set", "optimizer.learning_rate=1e30", "--set", "training.max_epochs=20")
    with jax.debug_nans(False):
        result = jmlip("train", folder / "config.toml", "--run", tmp_path / "run", *words)
    assert result.code == 1
    assert result.err.splitlines()[-1].startswith("error: training must stay finite")
    assert not (tmp_path / "run" / "report.html").exists()


def test_training_that_never_begins_leaves_nothing(jmlip, folder, tmp_path, monkeypatch):
    def full(*_, **__):
        raise MemoryError

    monkeypatch.setattr("jmlip.cli.workflow.fit", full)
    result = jmlip("train", folder / "config.toml", "--run", tmp_path / "run")
    assert "does not fit into memory" in result.err
    assert not (tmp_path / "run").exists()


def test_forces_in_other_units_are_mentioned(jmlip, folder, tmp_path, without_report):
    from jmlip.data import read, write

    path = tmp_path / "bohr.xyz"
    write(path, [s.replace(forces=s.forces / 51.4221) for s in read(folder / "hydrogen.xyz")])
    words = ("--run", tmp_path / "run", "--set", f"data.train={path}")
    result = jmlip("train", folder / "config.toml", *words, "--set", "training.max_epochs=1")
    assert result.code == 0
    assert f"notice: the forces of {path} seem 0.0194 times what" in result.err
    assert "as if forces were in hartree/bohr; check the units." in result.err


def test_forces_that_are_gradients_are_refused_until_declared(
    jmlip, folder, tmp_path, without_report
):
    from jmlip.data import read, write

    path = tmp_path / "gradients.xyz"
    write(path, [s.replace(forces=-s.forces) for s in read(folder / "hydrogen.xyz")])
    words = ("--run", tmp_path / "run", "--set", f"data.train={path}")
    result = jmlip("train", folder / "config.toml", *words)
    require_one_sentence(result, 1, "data.forces_are_gradients = true")
    assert not (tmp_path / "run").exists()
    for other in (f"data.test={path}", f'data.train=["hydrogen.xyz", "{path}"]'):
        result = jmlip("train", folder / "config.toml", "--run", tmp_path / "run", "--set", other)
        require_one_sentence(result, 1, f"those of {path} look like +dE/dR")
    words += ("--set", "data.forces_are_gradients=true", "--set", "training.max_epochs=1")
    words += ("--set", f"data.test={path}")
    assert jmlip("train", folder / "config.toml", *words).code == 0
