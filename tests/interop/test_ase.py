"""The ASE calculator: right numbers, few programs, and what ASE does with it."""

import ase.build
import jax
import numpy as np
import pytest
from ase import units as ase_units
from ase.calculators.calculator import PropertyNotImplementedError
from ase.calculators.fd import calculate_numerical_forces, calculate_numerical_stress
from ase.calculators.lj import LennardJones as AseLennardJones
from ase.filters import UnitCellFilter
from ase.md.verlet import VelocityVerlet
from ase.optimize import BFGS

from jmlip.core.errors import ConfigError, PotentialError
from jmlip.core.structure import Structure
from jmlip.interop.ase import Calculator
from jmlip.potentials.potential import Potential, initial_potential
from tests.contracts.lennard_jones import LennardJones, LennardJonesConfig
from tests.contracts.subjects import SUBJECTS

CONFIG = LennardJonesConfig(species=(10,), cutoff=4.5, onset=3.0, epsilon=0.25, sigma=2.25)
ASE_PARAMETERS = {"epsilon": 0.25, "sigma": 2.25, "rc": 4.5, "ro": 3.0, "smooth": True}


@pytest.fixture(scope="module")
def potential() -> Potential:
    return initial_potential(
        "lennard-jones", LennardJones(CONFIG), key=jax.random.key(0), reference_energies=(0.0,)
    )


def crystal(repeat=(1, 1, 1), seed: int = 0):
    atoms = ase.build.bulk("Ne", "fcc", a=3.6, cubic=True) * repeat
    atoms.rattle(0.1, seed=seed)
    return atoms


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_numbers_are_those_of_ase(potential, dtype):
    atoms, expected = crystal(), crystal()
    atoms.calc = Calculator(potential, dtype=dtype)
    expected.calc = AseLennardJones(**ASE_PARAMETERS)
    tolerance = {"float32": 3e-6, "float64": 1e-11}[dtype]
    for get in (
        "get_potential_energy",
        "get_potential_energies",
        "get_forces",
        "get_stress",
    ):
        found = getattr(atoms, get)()
        assert np.asarray(found).dtype == np.float64
        np.testing.assert_allclose(found, getattr(expected, get)(), atol=tolerance)
    assert atoms.get_potential_energy(force_consistent=True) == atoms.get_potential_energy()


def test_many_body_model_agrees_with_finite_differences_and_predict():
    potential = next(s for s in SUBJECTS if s.name == "hipnn-rank0").make()
    atoms = ase.build.bulk("C", "diamond", a=3.5)
    atoms.numbers[1] = 8
    atoms.rattle(0.1, seed=1)
    atoms.calc = Calculator(potential, dtype="float64")
    np.testing.assert_allclose(
        atoms.get_forces(), calculate_numerical_forces(atoms, eps=1e-4), rtol=1e-5, atol=1e-7
    )
    np.testing.assert_allclose(
        atoms.get_stress(), calculate_numerical_stress(atoms, eps=1e-5), rtol=1e-5, atol=1e-8
    )
    structure = Structure(
        species=atoms.numbers, positions=atoms.positions, cell=atoms.cell.array, pbc=atoms.pbc
    )
    prediction = potential.predict([structure], dtype="float64")[0]
    assert atoms.get_potential_energy() == pytest.approx(prediction.energy, rel=1e-12)
    np.testing.assert_allclose(atoms.get_potential_energies(), prediction.atomic_energies)
    np.testing.assert_allclose(atoms.get_forces(), prediction.forces, atol=1e-10)
    stress = atoms.get_stress(voigt=False)
    np.testing.assert_allclose(stress, prediction.stress, atol=1e-10)


def test_dynamics_conserves_energy_follows_ase(potential):
    trajectories = []
    for calculator in (Calculator(potential, dtype="float64"), AseLennardJones(**ASE_PARAMETERS)):
        atoms = crystal((2, 1, 1))
        atoms.calc = calculator
        thermal = np.sqrt(150 * ase_units.kB / atoms.get_masses().mean())
        atoms.set_velocities(np.random.default_rng(0).normal(scale=thermal, size=(8, 3)))
        start = atoms.get_total_energy()
        VelocityVerlet(atoms, timestep=ase_units.fs).run(100)
        trajectories.append(atoms.positions)
        assert abs(atoms.get_total_energy() - start) < 1e-3 * len(atoms)
        assert np.abs(atoms.positions - crystal((2, 1, 1)).positions).max() > 0.15
    np.testing.assert_allclose(*trajectories, atol=1e-8)


def test_list_is_reused_and_renewed(potential):
    calculator = Calculator(potential, dtype="float64", skin=0.6)
    atoms, fresh = crystal((2, 1, 1)), crystal((2, 1, 1))
    atoms.calc = calculator
    atoms.get_forces()
    built = calculator._neighbors
    generator = np.random.default_rng(0)
    direction = generator.normal(size=(8, 3))
    direction /= np.linalg.norm(direction, axis=1).max()
    for step, reused in ((0.29, True), (0.29 + 0.02, False), (2.0, False)):
        atoms.positions = fresh.positions + step * direction
        forces = atoms.get_forces()
        assert (calculator._neighbors is built) == reused
        expected = atoms.copy()
        expected.calc = AseLennardJones(**ASE_PARAMETERS)
        np.testing.assert_allclose(forces, expected.get_forces(), rtol=1e-8, atol=1e-9)


def test_cell_relaxation_compiles_few_programs(potential):
    calculator = Calculator(potential, dtype="float64")
    atoms = crystal()
    atoms.set_cell(atoms.cell * 1.1, scale_atoms=True)
    atoms.calc = calculator
    assert BFGS(UnitCellFilter(atoms), logfile=None).run(fmax=1e-3, steps=200)
    assert np.abs(atoms.get_forces()).max() < 1e-3
    assert np.abs(atoms.get_stress()).max() < 1e-3
    assert calculator.n_compilations <= 3


def test_different_systems_share_programs(potential):
    calculator = Calculator(potential)
    for seed, repeat in enumerate([(2, 2, 1), (2, 2, 1), (2, 1, 1), (1, 2, 2)]):
        atoms = crystal(repeat, seed)
        atoms.calc = calculator
        atoms.get_forces()
        assert atoms.get_forces().shape == (len(atoms), 3)
    assert calculator.n_compilations <= 2


def test_stress_without_a_cell_is_refused(potential):
    atoms = crystal()
    atoms.pbc = (True, True, False)
    atoms.calc = Calculator(potential)
    assert np.isfinite(atoms.get_potential_energy())
    with pytest.raises(PropertyNotImplementedError, match="periodic in three directions"):
        atoms.get_stress()


def test_unknown_elements_and_overlaps_are_refused(potential):
    atoms = crystal()
    atoms.calc = Calculator(potential)
    atoms.get_forces()
    atoms.positions[1] = atoms.positions[0]
    with pytest.raises(PotentialError, match="found atoms 0 and 1 of the system 0 angstrom apart"):
        atoms.get_forces()
    atoms = crystal()
    atoms.numbers[0] = 18
    atoms.calc = Calculator(potential)
    with pytest.raises(PotentialError, match="must be among Ne, found Ar"):
        atoms.get_forces()


@pytest.mark.parametrize("skin", [-1.0, True, float("nan"), float("inf")])
def test_a_skin_that_is_no_distance_is_refused(potential, skin):
    with pytest.raises(ConfigError, match="skin must be a number of at least 0"):
        Calculator(potential, skin=skin)
