"""MD17 npz and ANI HDF5: layouts, units, levels of theory."""

import ase.units
import h5py
import numpy as np
import pytest

from jmlip.core.errors import ConfigError, DataError
from jmlip.data import Units, iread, read

KCAL = ase.units.kcal / ase.units.mol
RNG = np.random.default_rng(0)
POSITIONS = RNG.normal(size=(4, 3, 3))
ENERGIES = RNG.normal(size=4)
FORCES = RNG.normal(size=(4, 3, 3))
NUMBERS = np.array([8, 1, 1])


@pytest.fixture
def md17(tmp_path):
    path = tmp_path / "md17.npz"
    np.savez(path, R=POSITIONS, z=NUMBERS, E=ENERGIES[:, None], F=FORCES, name="water")
    return path


@pytest.fixture
def rmd17(tmp_path):
    path = tmp_path / "rmd17.npz"
    np.savez_compressed(
        path, coords=POSITIONS, nuclear_charges=NUMBERS, energies=ENERGIES, forces=FORCES
    )
    return path


@pytest.mark.parametrize("name", ["md17", "rmd17"])
def test_md17_is_in_kcal_per_mol(name, request):
    frames = read(request.getfixturevalue(name))
    assert len(frames) == 4
    for i, frame in enumerate(frames):
        assert frame.formula == "H2O"
        np.testing.assert_array_equal(frame.positions, POSITIONS[i])
        assert frame.energy == pytest.approx(ENERGIES[i] * KCAL, rel=1e-9)
        np.testing.assert_allclose(frame.forces, FORCES[i] * KCAL, rtol=1e-9)


def test_units_of_npz_can_be_declared(md17, tmp_path):
    assert read(md17, units=Units())[1].energy == ENERGIES[1]
    path = tmp_path / "named.npz"
    np.savez(path, R=POSITIONS, z=NUMBERS, E=ENERGIES, r_unit="a0", e_unit="eV")
    frame = read(path)[1]
    assert frame.energy == ENERGIES[1]
    np.testing.assert_allclose(frame.positions, POSITIONS[1] * ase.units.Bohr, rtol=1e-9)
    assert frame.forces is None


def test_other_arrays_of_npz_can_be_named(tmp_path):
    path = tmp_path / "two.npz"
    np.savez(path, R=POSITIONS, z=NUMBERS, E=ENERGIES, E2=2 * ENERGIES, F=FORCES)
    frame = read(path, energy_key="E2", units=Units(), forces_are_gradients=True)[3]
    assert frame.energy == 2 * ENERGIES[3]
    np.testing.assert_array_equal(frame.forces, -FORCES[3])
    with pytest.raises(DataError, match="no key 'E3'; keys that are there: R, z"):
        read(path, energy_key="E3")


@pytest.fixture
def ani1x(tmp_path):
    """Level b is missing for the last conformer of water, and for all of hydrogen."""
    path = tmp_path / "ani1x.h5"
    with h5py.File(path, "w") as file:
        water = file.create_group("H2O1")
        water["atomic_numbers"] = NUMBERS.astype(np.uint8)
        water["coordinates"] = POSITIONS.astype(np.float32)
        water["a.energy"] = ENERGIES
        water["a.forces"] = FORCES
        water["b.energy"] = np.where(np.arange(4) == 3, np.nan, 2 * ENERGIES)
        hydrogen = file.create_group("H2")
        hydrogen["atomic_numbers"] = np.array([1, 1], np.uint8)
        hydrogen["coordinates"] = POSITIONS[:1, :2]
        hydrogen["a.energy"] = np.array([-1.0])
        hydrogen["a.forces"] = np.full((1, 2, 3), np.nan)
        hydrogen["b.energy"] = np.array([np.nan])
    return path


def test_a_level_of_theory_is_read_in_hartree(ani1x):
    by_formula = {}
    for frame in read(ani1x, level="a"):
        by_formula.setdefault(frame.formula, []).append(frame)
    assert [len(by_formula[name]) for name in ("H2O", "H2")] == [4, 1]
    for i, frame in enumerate(by_formula["H2O"]):
        assert frame.energy == pytest.approx(ENERGIES[i] * ase.units.Hartree, rel=1e-9)
        np.testing.assert_allclose(frame.forces, FORCES[i] * ase.units.Hartree, rtol=1e-9)
        assert frame.info["group"] == "/H2O1"
    (hydrogen,) = by_formula["H2"]
    assert hydrogen.energy == pytest.approx(-ase.units.Hartree, rel=1e-9)
    assert hydrogen.forces is None  # NaN marks what was not computed


