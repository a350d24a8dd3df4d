"""`jmlip ensemble` and `jmlip distill`: what they leave, resumed runs, hidden labels, bad input."""

import contextlib
import dataclasses
import io
import json
import shutil
import tomllib

import jax
import numpy as np
import pytest

from jmlip.cli.distill_config import load_distill_config
from jmlip.cli.main import main
from jmlip.cli.members import member_config
from jmlip.cli.sets import read_sets
from jmlip.core.checkpoint import read_arrays
from jmlip.data import StructureStore, data_hash, read, write
from jmlip.factory import load_ensemble, load_potential
from jmlip.potentials.hashing import content_hash
from jmlip.training.evaluation import evaluate_predictions
from tests.cli.molecules import CONFIG, hydrogen

SMALL = {"n_features = 8": "n_features = 4", "n_onsite = 1": "n_onsite = 0", "rank = 1": "rank = 0"}
SHORT = CONFIG.replace("max_epochs = 60", "max_epochs = 3\ncheckpoint_every_minutes = 0")
for old, new in SMALL.items():
    SHORT = SHORT.replace(old, new)
ENERGIES = SHORT.replace("\n[model]", 'hide = ["forces"]\n\n[model]')
MEMBERS = ENERGIES + "\n[teacher]\nmembers = 2\n\n[targets]\nlabels = ['forces']\n"
TRAINED = ENERGIES + "\n[teacher]\npotentials = 'ensemble'\n\n[targets]\nlabels = ['forces']\n"
PARAMS = "potential/params.safetensors"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Data, configurations, two teachers in `ensemble`, a distillation in `run`, its notices."""
    place = tmp_path_factory.mktemp("distill")
    write(place / "hydrogen.xyz", hydrogen(30, 0))
    write(place / "held-out.xyz", hydrogen(10, 1))
    (place / "members.toml").write_text(MEMBERS)
    (place / "trained.toml").write_text(TRAINED)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("jmlip.cli.run_report.write_run_report", lambda *_, **__: [])
        with contextlib.redirect_stderr(io.StringIO()) as said:
            assert main(["distill", str(place / "members.toml"), "--run", str(place / "run")]) == 0
    (place / "said.txt").write_text(said.getvalue())
    (place / "run" / "teachers" / "ensemble").rename(place / "ensemble")
    return place


@pytest.fixture
def no_report(monkeypatch):
    monkeypatch.setattr("jmlip.cli.run_report.write_run_report", lambda *_, **__: [])


def same(one, other):
    return (one / PARAMS).read_bytes() == (other / PARAMS).read_bytes()


def test_teachers_differ_and_their_mean_force_is_the_target(place):
    teachers = load_ensemble(place / "ensemble")
    assert len({content_hash(t) for t in teachers}) == 2
    configs = [
        tomllib.loads((place / "run" / "teachers" / f"member_{k}" / "config.toml").read_text())
        for k in (0, 1)
    ]
    assert [c["data"]["split_seed"] for c in configs] == [0, 1]
    assert [c["training"]["seed"] for c in configs] == [0, 1]
    assert [[*c["loss"]] for c in configs] == [["energy"], ["energy"]]  # they saw no forces
    train = StructureStore(place / "run" / "targets" / "train")
    said = [t.predict(train) for t in teachers]
    for k, structure in enumerate(train):
        forces = np.mean([said[0][k].forces, said[1][k].forces], axis=0)
        np.testing.assert_allclose(structure.forces, forces, atol=1e-6)
    reference = {s.energy for s in read(place / "hydrogen.xyz")}
    assert {s.energy for s in train} <= reference  # the student's energies are those of the data


def test_errors_are_those_of_student_mean_and_teachers(place):
    found = json.loads((place / "run" / "errors.json").read_text())["held-out"]
    assert [*found["errors"]] == ["student", "mean of 2", "teacher 0", "teacher 1"]
    tests, teachers = read(place / "held-out.xyz"), load_ensemble(place / "ensemble")
    first = evaluate_predictions(teachers[0].predict(tests), tests, species=(1,))
    assert found["errors"]["teacher 0"]["forces_rmse_meV_A"] == first.forces_rmse_meV_A
    energies = np.array([[p.energy for p in t.predict(tests)] for t in teachers])
    error = 1e3 * np.abs(energies.mean(axis=0) - [s.energy for s in tests]).mean()
    assert found["errors"]["mean of 2"]["energy_mae_meV"] == pytest.approx(error)
    spread = 1e3 * np.sqrt(np.mean((energies[0] - energies[1]) ** 2 / 2.0))
    assert found["energy_spread_meV"] == pytest.approx(spread)


def test_killed_anywhere_and_resumed_it_ends_the_same(place, jmlip, tmp_path, monkeypatch):
    """Killed in the second teacher, between labels and their table, and in the student."""
    from jmlip.training import stored_targets
    from jmlip.training.trainer import Trainer

    monkeypatch.setattr("jmlip.cli.run_report.write_run_report", lambda *_, **__: [])
    ask, steps = Trainer._ask, []

    def kill_at(run, step):
        def ask_or_die(trainer, fed):
            if trainer.run_dir == run and trainer.course.step == step:
                raise RuntimeError("killed")
            steps.append(trainer.run_dir.name)
            return ask(trainer, fed)

        monkeypatch.setattr(Trainer, "_ask", ask_or_die)

    def killed(*_):
        raise RuntimeError("killed")

    run = tmp_path / "run"
    words = ("distill", place / "members.toml", "--run", run, "--resume")
    shutil.copytree(place / "run" / "teachers" / "member_0", run / "teachers" / "member_0")
    kill_at(run / "teachers" / "member_1", 4)
    assert "killed" in jmlip(*words).err
    assert set(steps) == {"member_1"}  # the first teacher had ended
    kill_at(None, 0)
    steps.clear()
    with monkeypatch.context() as patch:
        patch.setattr(stored_targets, "write_json", killed)
        assert "killed" in jmlip(*words).err
    assert (run / "targets" / "train").is_dir()
    assert steps == ["member_1"] * 5  # of nine
    kill_at(run / "student", 5)
    assert "killed" in jmlip(*words).err
    kill_at(None, 0)
    assert jmlip(*words).code == 0
    assert same(run / "student", place / "run" / "student")
    assert (run / "errors.json").read_text() == (place / "run" / "errors.json").read_text()


def test_notices_are_given_once_for_teachers_and_student(place):
    said = (place / "said.txt").read_text()
    assert said.count("notice: the rate of learning rises for") == 1
    assert said.count("stopped by max_epochs") == 3


def test_hidden_forces_cannot_leak(place, jmlip, tmp_path, no_report):
    """With absurd forces in the files, everything is as it is with the right ones."""
    rng = np.random.default_rng(0)
    frames = read(place / "hydrogen.xyz")
    poisoned = [s.replace(forces=1e9 * rng.normal(size=s.forces.shape)) for s in frames]
    write(tmp_path / "poisoned.xyz", poisoned)
    sets = ("--set", f"data.train={tmp_path / 'poisoned.xyz'}")
    # what the teachers would see
    config = load_distill_config(place / "members.toml", sets[1:])
    seen = read_sets(member_config(config.teachers, 1).data)
    plain = read_sets(member_config(load_distill_config(place / "members.toml").teachers, 1).data)
    assert data_hash(seen.train) == data_hash(plain.train)
    assert all(s.forces is None for s in (*seen.train, *seen.validation))
    # what the student makes of it; its teachers are those of the other run
    result = jmlip("distill", place / "trained.toml", "--run", tmp_path / "run", *sets)
    assert result.code == 0, result.err
    assert same(tmp_path / "run" / "student", place / "run" / "student")
    # but the report scores the forces of the test files
    assert "forces_rmse_meV_A" in (tmp_path / "run" / "errors.json").read_text()


def test_atomic_energies_by_trained_teachers_are_learned(place, jmlip, tmp_path, no_report):
    loss = "loss={energy = {weight = 1.0}, atomic_energies = {weight = 1.0}}"
    sets = [f"teacher.potentials={place / 'ensemble' / 'potential_0'}", loss]
    sets += ["targets.labels=['atomic_energies']", "data.hide=[]", "training.max_epochs=1"]
    words = [word for one in sets for word in ("--set", one)]
    result = jmlip("distill", place / "trained.toml", "--run", tmp_path / "run", *words)
    assert result.code == 0, result.err
    assert "no spread" in result.out  # of one teacher
    errors = json.loads((tmp_path / "run" / "errors.json").read_text())
    assert errors["held-out"]["forces_spread_meV_A"] is None
    train = StructureStore(tmp_path / "run" / "targets" / "train")
    teacher = load_potential(place / "ensemble" / "potential_0")
    for s, p in zip(train, teacher.predict(train), strict=True):
        np.testing.assert_allclose(s.atomic_energies, p.atomic_energies, atol=1e-9)
    metrics = (tmp_path / "run" / "student" / "metrics.jsonl").read_text().splitlines()
    assert json.loads(metrics[-1])["train_atomic_energies"] > 0.0
    # the written configuration is complete
    written = load_distill_config(tmp_path / "run" / "config.toml")
    assert written.model["r_high"] == pytest.approx(0.85 * 3.0)
    given = load_distill_config(place / "trained.toml", sets)
    assert dataclasses.replace(written, model=given.model) == given


def test_an_ensemble_grows_and_its_members_are_only_read(place, jmlip, tmp_path):
    """The teachers of a distillation are an ensemble as this command makes it."""
    run = tmp_path / "run"
    shutil.copytree(place / "run" / "teachers", run)
    start, end = ENERGIES.index("[loss]"), ENERGIES.index("[optimizer]")
    (place / "ensemble.toml").write_text(ENERGIES[:start] + ENERGIES[end:])
    words = ["ensemble", place / "ensemble.toml", "--run", run, "--together", "--members", 4]
    words[1:1] = ["--at-once", 3]  # groups are of members 0 to 2, and of 3
    written = (run / "member_0" / PARAMS).stat().st_mtime_ns
    result = jmlip(*words, "--resume")
    assert result.code == 0, result.err
    assert result.out.count("1 of 4 members together, the first:") == 2
    assert result.err.count("notice: the rate of learning rises for") == 1
    assert "member 1 of 4 is trained." in result.out
    assert "mean of 4" in result.out
    assert (run / "member_0" / PARAMS).stat().st_mtime_ns == written
    members = load_ensemble(run / "ensemble")
    assert len({content_hash(m) for m in members}) == 4
    report = (tmp_path / "run" / "report.html").read_text()
    assert "<h2>Members</h2>" in report
    assert "spread of energies" in report
    stopped = jmlip(*words[:-1], 5, "--resume", "--set", "training.max_minutes=1e-9")
    assert stopped.code == 1
    assert "member 4 was stopped by training.max_minutes" in stopped.err.splitlines()[-1]
    other = jmlip(*words, "--resume", "--set", "training.batch_size=4")
    assert other.code == 2
    assert "training.batch_size was 8, found 4" in other.err
    refused = jmlip(*words)
    assert refused.code == 2
    assert "--resume" in refused.err
    fewer = jmlip(*words[:-1], 3, "--resume")
    assert fewer.code == 2
    assert "must keep its 4 members, found 3" in fewer.err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("teacher.members=3", "teacher.members was 2, found 3"),
        ("targets.spread_scale={forces=1.0}", "targets.spread_scale.forces was not set, found 1.0"),
    ],
)
def test_other_teachers_are_refused_before_anything_is_done(place, jmlip, change, message):
    before = sorted((place / "run").rglob("*"))
    words = ("distill", place / "members.toml", "--run", place / "run", "--resume")
    refused = jmlip(*words, "--set", change)
    assert refused.code == 2
    assert message in refused.err
    assert sorted((place / "run").rglob("*")) == before


def test_info_knows_the_configuration_of_a_distillation(place, jmlip):
    result = jmlip("info", place / "trained.toml")
    assert result.code == 0, result.err
    assert f'potentials = "{place / "ensemble"}"' in result.out
    assert "n_interactions = 1" in result.out


BAD = {
    "no teachers": (["teacher={}"], "found neither"),
    "both kinds of teachers": (["teacher.members=2"], "found both"),
    "sections for trained teachers": (["teacher.model.kind=ani"], "teacher.model means nothing"),
    "no members": (["teacher={members = 0}"], "at least 1"),
    "teacher without name": (["teacher.potentials="], "empty name"),
    "teacher twice": (["teacher.potentials=['no', './no']"], "must name every teacher once"),
    "teacher absent": (["teacher.potentials=no"], "there is none at"),
    "teacher key": (["teacher.member=2"], "did you mean 'members'"),
    "no targets": (["targets.labels=[]"], "at least one label"),
    "target unknown": (["targets.labels=['charges']"], "'atomic_energies'"),
    "weights by the spread of one": (
        ["teacher={members=1}", "targets.spread_scale={forces=1.0}"],
        "at least two teachers",
    ),
    "weights of what has no spread": (
        ["targets.spread_scale={atomic_energies=1.0}"],
        "found one of atomic_energies",
    ),
    "nothing to permute": (["targets.permute=1"], "permutes atomic energies"),
    "loss without the target": (["loss={energy={}}"], "a term for every label"),
    "loss without labels": (["loss.stress={}"], "loss.stress needs labels"),
    "label from two places": (["data.hide=[]"], "found forces in both"),
    "hidden unknown": (["data.hide=['charges']"], "'forces'"),
    "subset for teachers in training": (
        ["teacher={members=1}", "data.n_train=5"],
        "other structures for every teacher",
    ),
    "orders of another model": (
        [
            "model={kind='mace'}",
            "loss={energy={}, energy_orders={}}",
            "targets.labels=['energy_orders']",
        ],
        "energy_orders are of HIP-NN",
    ),
    "no reference energies": (
        [
            "data.hide=['energy','forces']",
            "loss={atomic_energies={}}",
            "targets.labels=['atomic_energies']",
        ],
        "need the student's reference energies",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name, place, jmlip, tmp_path):
    sets, message = BAD[name]
    words = [word for one in sets for word in ("--set", one)]
    with jax.numpy_rank_promotion("allow"):
        result = jmlip("distill", place / "trained.toml", "--run", tmp_path / "run", *words)
    assert result.code in (1, 2)
    assert result.err.startswith("error: ")
    assert result.err.count("\n") == 1
    assert message in result.err
    assert not (tmp_path / "run").exists()


def test_teachers_of_other_elements_are_refused(place, jmlip, tmp_path):
    text = (place / "hydrogen.xyz").read_text().replace("\nH ", "\nO ")
    (tmp_path / "oxygen.xyz").write_text(text)
    sets = ("--set", f"data.train={tmp_path / 'oxygen.xyz'}")
    result = jmlip("distill", place / "trained.toml", "--run", tmp_path / "run", *sets)
    assert result.code == 1
    assert "teacher 0: every element must be among H, found O" in result.err
    assert not (tmp_path / "run").exists()


def test_damaged_labels_are_made_anew_and_halves_removed(place, jmlip, tmp_path, no_report):
    run, labels = tmp_path / "run", "targets/train/forces.npy"
    shutil.copytree(place / "run", run)
    shutil.rmtree(run / "student")
    content = bytearray((run / labels).read_bytes())
    content[-3] ^= 1
    (run / labels).write_bytes(content)
    (run / "targets" / ".train.abc.partial").mkdir()
    assert jmlip("distill", place / "members.toml", "--run", run, "--resume").code == 0
    assert (run / labels).read_bytes() == (place / "run" / labels).read_bytes()
    assert not (run / "targets" / ".train.abc.partial").exists()
    assert same(run / "student", place / "run" / "student")


@pytest.mark.parametrize("command", ["train", "ensemble"])
def test_other_commands_leave_a_distillation_alone(place, jmlip, command):
    (place / f"{command}.toml").write_text(SHORT)
    before = sorted((place / "run").rglob("*"))
    words = (command, place / f"{command}.toml", "--run", place / "run", "--resume")
    refused = jmlip(*words, *(("--members", 2) if command == "ensemble" else ()))
    assert refused.code == 2
    assert "found one of jmlip distill in" in refused.err
    assert sorted((place / "run").rglob("*")) == before


def test_other_data_are_refused_before_labels_are_made(place, jmlip):
    before = (place / "run" / "targets" / "targets.json").read_text()
    words = ("distill", place / "members.toml", "--run", place / "run", "--resume")
    refused = jmlip(*words, "--set", f"data.train={place / 'held-out.xyz'}")
    assert refused.code == 2
    assert "found others to train" in refused.err
    assert (place / "run" / "targets" / "targets.json").read_text() == before


def test_a_copy_is_no_second_teacher(place, jmlip, tmp_path):
    teacher = place / "ensemble" / "potential_0"
    shutil.copytree(teacher, tmp_path / "copy")
    sets = ("--set", f"teacher.potentials={json.dumps([str(teacher), str(tmp_path / 'copy')])}")
    result = jmlip("distill", place / "trained.toml", "--run", tmp_path / "run", *sets)
    assert result.code == 2
    assert "found the parameters of teacher 0 in teacher 1, too" in result.err
    assert not (tmp_path / "run").exists()


def test_structures_without_a_head_are_named(place, jmlip, tmp_path):
    words = ("distill", place / "members.toml", "--run", tmp_path / "run")
    result = jmlip(*words, "--set", "model.heads=['a','b']")
    assert result.code == 1
    assert "hydrogen.xyz" in result.err


def test_damaged_parameters_of_a_member_are_refused(place, jmlip, tmp_path):
    assert read_arrays(place / "ensemble" / "potential_0" / "params.safetensors")
    path = tmp_path / "ensemble"
    path.mkdir()
    (path / "ensemble.json").write_text((place / "ensemble" / "ensemble.json").read_text())
    sets = ("--set", f"teacher.potentials={path}")
    result = jmlip("distill", place / "trained.toml", "--run", tmp_path / "run", *sets)
    assert result.code == 1
    assert "potential_0" in result.err
