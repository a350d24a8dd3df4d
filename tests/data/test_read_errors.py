"""Every failure of a reader is one sentence with the path, and the frame where it is known."""

import zipfile

import ase.io
import h5py
import numpy as np
import pytest
from ase import Atoms

from jmlip.core.errors import ConfigError, DataError
from jmlip.data import Units, read, write_store
from jmlip.data.readers import iread

# the list [1, 2] as Python serializes it
SERIALIZED = b"\x80\x04\x95\t\x00\x00\x00\x00\x00\x00\x00]\x94(K\x01K\x02e."
GOOD = "1\nenergy=-1.0\nHe 0 0 0\n"
FORCES = "Properties=species:S:1:pos:R:3:forces:R:3"

BAD_XYZ = {
    "empty": ("", "is empty"),
    "only_blanks": ("\n\n", "holds no frame"),
    "zero_atoms": (GOOD + "0\n\n", "frame 1.*at least one atom"),
    "no_count": ("He 0 0 0\n", "number of its atoms, found 'He 0 0 0'"),
    "negative_count": ("-1\n\n", "number of its atoms"),
    "count_too_small": ("1\n\nHe 0 0 0\nHe 0 0 1\n", "frame 1.*found 'He 0 0 1'"),
    "truncated_atoms": (GOOD + "3\nenergy=1\nHe 0 0 0\n", "frame 1.*after 1 of 3 atoms"),
    "truncated_comment": (GOOD + "3\n", "frame 1.*after 0 of 3 atoms"),
    "truncated_line": (GOOD + f"1\n{FORCES}\nHe 0 0 0 1 2", "frame 1.*7 columns, found 6"),
    "surplus_column": (f"1\n{FORCES}\nHe 0 0 0 1 2 3 4\n", "frame 0.*7 columns, found 8"),
    "not_a_number": (GOOD + "1\n\nHe 0 zero 0\n", "frame 1.*positions.*'zero'"),
    "unknown_element": (GOOD + "1\n\nQq 0 0 0\n", "frame 1.*chemical symbols, found 'Qq'"),
    "dummy_atom": ("1\n\nX 0 0 0\n", r"frame 0.*1\.\.118"),
    "nan_position": (GOOD + "1\n\nHe 0 nan 0\n", "frame 1.*positions must be finite"),
    "infinite_position": ("1\n\nHe 0 inf 0\n", "frame 0.*positions must be finite"),
    "nan_energy": (GOOD + "1\nenergy=nan\nHe 0 0 0\n", "frame 1.*energy must be finite"),
    "nan_force": (f"1\n{FORCES}\nHe 0 0 0 nan 0 0\n", "frame 0.*forces must be finite"),
    "nan_stress": ('1\nLattice="3 0 0 0 3 0 0 0 3" stress="nan 1 1 0 0 0"\nHe 0 0 0\n', "stress"),
    "energy_text": ("1\nenergy=low\nHe 0 0 0\n", "frame 0.*energy must be numbers, found 'low'"),
    "two_energies": ('1\nenergy="1 2"\nHe 0 0 0\n', "frame 0.*energy must be one number"),
    "short_forces": ("1\nProperties=species:S:1:pos:R:3:forces:R:2\nHe 0 0 0 1 2\n", r"\(1, 3\)"),
    "scalar_forces": ("1\nforces=3\nHe 0 0 0\n", "frame 0.*forces must have shape"),
    "bad_lattice": ('1\nLattice="1 2 3"\nHe 0 0 0\n', "frame 0.*Lattice must be nine"),
    "flat_lattice": ('1\nLattice="3 0 0 3 0 0 0 0 3"\nHe 0 0 0\n', "independent lattice"),
    "bad_pbc": ("1\npbc=yes\nHe 0 0 0\n", "frame 0.*pbc must be .*'yes'"),
    "bad_stress": ('1\nstress="1 2 3"\nHe 0 0 0\n', "frame 0.*stress must be nine"),
    "pbc_of_other_numbers": ('1\npbc="2 1 0"\nHe 0 0 0\n', "frame 0.*pbc must be one or three"),
    "underscore_in_energy": ("1\nenergy=-1_0\nHe 0 0 0\n", "energy must be numbers, found '-1_0'"),
    "underscore_in_position": ("1\n\nHe 0 1_0 0\n", "positions must be real numbers, found '1_0'"),
    "arabic_position": ("1\n\nHe 0 \u0661 0\n", "positions must be real numbers, found '\u0661'"),
    "arabic_count": ("\u0661\n\nHe 0 0 0\n", "number of its atoms"),
    "two_elements": ("1\nProperties=species:S:1:Z:I:1:pos:R:3\nHe 3 0 0 0\n", "found He with Z 3"),
    "uneven_stress": ('1\nstress="1 2 3 4 5 6 7 8 9"\nHe 0 0 0\n', "stress must be symmetric"),
    "uneven_virial": ('1\nvirial="1 0 0 2 1 0 0 0 1"\nHe 0 0 0\n', "virial must be symmetric"),
    "bad_properties": ("1\nProperties=species:S:pos\nHe 0 0 0\n", "frame 0.*name:type:columns"),
    "no_positions": ("1\nProperties=species:S:1\nHe\n", "frame 0.*must hold positions"),
    "no_species": ("1\nProperties=pos:R:3\n0 0 0\n", "frame 0.*must hold species"),
    "binary": ("1\n\nHe 0 0 \x00\n", "frame 0.*positions"),
}