def test_conformers_without_the_level_are_left_out(ani1x):
    frames = read(ani1x, level="b")
    assert [frame.formula for frame in frames] == ["H2O"] * 3
    assert all(frame.forces is None for frame in frames)


def test_levels_must_be_chosen_and_exist(ani1x):
    with pytest.raises(DataError, match="choose one by level: a, b"):
        read(ani1x)
    with pytest.raises(DataError, match=r"\(a, b\), found 'c'"):
        read(ani1x, level="c")
    with pytest.raises(DataError, match=r"no group has the key 'c\.energy'"):
        read(ani1x, energy_key="c.energy")


def test_levels_can_be_mixed_by_key(ani1x):
    frame = read(ani1x, level="a", energy_key="b.energy", units=Units())[-2]
    assert frame.energy == 2 * ENERGIES[2]
    np.testing.assert_array_equal(frame.forces, FORCES[2])
    with pytest.raises(ConfigError, match="unknown unit"):
        read(ani1x, level="a", units=Units(energy="Hartre"))


@pytest.mark.parametrize("species", [np.array([b"O", b"H", b"H"]), NUMBERS, [NUMBERS] * 4])
def test_nested_groups_of_ani1_and_comp6(tmp_path, species):
    path = tmp_path / "comp6.h5"
    with h5py.File(path, "w") as file:
        group = file.create_group("set/molecule0")
        group["species"] = species
        group["coordinates"] = POSITIONS
        group["energies"] = ENERGIES
        group["forces"] = FORCES
        group["smiles"] = np.array([b"O"])
    frames = list(iread(path, index=slice(1, None)))
    assert [frame.formula for frame in frames] == ["H2O"] * 3
    assert frames[0].energy == pytest.approx(ENERGIES[1] * ase.units.Hartree, rel=1e-9)
    assert frames[0].info == {"group": "/set/molecule0"}


def test_cells_of_conformers_are_read(tmp_path):
    path = tmp_path / "al.h5"
    cells = np.stack([np.eye(3) * (4 + i) for i in range(4)])
    with h5py.File(path, "w") as file:
        group = file.create_group("Al")
        group["species"] = np.array([b"Al"] * 3)
        group["coordinates"] = POSITIONS
        group["cell"] = cells
        group["energy"] = ENERGIES
        group["force"] = FORCES
    frames = read(path, forces_are_gradients=True, units=Units())
    assert frames[2].is_periodic
    np.testing.assert_array_equal(frames[2].cell, cells[2])
    np.testing.assert_array_equal(frames[2].forces, -FORCES[2])


def test_long_groups_are_read_in_blocks(tmp_path):
    path = tmp_path / "long.h5"
    n = 1100  # over one block
    with h5py.File(path, "w") as file:
        file["He/species"] = np.array([b"He"])
        file["He/coordinates"] = np.arange(3.0 * n).reshape(n, 1, 3)
        file["He/energies"] = np.arange(float(n))
    frames = read(path, units=Units())
    assert [frame.energy for frame in frames] == list(range(n))
    assert frames[-1].positions[0, 0] == 3.0 * (n - 1)


def test_bad_groups_are_named(tmp_path):
    path = tmp_path / "bad.h5"
    with h5py.File(path, "w") as file:
        file["He/species"] = np.array([b"Qq"])
        file["He/coordinates"] = np.zeros((2, 1, 3))
        file["He/energies"] = np.zeros(2)
    with pytest.raises(DataError, match=r"bad\.h5 .*/He: species must be .*'Qq'"):
        read(path)
    with h5py.File(path, "w") as file:
        file["He/species"] = np.array([b"He"])
        file["He/coordinates"] = np.zeros((2, 1, 3))
        file["He/energies"] = np.zeros(3)
    with pytest.raises(DataError, match="/He: energy must have 2 rows, found 3"):
        read(path)
