"""Labels by teachers: what they are, their gauge, their place on disk; hidden labels."""

import dataclasses
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jmlip
from jmlip.core.errors import ConfigError, DataError, PotentialError
from jmlip.core.structure import Structure
from jmlip.data import Hidden, data_hash, write_store
from jmlip.factory import make_model
from jmlip.potentials.ensembles import is_ensemble, predict_ensemble, write_ensemble
from jmlip.potentials.hashing import content_hash
from jmlip.potentials.potential import initial_potential
from jmlip.training.config import TrainingConfig
from jmlip.training.distill import (
    SPREAD,
    Targets,
    TargetsConfig,
    ensemble_targets,
    mean_labels,
    mean_weight,
    without_net_force,
)
from jmlip.training.feed import Feed
from jmlip.training.gauge import gauge_shift, permuted
from jmlip.training.loss_config import LossConfig, TermConfig
from jmlip.training.orders import with_orders
from jmlip.training.requirements import require_orders
from jmlip.training.stored_targets import load_targets, made_from, save_targets

SIZES = {"cutoff": 4.0, "r_high": 3.4, "n_features": 4, "n_sensitivities": 4}
SIZES |= {"n_interactions": 1, "n_onsite": 0, "max_rank": 1}
REFERENCES = {1: -13.0, 8: -2040.0}


def teacher(seed, references=(-13.0, -2040.0), species=(1, 8)):
    model = make_model("hipnn", {"species": [*species], **SIZES})
    key = jax.random.key(seed)
    return initial_potential("hipnn", model, key=key, reference_energies=references)


def water(rng, n_water=1, **labels) -> Structure:
    one = np.array([[0, 0, 0], [0.76, 0.59, 0], [-0.76, 0.59, 0]])
    positions = np.concatenate([one + np.array([0, 0, 2.8 * k]) for k in range(n_water)])
    positions += 0.05 * rng.normal(size=positions.shape)
    return Structure(species=[8, 1, 1] * n_water, positions=positions, **labels)


@pytest.fixture(scope="module")
def teachers():
    return [teacher(seed) for seed in (0, 1)]


@pytest.fixture(scope="module")
def waters():
    rng = np.random.default_rng(0)
    return [water(rng, 1 + k % 2, energy=-2066.0 * (1 + k % 2)) for k in range(6)]


def targets(teachers, waters, *, references=REFERENCES, **config):
    config = TargetsConfig(**config)
    return ensemble_targets(
        teachers, waters[:4], waters[4:], config, references=lambda _: references
    )


def test_labels_of_one_teacher_are_its_predictions(teachers, waters):
    labels = ("energy", "forces", "atomic_energies")
    for s, p in zip(
        mean_labels(teachers[:1], waters, labels), teachers[0].predict(waters), strict=True
    ):
        assert s.energy == p.energy
        np.testing.assert_allclose(s.forces, p.forces, atol=1e-6)
        np.testing.assert_array_equal(s.atomic_energies, p.atomic_energies)
        assert not s.info["arrays"][SPREAD].any()


def test_labels_of_several_are_mean_and_spread(teachers, waters):
    said = [t.predict(waters) for t in teachers]
    for k, s in enumerate(mean_labels(teachers, waters, ("forces",))):
        forces = np.array([said[0][k].forces, said[1][k].forces])
        np.testing.assert_allclose(s.forces, forces.mean(axis=0), atol=1e-6)
        np.testing.assert_allclose(s.info["arrays"][SPREAD], forces.std(axis=0, ddof=1), atol=1e-9)
        assert np.abs(forces[0] - forces[1]).max() > 1e-3  # or the mean would mean nothing
        np.testing.assert_allclose(s.forces.sum(axis=0), 0.0, atol=1e-12)
        assert s.energy == waters[k].energy  # not asked for
    spread = predict_ensemble(teachers, waters)[0].energy_spread
    assert spread == pytest.approx(abs(said[0][0].energy - said[1][0].energy) / np.sqrt(2.0))


