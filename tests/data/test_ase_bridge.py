"""ASE's objects and formats, and the pitfalls of its results."""

import ase.db
import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms, FixBondLengths, FixCartesian

from jmlip.core.errors import ConfigError, DataError
from jmlip.core.structure import Structure
from jmlip.data import data_hash, from_atoms, read, to_atoms
from jmlip.data.ase_bridge import fixed_atoms, require_whole_atoms_fixed


def copper() -> Atoms:
    atoms = bulk("Cu", cubic=True) * (1, 1, 2)
    atoms.rattle(0.1, seed=1)
    atoms.set_cell(atoms.cell.array @ [[1.02, 0, 0], [0.03, 1, 0], [0, 0.01, 0.97]], True)
    atoms.calc = EMT()
    atoms.get_stress()
    return atoms


def test_results_come_across_in_our_conventions():
    atoms = copper()
    structure = from_atoms(atoms)
    assert structure.energy == atoms.get_potential_energy()
    np.testing.assert_array_equal(structure.forces, atoms.get_forces())
    np.testing.assert_array_equal(structure.stress, atoms.get_stress(voigt=False))
    np.testing.assert_array_equal(structure.atomic_energies, atoms.get_potential_energies())


def test_stress_is_tension_positive():
    """Stretched copper pulls back: dE/dV > 0."""
    atoms = bulk("Cu") * 2
    atoms.set_cell(atoms.cell.array * 1.03, scale_atoms=True)
    atoms.calc = EMT()
    atoms.get_stress()
    assert np.trace(from_atoms(atoms).stress) > 0


def test_forces_are_not_zeroed_by_constraints(tmp_path):
    atoms = copper()
    free = atoms.get_forces()
    atoms.set_constraint(FixAtoms([0]))
    assert np.all(atoms.get_forces()[0] == 0)
    np.testing.assert_array_equal(from_atoms(atoms).forces, free)
    ase.io.write(tmp_path / "cu.traj", atoms)
    np.testing.assert_array_equal(read(tmp_path / "cu.traj")[0].forces, free)


def test_constraints_stand_in_the_structure():
    """Fixed atoms and directions as ASE writes them to extended XYZ, others by their names."""
    atoms, free = copper(), np.ones((len(copper()), 3), bool)
    atoms.set_constraint(FixAtoms([0]))
    np.testing.assert_array_equal(fixed_atoms(from_atoms(atoms)), np.arange(len(atoms)) == 0)
    atoms.set_constraint([FixAtoms([0]), FixCartesian(1, (True, False, False))])
    structure = from_atoms(atoms)
    free[0], free[1, 0] = False, False
    np.testing.assert_array_equal(structure.info["arrays"]["move_mask"], free)
    np.testing.assert_array_equal(fixed_atoms(structure), np.arange(len(atoms)) == 0)
    with pytest.raises(ConfigError, match="along some directions"):
        require_whole_atoms_fixed(structure, "dynamics")
    atoms.set_constraint(FixBondLengths([[0, 1]]))
    with pytest.raises(ConfigError, match="FixBondLengths"):
        require_whole_atoms_fixed(from_atoms(atoms), "dynamics")


def test_results_of_other_positions_are_left_out():
    atoms = copper()
    atoms.positions[0] += 0.1
    assert from_atoms(atoms).energy is None
    assert from_atoms(atoms).forces is None


def test_labels_outside_a_calculator_count():
    atoms = Atoms("He", info={"energy": -1.0})
    atoms.set_array("forces", np.ones((1, 3)))
    structure = from_atoms(atoms)
    assert structure.energy == -1.0
    assert structure.forces.tolist() == [[1, 1, 1]]