def assert_one_sentence(error: pytest.ExceptionInfo, path) -> None:
    message = str(error.value)
    assert str(path) in message
    assert "\n" not in message
    assert len(message) < 500
    assert message.endswith(".")


@pytest.mark.parametrize("name", BAD_XYZ)
def test_bad_extended_xyz(tmp_path, name):
    text, message = BAD_XYZ[name]
    path = tmp_path / f"{name}.xyz"
    path.write_text(text)
    with pytest.raises(DataError, match=message) as error:
        read(path)
    assert_one_sentence(error, path)


def write_zip(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("R.npy", b"\x93NUMPY truncated")
        archive.writestr("z.npy", b"")


def write_truncated_hdf5(path):
    with h5py.File(path, "w") as file:
        file["a/coordinates"] = np.zeros((100, 3, 3))
    path.write_bytes(path.read_bytes()[:600])


def write_objects(path):
    np.savez(path, R=np.zeros((2, 1, 3)), z=np.array([1]), E=np.array([{}, {}]))


def write_no_molecule(path):
    with h5py.File(path, "w") as file:
        file["numbers"] = np.arange(3)


def write_truncated_traj(path):
    ase.io.write(path, [Atoms("H"), Atoms("H")])
    path.write_bytes(path.read_bytes()[:-500])


def write_traj_with_dummy(path):
    ase.io.write(path, [Atoms("H"), Atoms("X")])


NPY = b"\x93NUMPY\x01\x00v\x00" + (
    b"{'descr': '<f8', 'fortran_order': False, 'shape': (0,), }".ljust(117) + b"\n"
)
BAD_FILES = {
    "missing.xyz": (lambda path: None, "no such file"),
    "unknown.qqq": (lambda path: path.write_text("hello"), "no format is known"),
    "empty.traj": (lambda path: path.write_bytes(b""), "is empty"),
    "random.traj": (lambda path: path.write_bytes(b"\x01" * 64), "cannot read"),
    "truncated.traj": (write_truncated_traj, "cannot read|frame"),
    "dummy.traj": (write_traj_with_dummy, r"frame 1: .*1\.\.118"),
    "bad.db": (lambda path: path.write_bytes(b"not a database"), "cannot read"),
    "bad.json": (lambda path: path.write_text("[1, 2"), "cannot read"),
    "bad.cif": (lambda path: path.write_text("data_x\nloop_\n_cell_length_a\n"), "holds no frame"),
    "POSCAR": (lambda path: path.write_text("Cu\n1.0\n1 0\n"), "cannot read"),
    "latin1.xyz": (lambda path: path.write_bytes(b"1\nname=\xe9\nHe 0 0 0\n"), "cannot read"),
    "folder": (lambda path: path.mkdir(), "cannot read"),
    "bad.npz": (lambda path: path.write_bytes(b"PK\x03\x04nothing"), "damaged or not an npz"),
    "zip.npz": (write_zip, "cannot read.*npz"),
    "pickle.npz": (lambda path: path.write_bytes(SERIALIZED), "damaged or not an npz"),
    "objects.npz": (write_objects, "Python objects, which are never unpickled"),
    "keys.npz": (lambda path: np.savez(path, a=np.zeros(2)), "must hold R and z"),
    "shape.npz": (lambda p: np.savez(p, R=np.zeros((4, 3)), z=np.ones(4, int)), "positions must"),
    "frames.npz": (
        lambda path: np.savez(path, R=np.zeros((4, 1, 3)), z=np.array([1]), E=np.zeros(3)),
        "energy must have 4 frames, found 3",
    ),
    "nan.npz": (
        lambda p: np.savez(p, R=np.zeros((1, 1, 3)), z=np.array([1]), E=np.array([np.nan])),
        "frame 0: energy must be finite",
    ),
    "forces.npz": (
        lambda p: np.savez(p, R=np.zeros((1, 2, 3)), z=np.array([1, 1]), F=np.zeros((1, 1, 3))),
        "frame 0: forces must have shape",
    ),
    "unit.npz": (
        lambda p: np.savez(p, R=np.zeros((1, 1, 3)), z=np.array([1]), e_unit="furlong"),
        "unit 'furlong'",
    ),
    "array.npz": (lambda path: path.write_bytes(NPY), "one array"),
    "text.h5": (lambda path: path.write_text("not HDF5"), "truncated or not an HDF5 file"),
    "truncated.h5": (write_truncated_hdf5, "truncated or not an HDF5 file"),
    "nothing.h5": (write_no_molecule, "groups with 'coordinates'"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_files(tmp_path, name):
    make, message = BAD_FILES[name]
    path = tmp_path / name
    make(path)
    with pytest.raises(DataError, match=message) as error:
        read(path)
    assert_one_sentence(error, path)


def test_a_key_that_no_frame_has_is_an_error_naming_those_there(tmp_path):
    path = tmp_path / "set.xyz"
    path.write_text("1\ndft_energy=-1.0 name=a\nHe 0 0 0\n" * 2)
    with pytest.raises(DataError, match=r"'REF_energy'.* there: dft_energy, name\.") as error:
        read(path, energy_key="REF_energy")
    assert_one_sentence(error, path)


def test_a_key_that_some_frames_have_is_fine(tmp_path):
    path = tmp_path / "set.xyz"
    path.write_text("1\nname=a\nHe 0 0 0\n1\ndft_energy=-1.0\nHe 0 0 0\n")
    assert [frame.energy for frame in read(path, energy_key="dft_energy")] == [None, -1.0]


@pytest.mark.parametrize(
    ("index", "message"),
    [(5, "selects none of the 2 frames"), (slice(7, 9), "none of the 2"), (-3, "none of the 2")],
)
def test_an_index_beyond_the_end_is_an_error(tmp_path, index, message):
    path = tmp_path / "set.xyz"
    path.write_text(GOOD * 2)
    with pytest.raises(DataError, match=message):
        read(path, index=index)


def test_options_that_do_not_belong_are_refused(tmp_path):
    path = tmp_path / "set.xyz"
    path.write_text(GOOD)
    with pytest.raises(ConfigError, match="level belongs to ANI"):
        read(path, level="wb97x_dz")
    with pytest.raises(ConfigError, match="positive step"):
        read(path, index=slice(None, None, -1))
    write_store(read(path), tmp_path / "store")
    with pytest.raises(ConfigError, match="is a store"):
        read(tmp_path / "store", units=Units(energy="hartree"))


def test_a_missing_file_is_reported_before_the_first_frame_is_asked_for(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        iread(tmp_path / "missing.xyz")
