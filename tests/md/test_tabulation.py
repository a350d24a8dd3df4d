"""Potentials with tables in place of radial networks."""

import dataclasses

import jax
import numpy as np
import pytest

import jmlip
from jmlip.core.errors import PotentialError
from jmlip.core.structure import Structure
from jmlip.factory import make_model, split_pair
from jmlip.md.config import MDConfig
from jmlip.md.simulate import simulate
from jmlip.md.tabulation import tabulate
from jmlip.potentials.potential import initial_potential, save_potential

SMALL = {"n_layers": 2, "n_channels": 4, "cutoff": 3.5, "radial_hidden": [16]}
KINDS = {
    "mace": {**SMALL, "harmonics": 2, "correlation": 2},
    "nequip": {**SMALL, "harmonics": 1, "max_degree": 1},
    "mace with density": {**SMALL, "harmonics": 1, "correlation": 2, "normalization": "density"},
    "mace with pair cutoffs": {
        **SMALL, "harmonics": 1, "correlation": 2, "pair_cutoffs": [[3.0, 3.5], [3.5, 3.5]],
    },
}  # fmt: skip


def potential(name):
    kind = name.split()[0]
    model = make_model(kind, {"species": [1, 8], **KINDS[name]})
    return initial_potential(kind, model, key=jax.random.key(0), reference_energies=(0.0, 0.0))


def molecules(n=6):
    rng = np.random.default_rng(0)
    grid = 2.4 * np.stack(np.meshgrid(*[range(2)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    positions = grid[:n] + rng.normal(scale=0.2, size=(n, 3))
    return Structure(species=[8, 1, 1] * (n // 3), positions=positions)


@pytest.mark.parametrize("name", KINDS)
def test_forces_are_those_of_the_network(x64, name):
    """Errors of slopes fall with the third power of the number of intervals, not with the second:
    by 512 here for the finest, not by 64."""
    wide = potential(name).astype("float64")
    exact = wide.predict([molecules()])[0]
    scale = np.abs(exact.forces).max()
    errors = []
    for n in (64, 512):
        table, error = tabulate(wide, n)
        found = table.predict([molecules()])[0]
        errors.append(error)
        assert np.abs(found.forces - exact.forces).max() < 10.0 * error * scale
    assert errors[1] < errors[0] / 128.0
    assert errors[1] < 1e-4


def test_a_saved_table_is_read_again_and_conserves_energy(tmp_path):
    table, _ = tabulate(potential("mace"), 256)
    save_potential(table, tmp_path / "table")
    read = jmlip.load_potential(tmp_path / "table")
    config = MDConfig(ensemble="nve", timestep_fs=0.25, n_steps=400, every=40, temperature_K=100.0)
    result = simulate(read, molecules(), config, tmp_path / "t.xyz", progress=False)
    assert abs(result.drift_meV_per_atom_ps) < 0.5


def test_a_pair_has_tables_in_both_parts():
    parts = {
        "small": {"kind": "mace", **KINDS["mace"], "n_layers": 1, "max_degree": 0},
        "large": {"kind": "nequip", **KINDS["nequip"]},
    }
    model = make_model("pair", {"species": [1, 8], **parts})
    pair = initial_potential("pair", model, key=jax.random.key(0), reference_energies=(0.0, 0.0))
    table, error = tabulate(pair, 512)
    assert error < 1e-3
    for part in split_pair(table):
        assert part.model.config.radial_table == 512
    exact, found = (each.predict([molecules()])[0] for each in (pair, table))
    np.testing.assert_allclose(found.forces, exact.forces, atol=1e-3 * np.abs(exact.forces).max())


def test_what_has_no_radial_network_is_refused():
    hipnn = make_model("hipnn", {"species": [1, 8], "n_features": 4})
    other = initial_potential("hipnn", hipnn, key=jax.random.key(0), reference_energies=(0.0, 0.0))
    with pytest.raises(PotentialError, match="radial network"):
        tabulate(other)
    table, _ = tabulate(potential("mace"), 64)
    with pytest.raises(PotentialError, match="a table already"):
        tabulate(table)
    with pytest.raises(PotentialError, match="16 intervals"):
        tabulate(potential("mace"), 4)
    agnesi = dataclasses.replace(potential("mace").model.config, distance_transform="agnesi")
    model = type(potential("mace").model)(agnesi)
    with pytest.raises(PotentialError, match="Agnesi"):
        tabulate(dataclasses.replace(potential("mace"), model=model))
