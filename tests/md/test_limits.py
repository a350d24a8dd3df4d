"""Limits end a run at the first frame beyond them, and another limit lets it go on."""

import dataclasses

import numpy as np
import pytest

from jmlip.analysis.distances import shortest_distance
from jmlip.core.errors import ConfigError, DivergenceError, PotentialError
from jmlip.core.structure import Structure
from jmlip.data import read
from jmlip.md.batch_simulate import replicate, simulate_batch
from jmlip.md.config import MDConfig
from jmlip.md.limits import Limits, first_passed, largest_spread
from jmlip.md.simulate import simulate
from jmlip.md.trajectory import Frames
from tests.md.systems import colliding_clusters, content, lennard_jones, softer

CONFIG = MDConfig(
    ensemble="langevin", timestep_fs=1.0, n_steps=60, every=4, temperature_K=300.0,
    dtype="float64", chunk_seconds=1e-3,
)  # fmt: skip
COMMITTEE = (lennard_jones(), softer())
START = colliding_clusters()


def go(path, **options):
    return simulate(lennard_jones(), colliding_clusters(), CONFIG, path, progress=False, **options)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "t.xyz"
    go(path)
    return path


def frames_of(path):
    """As the run hands them over; what limits do not look at is left out."""
    read_again = read(path)
    nothing = np.zeros(len(read_again))
    return Frames(
        step=np.array([frame.info["step"] for frame in read_again]),
        time_fs=nothing,
        positions=np.stack([frame.positions for frame in read_again]),
        velocities=np.stack([frame.velocities for frame in read_again]),
        forces=np.stack([frame.forces for frame in read_again]),
        cell=np.zeros((len(read_again), 3, 3)),
        potential_energy=nothing,
        kinetic_energy=nothing,
        conserved_energy=nothing,
        temperature_K=np.array(temperature(read_again)),
        pressure_GPa=None,
    )


def temperature(frames):
    return [frame.info["temperature_K"] for frame in frames]


def force(frames):
    return [np.linalg.norm(frame.forces, axis=1).max() for frame in frames]


def distance(frames):
    return [-shortest_distance(frame, below=9.0) for frame in frames]


def spread(frames):
    """Of two potentials: half of how far they are apart."""
    one, other = (member.predict(frames) for member in COMMITTEE)
    pairs = zip(one, other, strict=True)
    return [0.5 * np.linalg.norm(a.forces - b.forces, axis=1).max() for a, b in pairs]


def limit_of(name, value):
    fields = {
        "max_temperature_K": {"max_temperature_K": value},
        "max_force_eV_A": {"max_force_eV_A": value},
        "min_distance_A": {"min_distance_A": -value},
        "max_spread_eV_A": {"max_spread_eV_A": value, "committee": COMMITTEE},
    }
    return Limits(**fields[name])


@pytest.mark.parametrize(
    ("name", "measure", "says"),
    [
        ("max_temperature_K", temperature, "the temperature was"),
        ("max_force_eV_A", force, "the largest force was"),
        ("min_distance_A", distance, "two atoms were"),
        ("max_spread_eV_A", spread, "potentials of the committee differed"),
    ],
)
def test_the_first_frame_beyond_is_found(whole, name, measure, says):
    values = np.array(measure(read(whole)))
    limit = np.sort(values)[-3] - 1e-6  # three frames are above it
    found = first_passed(frames_of(whole), START, limit_of(name, limit))
    assert found.frame == np.flatnonzero(values > limit)[0]
    assert found.what.startswith(says)
    assert first_passed(frames_of(whole), START, limit_of(name, values.max() + 1e-6)) is None


def test_the_earliest_of_several_counts(whole):
    values = np.array(force(read(whole)))
    assert np.argmax(values) > 0
    limits = Limits(max_temperature_K=1e-3, max_force_eV_A=values.max() - 1e-6)
    found = first_passed(frames_of(whole), START, limits)
    assert found.frame == 0
    assert found.what.startswith("the temperature")


def test_a_run_ends_there_and_goes_on_with_another_limit(whole, tmp_path):
    values = np.array(force(read(whole)))
    path, limits = tmp_path / "t.xyz", Limits(max_force_eV_A=values.max() - 1e-6)
    first = int(np.argmax(values))
    assert 0 < first < len(values) - 1
    for restart in (False, True):
        with pytest.raises(DivergenceError, match=f"in step {4 * first} the largest force was"):
            go(path, limits=limits, restart=restart)
        assert content(path) == whole.read_bytes()[: len(content(path))]
        assert len(read(path)) == first + 1
    go(path, restart=True)
    assert content(path) == content(whole)


def test_a_batch_ends_with_the_first_frame_of_any(tmp_path):
    hot = dataclasses.replace(CONFIG, n_steps=20)
    systems = replicate([START], hot, temperatures_K=[10.0, 4000.0])
    limits = Limits(max_temperature_K=1500.0)
    with pytest.raises(DivergenceError, match=r"of .*t\.1\.xyz the temperature was .*every traj"):
        simulate_batch(lennard_jones(), *systems, tmp_path / "t.xyz", limits=limits, progress=False)
    cold, other = (read(tmp_path / f"t.{k}.xyz") for k in range(2))
    assert len(cold) == len(other) < 6
    assert [frame.info["temperature_K"] > 1500.0 for frame in other] == [
        *[False] * (len(other) - 1),
        True,
    ]


def test_spread_of_three_is_that_of_the_formula():
    frames = [START]
    committee = (*COMMITTEE, lennard_jones())
    forces = np.stack([member.predict(frames)[0].forces for member in committee])
    by_hand = np.sqrt(forces.var(axis=0).sum(axis=-1)).max()
    np.testing.assert_allclose(largest_spread(committee, frames), [by_hand], rtol=1e-6)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"max_force_eV_A": 0.0}, "max_force_eV_A must be positive"),
        ({"max_temperature_K": float("nan")}, "max_temperature_K must be positive"),
        ({"max_spread_eV_A": 1.0}, "belong together"),
        ({"committee": COMMITTEE}, "belong together"),
        ({"max_spread_eV_A": 1.0, "committee": COMMITTEE[:1]}, "at least two potentials"),
    ],
)
def test_limits_that_mean_nothing_are_refused(fields, message):
    with pytest.raises(ConfigError, match=message):
        Limits(**fields)


def test_a_committee_must_know_the_atoms(tmp_path):
    gold = Structure(species=[79, 79], positions=[[0, 0, 0], [0, 0, 3.0]])
    limits = Limits(max_spread_eV_A=1.0, committee=COMMITTEE)
    with pytest.raises(PotentialError, match="Au"):
        simulate(lennard_jones(), gold, CONFIG, tmp_path / "t.xyz", limits=limits, progress=False)
