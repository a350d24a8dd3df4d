"""Heat flux: against its definition in open systems, and against larger cells in periodic ones."""

import jax
import numpy as np
import pytest
from ase.build import bulk

from jmlip.core.errors import DataError, PotentialError
from jmlip.core.structure import Structure
from jmlip.data import from_atoms
from jmlip.factory import make_model
from jmlip.md.heat_flux import heat_flux, unfold
from jmlip.md.velocities import masses
from jmlip.potentials.potential import Potential, initial_potential

SMALL = {
    "lennard-jones": {"species": [18], "cutoff": 4.0},
    "hipnn": {"species": [18], "cutoff": 4.0, "r_low": 1.0, "r_high": 3.4, "n_features": 4,
              "n_sensitivities": 4, "n_interactions": 2, "n_onsite": 1, "max_rank": 1},
    "allegro": {"species": [18], "cutoff": 4.0, "size": "S"},
    "botnet": {"species": [18], "cutoff": 4.0, "n_layers": 2, "n_channels": 4, "max_degree": 1},
}  # fmt: skip


def potential_of(kind: str) -> Potential:
    model = make_model(kind, SMALL[kind])
    return initial_potential(kind, model, key=jax.random.key(0), reference_energies=(-1.0,))


def moving(structure: Structure) -> Structure:
    velocity = np.random.default_rng(1).normal(size=(structure.n_atoms, 3)) * 0.05
    return structure.replace(velocities=velocity)


def crystal() -> Structure:
    atoms = bulk("Ar", "fcc", a=5.0, cubic=True)
    atoms.rattle(0.2, seed=2)
    return moving(from_atoms(atoms))


@pytest.fixture(scope="module", params=sorted(SMALL))
def potential(request):
    return potential_of(request.param)


def test_open_systems_have_the_flux_of_the_definition(potential):
    """J is the change of sum_i R_i E_i, kinetic energies among E_i, along the motion."""
    atoms = bulk("Ar", "fcc", a=5.0, cubic=True) * (2, 1, 1)
    atoms.rattle(0.2, seed=2)
    atoms.pbc = False
    start, h = moving(from_atoms(atoms)), 1e-3
    mass = masses(start)

    def center(time):
        force = potential.predict([start], dtype="float64")[0].forces
        velocity = start.velocities + time * force / mass
        there = start.replace(positions=start.positions + time * velocity, velocities=velocity)
        prediction = potential.predict([there], dtype="float64")[0]
        energy = prediction.atomic_energies + 1.0 + 0.5 * np.sum(mass * velocity**2, axis=1)
        return energy @ there.positions

    expected = (center(h) - center(-h)) / (2.0 * h)
    found = heat_flux(potential, [start], dtype="float64").total[0]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-8)


def test_a_cell_repeated_has_so_many_times_the_flux(potential):
    """Images and atoms are the same, also where the cell is narrower than what an atom sees."""
    once = crystal()
    shifts = np.array([[0, 0, 0], [1, 0, 0], [2, 0, 0]]) @ once.cell
    thrice = Structure(
        species=np.tile(once.species, 3),
        positions=np.concatenate([once.positions + shift for shift in shifts]),
        velocities=np.tile(once.velocities, (3, 1)),
        cell=once.cell * np.array([[3.0], [1.0], [1.0]]),
        pbc=once.pbc,
    )
    one, three = (heat_flux(potential, [each], dtype="float64") for each in (once, thrice))
    np.testing.assert_allclose(three.potential, 3.0 * one.potential, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(three.convective, 3.0 * one.convective, rtol=1e-7, atol=1e-9)
    # energies are those of the periodic system: the cluster reaches far enough
    energy = potential.predict([once], dtype="float64")[0].atomic_energies + 1.0
    kinetic = 0.5 * masses(once)[:, 0] * np.sum(once.velocities**2, axis=1)
    np.testing.assert_allclose(one.convective[0], (energy + kinetic) @ once.velocities, rtol=1e-9)


def test_atoms_at_rest_carry_nothing_and_none_is_refused():
    potential, still = potential_of("lennard-jones"), crystal().replace(velocities=np.zeros((4, 3)))
    assert np.abs(heat_flux(potential, [still]).total).max() == 0.0
    with pytest.raises(DataError, match="needs velocities"):
        heat_flux(potential, [still.replace(velocities=None)])


def test_unfolded_images_are_all_within_reach():
    start = crystal()
    cluster = unfold(start, 6.0)
    distance = np.linalg.norm(cluster.positions[4:, None] - start.positions[None], axis=-1)
    assert distance.min(axis=1).max() < 6.0
    assert len(np.unique(cluster.positions.round(6), axis=0)) == cluster.n_atoms


def test_infinite_fluxes_are_refused():
    start = crystal()
    on_top = start.replace(positions=np.zeros_like(start.positions))
    with pytest.raises(PotentialError, match="NaN or infinity in frame 1"), jax.debug_nans(False):
        heat_flux(potential_of("lennard-jones"), [start, on_top])
