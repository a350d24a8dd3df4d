"""Our extended XYZ against ASE's, an independent program."""

import gzip
import os
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io.extxyz import key_val_str_to_dict

from jmlip.core.errors import ConfigError, DataError
from jmlip.core.structure import Structure
from jmlip.data import Units, data_hash, iread, read, write
from jmlip.data.extxyz import parse_comment

DATA = Path(os.environ.get("JMLIP_DATA", Path(__file__).parents[3] / "shared" / "data"))


def random_atoms(seed: int) -> Atoms:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 7))
    atoms = Atoms(
        numbers=rng.integers(1, 90, n),
        positions=rng.normal(size=(n, 3)) * 3,
        cell=rng.normal(size=(3, 3)) + 5 * np.eye(3) if seed % 2 else None,
        pbc=bool(seed % 2),
        info={"config_type": f"set{seed}", "number": seed, "vector": rng.normal(size=3)},
    )
    atoms.set_momenta(rng.normal(size=(n, 3)))
    atoms.set_array("labels", np.array([f"a{i}" for i in range(n)]))
    stress = rng.normal(size=6) if seed % 2 else None
    atoms.calc = SinglePointCalculator(
        atoms,
        energy=float(rng.normal()),
        forces=rng.normal(size=(n, 3)),
        energies=rng.normal(size=n),
        dipole=rng.normal(size=3),
        charges=rng.normal(size=n),
        stress=stress,
    )
    return atoms


def test_a_file_of_ase_reads_as_ase_reads_it(tmp_path):
    path = tmp_path / "set.xyz"
    ase.io.write(path, [random_atoms(seed) for seed in range(12)])
    for ours, theirs in zip(read(path), ase.io.iread(path), strict=True):
        np.testing.assert_array_equal(ours.species, theirs.numbers)
        np.testing.assert_array_equal(ours.positions, theirs.positions)
        np.testing.assert_array_equal(ours.cell, theirs.cell.array)
        np.testing.assert_array_equal(ours.pbc, theirs.pbc)
        assert ours.energy == theirs.get_potential_energy()
        np.testing.assert_array_equal(ours.forces, theirs.get_forces())
        np.testing.assert_array_equal(ours.atomic_energies, theirs.calc.results["energies"])
        np.testing.assert_allclose(ours.velocities, theirs.get_velocities(), rtol=1e-14)
        if theirs.pbc.all():
            np.testing.assert_array_equal(ours.stress, theirs.get_stress(voigt=False))
        else:
            assert ours.stress is None
        assert ours.info["config_type"] == theirs.info["config_type"]
        np.testing.assert_array_equal(ours.info["dipole"], theirs.calc.results["dipole"])
        np.testing.assert_array_equal(
            ours.info["arrays"]["charges"], theirs.calc.results["charges"]
        )
        np.testing.assert_array_equal(ours.info["arrays"]["labels"], theirs.arrays["labels"])


@pytest.mark.parametrize(
    "comment",
    [
        'Lattice="1 2 3 4 5 6 7 8 9.5" Properties=species:S:1:pos:R:3 energy=-1e-3 pbc="T T F"',
        'a=1 b=2.5 c="1 2 3" d="1 2.5" e=T f="T F" g=word h="two words" i=nan j=1,2,3',
        "stress=\"1 2 3 4 5 6 7 8 9\" m='single quotes' n={curly braces}",
        'flag name="with = sign" key = spaced x=[1,2] empty=""',
        r'escaped="a \"quote\"" path=a\\b',
        '_j="_JSON {\\"a\\": [1, 2]}" version=1.2.3 uid=007 t=true',
    ],
)
def test_comment_lines_mean_what_they_mean_to_ase(comment):
    ours, theirs = parse_comment(comment), key_val_str_to_dict(comment)
    assert list(ours) == list(theirs)
    for key, value in theirs.items():
        np.testing.assert_array_equal(ours[key], value)


