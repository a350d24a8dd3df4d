"""Dynamics with a pair of models: its small part inside, its large part outside."""

import jax
import numpy as np
import pytest

from jmlip.core.structure import Structure
from jmlip.data import read
from jmlip.factory import make_model, split_pair
from jmlip.md.config import MDConfig
from jmlip.md.simulate import simulate
from jmlip.potentials.potential import initial_potential

WATER = Structure(species=[8, 1, 1], positions=[[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]])
CONFIG = MDConfig(
    ensemble="nve",
    timestep_fs=1.0,
    n_steps=20,
    every=10,
    temperature_K=300.0,
    dtype="float64",
    n_inner=4,
)


@pytest.fixture(scope="module")
def pair():
    sizes = {"kind": "hipnn", "n_features": 4, "n_sensitivities": 4, "n_onsite": 0}
    small = {**sizes, "cutoff": 2.5, "r_low": 0.5, "r_high": 2.0, "n_interactions": 1}
    large = {**sizes, "cutoff": 4.0, "r_low": 0.5, "r_high": 3.0, "n_interactions": 1}
    model = make_model("pair", {"species": [1, 8], "small": small, "large": large})
    references = (-13.6, -2041.8)
    return initial_potential("pair", model, key=jax.random.key(3), reference_energies=references)


def test_the_parts_of_a_pair_add_up_to_it(pair):
    small, large = split_pair(pair)
    whole, *parts = (p.predict([WATER], dtype="float64")[0] for p in (pair, small, large))
    assert whole.energy == pytest.approx(sum(part.energy for part in parts), abs=1e-10)
    np.testing.assert_allclose(whole.forces, sum(part.forces for part in parts), atol=1e-12)
    assert (small.cutoff, large.cutoff, pair.cutoff) == (2.5, 4.0, 4.0)


def test_a_pair_brings_its_own_inner_potential(pair, tmp_path):
    """Its small part inside: the same trajectory as with that part given as inner potential."""
    small, _ = split_pair(pair)
    alone, given = tmp_path / "alone.xyz", tmp_path / "given.xyz"
    result = simulate(pair, WATER, CONFIG, alone, progress=False)
    expected = simulate(pair, WATER, CONFIG, given, inner=small, progress=False)
    np.testing.assert_allclose(result.structure.positions, expected.structure.positions, atol=1e-10)
    moved = np.abs(result.structure.positions - WATER.positions).max()
    assert moved > 0.05
    last = read(alone)[-1]
    prediction = pair.predict([last], dtype="float64")[0]
    assert last.energy == pytest.approx(prediction.energy, abs=1e-7)
    np.testing.assert_allclose(last.forces, prediction.forces, atol=1e-6)