def test_labels_count_less_where_the_teachers_differ(teachers, waters, tmp_path):
    scale = {"energy": 0.003, "forces": 0.005}
    arrays = {"forces_weight": np.full(waters[0].n_atoms, 3.0)}
    first = waters[0].replace(info={"energy_weight": 2.0, "arrays": arrays})
    config = TargetsConfig(labels=("energy", "forces"), spread_scale=scale)
    made = ensemble_targets(
        teachers, [first, *waters[1:4]], waters[4:], config, references=lambda _: REFERENCES
    ).train
    said = [t.predict(waters[:4]) for t in teachers]
    for k, s in enumerate(made):
        # two teachers: the variance is half of the square of their difference
        e = (said[0][k].energy - said[1][k].energy) ** 2 / 2.0
        f = np.mean((said[0][k].forces - said[1][k].forces) ** 2 / 2.0, axis=1)
        given = (2.0, 3.0) if k == 0 else (1.0, 1.0)
        assert s.energy_weight == pytest.approx(given[0] * 9e-6 / (9e-6 + e))
        np.testing.assert_allclose(s.forces_weight, given[1] * 2.5e-5 / (2.5e-5 + f), rtol=1e-6)
    assert 0.0 < mean_weight(made[1:], "forces") < 0.99
    # they come back, they are part of what training sees, and a batch has them
    stored = write_store(made, tmp_path / "store")
    np.testing.assert_array_equal(stored[0].forces_weight, made[0].forces_weight)
    plain = [s.replace(info=w.info) for s, w in zip(made, waters, strict=False)]
    assert stored.data_hash == data_hash(made) != data_hash(plain)
    feed = Feed(made[:1], teachers[0], dtype="float64")
    labels = next(feed.all_batches(1)).labels
    np.testing.assert_allclose(labels.energy_weight[:2], [made[0].energy_weight, 1.0])
    n = made[0].n_atoms
    np.testing.assert_allclose(labels.forces_weight[:n], made[0].forces_weight)


@pytest.mark.parametrize(
    "info",
    [
        {"energy_weight": -1.0},
        {"energy_weight": "high"},
        {"arrays": {"forces_weight": [1.0]}},
        {"forces_weight": 1.0},
        {"arrays": {"energy_weight": np.ones(3)}},
    ],
)
def test_bad_weights(teachers, waters, info):
    with pytest.raises(DataError, match=r"_weight must be (numbers from 0|one|a) .*(one|column)"):
        Feed([waters[0].replace(info=info)], teachers[0], dtype="float32")


def test_a_net_force_is_refused():
    forces = np.array([[1.0, 0, 0], [-0.9, 0, 0]])
    with pytest.raises(PotentialError, match="must add up to zero, found 0"):
        without_net_force(forces)


def test_gauge_removes_what_no_energy_notices(teachers, waters):
    """Another teacher that has moved 7 eV from oxygen to each of two hydrogens says the same."""
    other = [teacher(0, references=(-13.0 + 7.0, -2040.0 - 14.0))]
    labels = ("energy", "atomic_energies")
    here, there = (targets(t, waters, labels=labels).train for t in (teachers[:1], other))
    plain = mean_labels(teachers[:1], waters[:4], labels)
    for a, b, raw in zip(here, there, plain, strict=True):
        np.testing.assert_allclose(a.atomic_energies, b.atomic_energies, atol=1e-9)
        assert a.atomic_energies.sum() == pytest.approx(raw.energy, abs=1e-9)
        assert raw.energy == pytest.approx(b.energy, abs=1e-9)
    # what is left of the means has the direction of the composition, two hydrogens to an oxygen
    numbers = np.concatenate([s.species for s in here])
    energies = np.concatenate([s.atomic_energies for s in here])
    left = {z: energies[numbers == z].mean() - REFERENCES[z] for z in (1, 8)}
    assert left[1] == pytest.approx(2.0 * left[8], abs=1e-9)


def test_gauge_stays_where_compositions_determine_it(teachers):
    rng = np.random.default_rng(1)
    pair = Structure(species=[1, 1], positions=[[0, 0, 0], [0.8, 0, 0]])
    structures = mean_labels(teachers, [water(rng), pair], ("atomic_energies",))
    assert all(abs(c) < 1e-12 for c in gauge_shift(structures, REFERENCES).values())