def test_an_empty_value_is_empty():
    """ASE takes the next key and value for it."""
    assert parse_comment('note="" energy=-1.0') == {"note": "", "energy": -1.0}


def test_labels_may_stand_beside_atomic_numbers(tmp_path):
    path = tmp_path / "labels.xyz"
    path.write_text("2\nProperties=species:S:1:Z:I:1:pos:R:3\nCA1 6 0 0 0\nh 1 0 0 1\n")
    assert read(path)[0].species.tolist() == [6, 1]


@pytest.mark.parametrize("comment", ["", "   ", "\n"])
def test_an_empty_comment_says_nothing(comment):
    assert parse_comment(comment) == {}


def test_write_and_read_give_the_same_bits(tmp_path):
    path = tmp_path / "set.xyz"
    rng = np.random.default_rng(0)
    structures = [
        Structure(
            species=[8, 1],
            positions=rng.normal(size=(2, 3)),
            cell=rng.normal(size=(3, 3)) + 4 * np.eye(3),
            pbc=[True, True, seed % 2 == 0],
            energy=rng.normal() * 1e4,
            forces=rng.normal(size=(2, 3)) * 10.0**-seed,
            stress=(lambda a: a + a.T)(rng.normal(size=(3, 3))),
            atomic_energies=rng.normal(size=2),
            velocities=rng.normal(size=(2, 3)),
            info={
                "name": "two words",
                "charge": -1,
                "dipole": rng.normal(size=3),
                "matrix": np.arange(4.0).reshape(2, 2),
                "nested": {"a": [1, 2]},
                "arrays": {"tags": np.array([1, 2]), "charges": rng.normal(size=2)},
            },
        )
        for seed in range(4)
    ]
    structures.append(Structure(species=[2], positions=[[0, 0, 0]], forces=[[0, 0, 1]]))
    structures.append(Structure(species=[2], positions=[[0, 0, 0]]))
    write(path, iter(structures))
    again = read(path)
    assert data_hash(again) == data_hash(structures)
    assert again[-1].energy is None
    assert again[-2].forces is not None
    for new, old in zip(again[:4], structures[:4], strict=True):
        np.testing.assert_allclose(new.velocities, old.velocities, rtol=1e-15)
        assert new.info["name"] == "two words"
        assert new.info["charge"] == -1
        assert new.info["nested"] == {"a": [1, 2]}
        np.testing.assert_array_equal(new.info["matrix"], old.info["matrix"])
        np.testing.assert_array_equal(new.info["dipole"], old.info["dipole"])
        np.testing.assert_array_equal(new.info["arrays"]["tags"], [1, 2])
        np.testing.assert_array_equal(new.info["arrays"]["charges"], old.info["arrays"]["charges"])


def test_ase_reads_what_we_write(tmp_path):
    path = tmp_path / "set.xyz"
    stress = np.array([[1.0, 0.4, 0.5], [0.4, 2.0, 0.6], [0.5, 0.6, 3.0]])
    written = Structure(
        species=[29, 1],
        positions=[[0, 0, 0], [0, 1 / 3, 0]],
        cell=[[4, 0, 0], [1, 5, 0], [0, 1, 6]],
        pbc=[True] * 3,
        energy=-1 / 3,
        forces=[[0, 0, 1 / 7], [0, 0, -1 / 7]],
        stress=stress,
        velocities=[[0.1, 0, 0], [0, 0.2, 0]],
    )
    write(path, [written])
    atoms = ase.io.read(path)
    np.testing.assert_array_equal(atoms.positions, written.positions)
    np.testing.assert_array_equal(atoms.cell.array, written.cell)
    assert atoms.get_potential_energy() == written.energy
    np.testing.assert_array_equal(atoms.get_forces(), written.forces)
    np.testing.assert_array_equal(atoms.get_stress(voigt=False), stress)
    np.testing.assert_allclose(atoms.get_velocities(), written.velocities, rtol=1e-14)


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "set.xyz"
    helium = Structure(species=[2], positions=[[0, 0, 0]])
    write(path, [helium])
    before = path.read_bytes()
    bad = helium.replace(info={"arrays": {"x": np.zeros((2, 2, 2))}})
    with pytest.raises(DataError, match="frame 1: per-atom array 'x'"):
        write(path, [helium, bad])
    with pytest.raises(DataError, match="at least one structure"):
        write(path, [])
    with pytest.raises(ConfigError, match=r"found .*set\.cif"):
        write(tmp_path / "set.cif", [helium])
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["set.xyz"]


