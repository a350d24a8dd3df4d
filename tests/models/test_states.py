"""Models that know total charge and spin, and everything that must tell them."""

import dataclasses

import jax
import numpy as np
import pytest
from ase import Atoms

import jmlip
from jmlip.core.errors import ConfigError, DataError, JmlipError
from jmlip.core.structure import Structure
from jmlip.data import compute_statistics, data_hash
from jmlip.factory import make_model
from jmlip.md.forces import allocate_neighbors, make_force_fn
from jmlip.potentials.potential import initial_potential, save_potential

STATES = [[0, 1], [-1, 1], [0, 3]]
FIELDS = {"species": [1, 8], "n_channels": 2, "n_layers": 1, "radial_hidden": [4], "harmonics": 1}
POSITIONS = np.array([[0.0, 0.0, 0.0], [0.9, 0.3, 0.0], [-0.4, 0.9, 0.1]])


def water(**info) -> Structure:
    return Structure(species=[8, 1, 1], positions=POSITIONS, info=info)


@pytest.fixture(scope="module")
def potential():
    model = make_model("mace", {**FIELDS, "states": STATES})
    found = initial_potential("mace", model, key=jax.random.key(0), reference_energies=(0.0, 0.0))
    table = np.random.default_rng(0).normal(size=found.params["states"]["embedding"].shape)
    params = {**found.params, "states": {"embedding": np.float32(table)}}
    return dataclasses.replace(found, params=params)


def test_states_begin_alike_and_can_differ(potential):
    model = make_model("mace", {**FIELDS, "states": STATES})
    new = initial_potential("mace", model, key=jax.random.key(0), reference_energies=(0.0, 0.0))
    structures = [water(), water(charge=-1), water(spin=3)]
    first = [p.energy for p in new.predict(structures)]
    later = [p.energy for p in potential.predict(structures)]
    assert first[0] == first[1] == first[2]
    assert len(set(later)) == 3


def test_all_ways_to_forces_see_the_state(potential, tmp_path):
    anion = water(charge=-1)
    wanted = potential.predict([water(), anion], dtype="float64")[1]
    atoms = Atoms("OHH", POSITIONS)
    atoms.calc = jmlip.Calculator(potential, dtype="float64")
    neutral = atoms.get_potential_energy()
    atoms.info["charge"] = -1
    assert atoms.get_potential_energy() == pytest.approx(wanted.energy, abs=1e-10)
    assert abs(atoms.get_potential_energy() - neutral) > 1e-3
    with jax.enable_x64(True):
        positions = jax.numpy.asarray(POSITIONS)
        cell = jax.numpy.zeros((3, 3))
        neighbors = allocate_neighbors(potential, anion, positions, cell, skin=0.0)
        forces = make_force_fn(potential, anion, dtype="float64", skin=None)
        found = forces(positions, cell, neighbors).forces
        np.testing.assert_allclose(found, wanted.forces, atol=1e-10)
    save_potential(potential, tmp_path / "saved")
    again = jmlip.load_potential(tmp_path / "saved").predict([anion], dtype="float64")[0]
    assert again.energy == wanted.energy


def test_models_without_states_do_not_look():
    model = make_model("mace", FIELDS)
    plain = initial_potential("mace", model, key=jax.random.key(0), reference_energies=(0.0, 0.0))
    strange = {"charge": np.array([0.1, -0.2, 0.1])}  # of each atom, as some programs write it
    atoms = Atoms("OHH", POSITIONS, info=strange)
    atoms.calc = jmlip.Calculator(plain)
    first = atoms.get_potential_energy()
    atoms.positions[0] += 0.01
    assert atoms.get_potential_energy() != first
    assert data_hash([water(**strange)]) == data_hash([water()])


def test_strange_states_are_refused(potential):
    with pytest.raises(JmlipError, match=r"must be among .* found \(2, 1\) in H2O"):
        potential.predict([water(charge=2)])
    with pytest.raises(DataError, match=r"must be whole numbers, found 0\.5 and 1"):
        potential.predict([water(charge=0.5)])
    with pytest.raises(ConfigError, match="different pairs of total charge and spin"):
        make_model("mace", {**FIELDS, "states": [[0, 1], [0, 1]]})


def test_data_know_their_states():
    options = {"cutoff": 3.0, "species": (1, 8), "reference_energies": (0.0, 0.0)}
    assert compute_statistics([water(), water(charge=-1)], **options).states == ((-1, 1), (0, 1))
    assert data_hash([water(charge=-1)]) != data_hash([water()])
    assert data_hash([water(charge=-1.0)]) == data_hash([water(charge=np.int64(-1), spin=1)])
    assert data_hash([water(charge=0)]) == data_hash([water()])
    assert data_hash([water(name="a")]) == data_hash([water()])