def test_permutation_keeps_what_each_element_has(teachers, waters):
    before = mean_labels(teachers, waters, ("atomic_energies",))
    after = permuted(before, seed=3)
    numbers = np.concatenate([s.species for s in waters])
    a, b = (np.concatenate([s.atomic_energies for s in ss]) for ss in (before, after))
    for z in (1, 8):
        np.testing.assert_array_equal(np.sort(a[numbers == z]), np.sort(b[numbers == z]))
        assert (a[numbers == z] != b[numbers == z]).any()
    again = permuted(before, seed=3)
    assert data_hash(again) == data_hash(after) != data_hash(permuted(before, seed=4))
    chosen = targets(teachers, waters, labels=("atomic_energies",), permute=0)
    assert data_hash(chosen.train) != data_hash(targets(teachers, waters, labels=("energy",)).train)


def test_targets_are_stored_once_and_made_again_where_anything_differs(teachers, waters, tmp_path):
    config, folder = TargetsConfig(labels=("forces",)), tmp_path / "targets"

    def key(teachers=teachers, train=waters[:4], config=config):
        return made_from(
            teachers, train, waters[4:], config, references=REFERENCES, dtype="float32"
        )

    assert load_targets(folder, key()) is None
    made = targets(teachers, waters, labels=("forces",))
    save_targets(folder, made, key())
    found = load_targets(folder, key())
    assert found is not None
    assert [data_hash(part) for part in found] == [data_hash(part) for part in made]
    np.testing.assert_array_equal(
        found.train[0].info["arrays"][SPREAD], made.train[0].info["arrays"][SPREAD]
    )
    assert load_targets(folder, key(teachers=teachers[:1])) is None
    assert load_targets(folder, key(train=waters[:3])) is None
    assert load_targets(folder, key(config=TargetsConfig(labels=("energy",)))) is None
    # killed after one store was replaced and before the table was
    save_targets(tmp_path / "other", Targets(made.train[:2], made.validation), key(teachers[:1]))
    shutil.rmtree(folder / "train")
    shutil.copytree(tmp_path / "other" / "train", folder / "train")
    assert load_targets(folder, key()) is None
    save_targets(folder, made, key())
    (folder / "targets.json").write_text("{")
    assert load_targets(folder, key()) is None


def test_the_hash_of_a_potential_is_that_of_its_numbers(teachers):
    named = dataclasses.replace(teachers[0], provenance={"created": "today"})
    shifted = dataclasses.replace(teachers[0], reference_energies=(-13.0, -2041.0))
    assert content_hash(named) == content_hash(teachers[0]) != content_hash(shifted)
    assert content_hash(teachers[0]) != content_hash(teachers[1])


def test_an_option_added_later_does_not_change_the_hash_of_a_potential(teachers):
    more = ("more", int, dataclasses.field(default=1))
    model = teachers[0].model
    kind = type(model.config)
    later = dataclasses.make_dataclass("Later", [more], bases=(kind,), frozen=True, kw_only=True)

    def hash_with(**option):
        config = later(**vars(model.config), **option)
        return content_hash(
            dataclasses.replace(teachers[0], model=dataclasses.replace(model, config=config))
        )

    assert hash_with() == content_hash(teachers[0]) != hash_with(more=2)


def test_an_ensemble_comes_back_from_its_directory(teachers, tmp_path):
    path = tmp_path / "ensemble"
    write_ensemble(teachers, path)
    assert is_ensemble(path)
    assert not is_ensemble(path / "potential_0")
    members = jmlip.load_ensemble(path)
    assert [content_hash(m) for m in members] == [content_hash(t) for t in teachers]
    shutil.rmtree(path / "potential_1")
    shutil.copytree(path / "potential_0", path / "potential_1")
    with pytest.raises(PotentialError, match="potential_1 must be the potential that"):
        jmlip.load_ensemble(path)
    (path / "ensemble.json").write_text(json.dumps({"format": "other"}))
    with pytest.raises(PotentialError, match="table of an ensemble"):
        jmlip.load_ensemble(path)