def test_round_trip_through_atoms_keeps_everything():
    rng = np.random.default_rng(0)
    original = Structure(
        species=[8, 1],
        positions=rng.normal(size=(2, 3)),
        cell=np.diag([5.0, 6, 7]),
        pbc=[True, True, False],
        energy=-1.0,
        forces=rng.normal(size=(2, 3)),
        stress=np.eye(3),
        atomic_energies=[-0.5, -0.5],
        velocities=rng.normal(size=(2, 3)),
        info={
            "name": "x",
            "dipole": np.ones(3),
            "arrays": {"tags": np.array([1, 2]), "charges": np.array([-0.4, 0.4])},
        },
    )
    again = from_atoms(to_atoms(original))
    assert data_hash([again]) == data_hash([original])
    np.testing.assert_allclose(again.velocities, original.velocities, rtol=1e-15)
    assert again.info["name"] == "x"
    np.testing.assert_array_equal(again.info["dipole"], np.ones(3))
    np.testing.assert_array_equal(again.info["arrays"]["tags"], [1, 2])
    np.testing.assert_array_equal(again.info["arrays"]["charges"], [-0.4, 0.4])


def test_isotope_masses_count_in_velocities():
    atoms = Atoms("H", masses=[2.014], momenta=[[2.014, 0, 0]])
    structure = from_atoms(atoms)
    np.testing.assert_allclose(structure.velocities, [[1.0, 0, 0]])
    np.testing.assert_allclose(to_atoms(structure).get_momenta(), [[2.014, 0, 0]])


def test_no_atoms_are_refused():
    with pytest.raises(DataError, match="at least one atom"):
        from_atoms(Atoms())


@pytest.mark.parametrize("ending", ["traj", "json", "db"])
def test_formats_of_ase_keep_labels(tmp_path, ending):
    path = tmp_path / f"cu.{ending}"
    frames = []
    for scale in (1.0, 1.01, 1.02):
        atoms = copper()
        atoms.set_cell(atoms.cell * scale, scale_atoms=True)
        atoms.get_stress()
        frames.append(atoms)
    ase.io.write(path, frames)
    for ours, theirs in zip(read(path), frames, strict=True):
        np.testing.assert_allclose(ours.positions, theirs.positions, rtol=1e-15)
        assert ours.energy == pytest.approx(theirs.get_potential_energy(), rel=1e-14)
        np.testing.assert_allclose(ours.forces, theirs.get_forces(), rtol=1e-14)
        np.testing.assert_allclose(ours.stress, theirs.get_stress(voigt=False), atol=1e-14)
    assert len(read(path, index=slice(1, None))) == 2


def test_a_database_offers_its_pairs_and_data_as_keys(tmp_path):
    path = tmp_path / "set.db"
    with ase.db.connect(path) as database:
        forces = np.array([[0.0, 0, 1], [0, 0, -1]])
        database.write(Atoms("H2"), dft_energy=-31.0, data={"dft_forces": forces})
    (frame,) = read(path, energy_key="dft_energy", forces_key="dft_forces")
    assert frame.energy == -31.0
    np.testing.assert_array_equal(frame.forces, forces)


def test_positions_without_labels_are_read_from_any_format(tmp_path):
    for name, format in (("cu.cif", "cif"), ("POSCAR", "vasp"), ("cu.gen", "gen")):
        ase.io.write(tmp_path / name, bulk("Cu", cubic=True), format=format)
        (frame,) = read(tmp_path / name)
        assert (frame.formula, frame.is_periodic, frame.energy) == ("Cu4", True, None)


def test_a_format_can_be_named(tmp_path):
    ase.io.write(tmp_path / "frames.dat", [bulk("Cu")] * 2, format="traj")
    assert len(read(tmp_path / "frames.dat", format="traj")) == 2


def test_free_energy_of_a_calculator(tmp_path):
    atoms = Atoms("He")
    atoms.calc = SinglePointCalculator(atoms, energy=-1.0, free_energy=-2.0)
    ase.io.write(tmp_path / "he.traj", atoms)
    assert read(tmp_path / "he.traj")[0].energy == -1.0
    assert read(tmp_path / "he.traj", energy_key="free_energy")[0].energy == -2.0