def test_line_breaks_in_info_cannot_break_the_file(tmp_path):
    path = tmp_path / "set.xyz"
    write(path, [Structure(species=[2], positions=[[0, 0, 0]], info={"note": "a\nb\\c"})] * 2)
    assert [s.info["note"] for s in read(path)] == ["a b/c"] * 2


HYDROGEN = "2\n{comment}\nH 0 0 0 0 0 1\nH 0 0 1 0 0 -1\n"
PROPERTIES = "Properties=species:S:1:pos:R:3:{column}:R:3"


def write_text(tmp_path, comment: str, column: str = "forces"):
    path = tmp_path / "h2.xyz"
    path.write_text(HYDROGEN.format(comment=f"{PROPERTIES.format(column=column)} {comment}"))
    return path


def test_custom_columns_and_units(tmp_path):
    path = write_text(tmp_path, "REF_energy=-1.0 energy=5.0", column="REF_forces")
    units = Units(energy="hartree", length="bohr")
    (frame,) = read(path, energy_key="REF_energy", forces_key="REF_forces", units=units)
    hartree, bohr = ase.units.Hartree, ase.units.Bohr
    assert frame.energy == pytest.approx(-hartree, rel=1e-9)
    np.testing.assert_allclose(frame.positions[1], [0, 0, bohr], rtol=1e-9)
    np.testing.assert_allclose(frame.forces[0], [0, 0, hartree / bohr], rtol=1e-9)
    assert "energy" not in frame.info  # another level's energy must not come back when written


def test_gradients_are_turned(tmp_path):
    (frame,) = read(write_text(tmp_path, "energy=0"), forces_are_gradients=True)
    np.testing.assert_array_equal(frame.forces[0], [0, 0, -1])


def test_a_virial_is_minus_stress_times_volume(tmp_path):
    comment = 'Lattice="2 0 0 0 2 0 0 0 2" {}="8 0 0 0 16 0 0 0 24"'
    (frame,) = read(write_text(tmp_path, comment.format("virial")))
    np.testing.assert_allclose(frame.stress, np.diag([-1.0, -2.0, -3.0]))
    (frame,) = read(write_text(tmp_path, comment.format("REF_virial")), stress_key="REF_virial")
    np.testing.assert_allclose(frame.stress, np.diag([-1.0, -2.0, -3.0]))
    (frame,) = read(write_text(tmp_path, comment.format("stress")), units=Units(stress="GPa"))
    np.testing.assert_allclose(frame.stress[2, 2], 24 * ase.units.GPa)
    with pytest.raises(DataError, match="frame 0: a virial needs a cell"):
        read(write_text(tmp_path, 'virial="8 0 0 0 16 0 0 0 24"'))


def test_free_energy_is_the_energy_only_where_there_is_no_other(tmp_path):
    assert read(write_text(tmp_path, "free_energy=-2.0"))[0].energy == -2.0
    path = write_text(tmp_path, "energy=-1.0 free_energy=-2.0")
    assert read(path)[0].energy == -1.0
    assert read(path)[0].info["free_energy"] == -2.0
    assert read(path, energy_key="free_energy")[0].energy == -2.0


