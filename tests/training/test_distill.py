"""Labels by teachers: what they are, their gauge, their place on disk; hidden labels."""

import dataclasses
import json
import shutil

import jax
import numpy as np
import pytest

import jmlip
from jmlip.core.errors import ConfigError, PotentialError
from jmlip.core.structure import Structure
from jmlip.data import Hidden, data_hash
from jmlip.factory import make_model
from jmlip.potentials.ensembles import is_ensemble, predict_ensemble, write_ensemble
from jmlip.potentials.hashing import content_hash
from jmlip.potentials.potential import initial_potential
from jmlip.training.distill import (
    SPREAD,
    Targets,
    TargetsConfig,
    ensemble_targets,
    gauge_shift,
    mean_labels,
    permuted,
    without_net_force,
)
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
    ],
)
def test_bad_options(values, message):
    with pytest.raises(ConfigError, match=message):
        TargetsConfig(**values)


def test_bad_teachers(teachers, waters):
    strange = teacher(2, references=(-13.0, -1.0), species=(1, 6))
    with pytest.raises(PotentialError, match="teacher 0: every element must be among H, C"):
        targets([strange], waters, labels=("forces",))
    with pytest.raises(PotentialError, match="know the same elements, found H, O in member 0"):
        targets([*teachers, strange], waters, labels=("forces",))
    with pytest.raises(PotentialError, match="at least one member"):
        targets([], waters, labels=("forces",))
