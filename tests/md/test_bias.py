"""Walls and other terms added to a force function; mass moved from heavy atoms to hydrogen."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase.build import molecule

from jmlip.core.errors import ConfigError
from jmlip.core.structure import Structure
from jmlip.data import from_atoms
from jmlip.md.bias import add_bias, harmonic_bonds, harmonic_walls
from jmlip.md.hydrogen_mass import repartition_hydrogen_mass
from jmlip.md.integrators import make_nve
from jmlip.md.state import kinetic_energy
from jmlip.md.velocities import masses
from tests.contracts.test_integrators import NO_NEIGHBORS
from tests.md.test_rescaling import cluster_in_springs, ideal_gas


def spring(positions, cell):
    """Of the distance between two atoms, and of the volume."""
    return 2.0 * jnp.sum((positions[0] - positions[1]) ** 2) + 3.0 * jnp.linalg.det(cell)


def test_a_bias_adds_to_energy_forces_and_virial(x64):
    positions, cell = jax.random.normal(jax.random.key(1), (4, 3)), 1.1 * jnp.eye(3)
    biased = add_bias(cluster_in_springs, spring)

    def energy(positions, cell):
        return biased(positions, cell, NO_NEIGHBORS).energy

    found = biased(positions, cell, NO_NEIGHBORS)
    plain = cluster_in_springs(positions, cell, NO_NEIGHBORS)
    assert found.energy == pytest.approx(float(plain.energy + spring(positions, cell)))
    np.testing.assert_allclose(found.forces, -jax.grad(energy)(positions, cell), atol=1e-12)
    step = 1e-5
    for a, b in ((0, 0), (0, 1), (2, 1)):
        strain = jnp.zeros((3, 3)).at[a, b].set(step)
        strain = 0.5 * (strain + strain.T)
        larger, smaller = jnp.eye(3) + strain, jnp.eye(3) - strain
        change = energy(positions @ larger, cell @ larger) - energy(
            positions @ smaller, cell @ smaller
        )
        assert change / (2.0 * step) == pytest.approx(float(found.virial[a, b]), rel=1e-6, abs=1e-8)


def test_walls_turn_a_free_atom_back_and_conserve_energy(x64):
    walls = harmonic_walls(axis=0, low=-1.0, high=1.0, stiffness=4.0, atoms=jnp.array([0]))
    integrator = make_nve(add_bias(ideal_gas, walls), dt=0.01)
    momenta = jnp.array([[1.0, 0.0, 0.0], [0.5, 0.0, 0.0]])
    state = integrator.init(
        jnp.zeros((2, 3)), momenta, jnp.ones((2, 1)), jnp.eye(3), NO_NEIGHBORS, None
    )

    def step(state, _):
        state = integrator.step(state)
        total = state.energy + kinetic_energy(state.dynamics)
        return state, (state.dynamics.position[:, 0], total)

    _, (x, total) = jax.lax.scan(step, state, length=2000)
    # 1/2 k d^2 = p^2 / 2: half an angstrom into the wall; the other atom feels none
    assert x[:, 0].max() == pytest.approx(1.5, abs=1e-3)
    assert x[:, 0].min() == pytest.approx(-1.5, abs=1e-3)
    assert x[-1, 1] == pytest.approx(10.0)
    np.testing.assert_allclose(total, 0.625, atol=1e-4)


def test_a_soft_bond_vibrates_with_the_period_of_its_stiffness(x64):
    bond = harmonic_bonds(jnp.array([[0, 2]]), jnp.array([1.5]), stiffness=8.0)
    n_half = 500
    dt = jnp.pi * (0.5 / 8.0) ** 0.5 / n_half  # half a period, reduced mass 1/2
    integrator = make_nve(add_bias(ideal_gas, bond), dt=dt)
    start = jnp.array([[0.0, 0.0, 0.0], [0.3, 0.0, 0.0], [0.0, 1.6, 0.0]])
    state = integrator.init(
        start, jnp.zeros((3, 3)), jnp.ones((3, 1)), jnp.eye(3), NO_NEIGHBORS, None
    )
    state = jax.lax.fori_loop(0, n_half, lambda _, state: integrator.step(state), state)
    positions = state.dynamics.position
    np.testing.assert_allclose(positions[2] - positions[0], [0.0, 1.4, 0.0], atol=1e-5)
    np.testing.assert_allclose(positions[1], start[1])


def test_hydrogen_takes_mass_from_its_own_atom():
    ethanol = from_atoms(molecule("CH3CH2OH"))
    heavy = repartition_hydrogen_mass(ethanol, 3.0)
    before, after = masses(ethanol)[:, 0], masses(heavy)[:, 0]
    species = np.asarray(ethanol.species)
    assert after.sum() == pytest.approx(before.sum())
    np.testing.assert_array_equal(after[species == 1], 3.0)
    n_hydrogens = np.round((before - after)[species > 1] / (3.0 - 1.008))
    assert sorted(n_hydrogens) == [1, 2, 3]  # O, CH2, CH3
    assert n_hydrogens[species[species > 1] == 8] == 1
    again = repartition_hydrogen_mass(heavy, 3.0)  # nothing is left to do
    np.testing.assert_array_equal(masses(again), masses(heavy))


def test_bonds_across_the_border_of_a_cell_count():
    split = Structure(
        species=[8, 1], positions=[[0.1, 0, 0], [4.2, 0, 0]], cell=5.0 * np.eye(3), pbc=[True] * 3
    )
    np.testing.assert_allclose(
        masses(repartition_hydrogen_mass(split, 2.0))[:, 0], [15.999 - 0.992, 2.0]
    )


@pytest.mark.parametrize(
    ("name", "mass", "found"),
    [
        ("H2O", 0.0, "must be positive"),
        ("H2O", float("nan"), "must be positive"),
        ("CO2", 3.0, "needs a structure with hydrogen, found CO2"),
        ("H2", 3.0, "must have a heavier atom within 2 angstrom"),
        ("CH4", 4.0, "must stay heavier than its 4 u, found 0.0"),
    ],
)
def test_impossible_masses_of_hydrogen(name, mass, found):
    with pytest.raises(ConfigError, match=found):
        repartition_hydrogen_mass(from_atoms(molecule(name)), mass)