def test_hidden_labels_are_gone_and_others_stay(waters):
    labelled = mean_labels([teacher(0)], waters, ("forces",))
    hidden = Hidden(labelled, ["forces"])
    assert len(hidden) == len(waters)
    assert data_hash(hidden) == data_hash(waters) == data_hash([*hidden[:3], *hidden[3:]])
    assert all(s.forces is None for s in hidden)
    assert all(s.energy is not None for s in hidden)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"labels": ()}, "at least one label"),
        ({"labels": ("forces", "forces")}, "each once"),
        ({"labels": ("forces",), "permute": 0}, "permutes atomic energies"),
        ({"labels": ("atomic_energies",), "permute": -1}, "at least 0"),
        ({"labels": ("energy",), "spread_scale": {"forces": 1.0}}, "found one of forces"),
        ({"labels": ("energy",), "spread_scale": {"energy": 0.0}}, "must be positive"),
    ],
)
def test_bad_options(values, message):
    with pytest.raises(ConfigError, match=message):
        TargetsConfig(**values)


def test_bad_teachers(teachers, waters):
    with pytest.raises(ConfigError, match="needs at least two teachers, found one"):
        targets(teachers[:1], waters, labels=("forces",), spread_scale={"forces": 1.0})
    strange = teacher(2, references=(-13.0, -1.0), species=(1, 6))
    with pytest.raises(PotentialError, match="teacher 0: every element must be among H, C"):
        targets([strange], waters, labels=("forces",))
    with pytest.raises(PotentialError, match="know the same elements, found H, O in member 0"):
        targets([*teachers, strange], waters, labels=("forces",))
    with pytest.raises(PotentialError, match="at least one member"):
        targets([], waters, labels=("forces",))


def deeper(seed):
    model = make_model("hipnn", {"species": [1, 8], **SIZES, "n_interactions": 3})
    key = jax.random.key(seed)
    return initial_potential("hipnn", model, key=key, reference_energies=(-13.0, -2040.0))


def test_orders_are_those_of_the_teachers_and_add_up(waters):
    """A student of two layers learns the last two of three as one."""
    three, few = [deeper(0), deeper(1)], waters[:3]
    config = TargetsConfig(labels=("energy_orders",))
    made = ensemble_targets(
        three, few, few, config, references=lambda _: REFERENCES, n_orders=2
    ).train
    for k, s in enumerate(made):
        table = np.array([REFERENCES[z] for z in s.species.tolist()])
        batch = next(Feed(few[k : k + 1], three[0], dtype="float32").all_batches(1))
        graph = jax.tree.map(jnp.asarray, batch.graph)
        terms = np.mean([t.apply(t.params, graph).terms for t in three], axis=0)[: s.n_atoms]
        # references are shared by teachers and student: what the gauge takes is in the first order
        np.testing.assert_allclose(s.energy_orders[:, 1], terms[:, 1:].sum(axis=1), atol=1e-6)
        moved = s.energy_orders[:, 0] - table - terms[:, 0]
        assert all(np.ptp(moved[s.species == z]) < 1e-5 for z in (1, 8))
        assert abs(moved.sum()) < 1e-4
        assert s.energy_orders.sum() == pytest.approx(table.sum() + terms.sum(), abs=1e-4)
    # what the student's loss compares with
    student = teacher(2)
    student = dataclasses.replace(
        student, model=make_model("hipnn", {"species": [1, 8], **SIZES, "n_interactions": 2})
    )
    labels = next(Feed(made[:1], student, dtype="float64").all_batches(1)).labels
    n = made[0].n_atoms
    table = np.array([REFERENCES[z] for z in made[0].species.tolist()])
    np.testing.assert_allclose(labels.energy_orders[:n, 0], made[0].energy_orders[:, 0] - table)
    assert labels.energy_orders_mask[:n].all()
    assert data_hash(made) != data_hash([s.replace(info={}) for s in made])


def test_orders_that_do_not_exist(teachers, waters):
    with pytest.raises(PotentialError, match="at least 2 interaction layers, as the student has"):
        with_orders(teachers, waters[:1], n_orders=2)
    arrays = {"arrays": {"energy_orders": np.zeros(waters[0].n_atoms)}}
    with pytest.raises(DataError, match="energy_orders must have shape"):
        Feed([waters[0].replace(info=arrays)], teachers[0], dtype="float32")
    config = TrainingConfig(loss=LossConfig(energy_orders=TermConfig()))
    arrays = {"arrays": {"energy_orders": np.zeros((waters[0].n_atoms, 2))}}
    with pytest.raises(ConfigError, match=r"must be of 1 orders, as model\.n_interactions"):
        require_orders(teachers[0], [waters[0].replace(info=arrays)], config)