@pytest.mark.parametrize(
    ("comment", "message"),
    [
        ('lattice="3 0 0 0 3 0 0 0 3"', "Lattice must be written so, found lattice"),
        ('Lattice="3 0 0 0 3 0 0 0 3" PBC="T T T"', "pbc must be written so, found PBC"),
        ("energy=-1 energy=-5", "found energy twice"),
    ],
)
def test_comments_that_would_be_misread_are_refused(tmp_path, comment, message):
    path = tmp_path / "a.xyz"
    path.write_text(f"1\n{comment}\nH 0 0 0\n")
    with pytest.raises(DataError, match=message):
        read(path)


def test_a_byte_order_mark_is_no_count(tmp_path):
    path = tmp_path / "a.xyz"
    path.write_text("1\n\nH 0 0 0\n", encoding="utf-8-sig")
    assert read(path)[0].formula == "H"


def test_labels_may_be_missing_in_some_frames(tmp_path):
    path = tmp_path / "mixed.xyz"
    path.write_text(
        "1\nenergy=-1.0\nHe 0 0 0\n"
        "1\nProperties=species:S:1:pos:R:3:forces:R:3\nHe 0 0 0 1 2 3\n"
        '1\nLattice="3 0 0 0 3 0 0 0 3" stress="1 2 3 0 0 0"\nHe 0 0 0\n'
    )
    energy_only, forces_only, stress_only = read(path)
    assert (energy_only.energy, energy_only.forces, energy_only.stress) == (-1.0, None, None)
    assert forces_only.energy is None
    assert forces_only.forces.tolist() == [[1, 2, 3]]
    assert (stress_only.energy, stress_only.forces) == (None, None)
    assert np.diag(stress_only.stress).tolist() == [1, 2, 3]


@pytest.fixture
def ten_frames(tmp_path):
    path = tmp_path / "ten.xyz"
    path.write_text("".join(f"1\nenergy={k}\nHe 0 0 {k}\n\n" for k in range(10)))
    return path


@pytest.mark.parametrize(
    "index",
    [None, 3, -1, -10, slice(2, 5), slice(None, None, 3), slice(-3, None), slice(1, -1, 4)],
)
def test_indices_select_as_in_a_list(ten_frames, index):
    everything = list(range(10))
    expected = everything if index is None else everything[index]
    found = [frame.energy for frame in iread(ten_frames, index=index)]
    assert found == (expected if isinstance(expected, list) else [expected])


def test_frames_are_read_one_at_a_time(tmp_path):
    path = tmp_path / "long.xyz"
    path.write_text("1\nenergy=1\nHe 0 0 0\n1\nenergy=2\nNotAnElement 0 0 0\n")
    stream = iread(path)
    assert next(stream).energy == 1.0
    with pytest.raises(DataError, match=r"long\.xyz, frame 1: .*'Notanelement'"):
        next(stream)


def test_compressed_files_are_read(tmp_path, ten_frames):
    path = tmp_path / "ten.xyz.gz"
    path.write_bytes(gzip.compress(ten_frames.read_bytes()))
    assert len(read(path)) == 10


@pytest.mark.skipif(not DATA.is_dir(), reason="needs the reference data (JMLIP_DATA)")
@pytest.mark.parametrize("name", ["mlearn/Si_test", "h2co/train", "mad/train", "water/train"])
def test_real_files_read_as_ase_reads_them(name):
    path = DATA / f"{name}.xyz"
    theirs = ase.io.read(path, index=slice(0, 20, 2))
    for ours, atoms in zip(read(path, index=slice(0, 20, 2)), theirs, strict=True):
        np.testing.assert_array_equal(ours.positions, atoms.positions)
        np.testing.assert_array_equal(ours.cell, atoms.cell.array)
        np.testing.assert_array_equal(ours.forces, atoms.get_forces())
        assert ours.energy == atoms.get_potential_energy()
        if "stress" in atoms.calc.results:
            np.testing.assert_array_equal(ours.stress, atoms.get_stress(voigt=False))
