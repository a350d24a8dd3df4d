"""Files of trajectories: other programs read them, and a cut or a kill leaves them whole."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import ase.io
import ase.units
import h5py
import MDAnalysis
import numpy as np
import pytest

from jmlip.core import units
from jmlip.core.errors import ConfigError, JmlipError
from jmlip.core.structure import Structure
from jmlip.md.h5md import H5MDWriter
from jmlip.md.journal import transaction
from jmlip.md.trajectory import Frames, open_trajectory
from tests.md.systems import content

ROOT = Path(__file__).parents[2]
SUFFIXES = (".xyz", ".h5md")
CELL = np.array([[6.0, 0, 0], [1.0, 7.0, 0], [0.5, 0.5, 8.0]])


def structure(periodic):
    return Structure(
        species=[8, 1, 1],
        positions=np.zeros((3, 3)),
        cell=CELL if periodic else np.zeros((3, 3)),
        pbc=[periodic] * 3,
    )


def frames(first, n, *, periodic=True):
    rng = np.random.default_rng(first)
    vectors = [rng.normal(size=(n, 3, 3)) for _ in range(3)]
    scalars = [rng.normal(size=n) for _ in range(4)]
    step = np.arange(first, first + n) * 10
    vectors.append(np.tile(CELL, (n, 1, 1)))
    return Frames(step, 0.5 * step, *vectors, *scalars, rng.normal(size=n) if periodic else None)


@pytest.mark.parametrize("periodic", [True, False])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_mdanalysis_reads(tmp_path, suffix, periodic):
    path = tmp_path / f"t{suffix}"
    writer = open_trajectory(path, structure(periodic), mark=None)
    first, second = frames(0, 2, periodic=periodic), frames(2, 3, periodic=periodic)
    writer.append(first)
    writer.append(second)
    if suffix == ".xyz":
        universe = MDAnalysis.Universe(path, format="XYZ", topology_format="XYZ")
    else:
        universe = MDAnalysis.Universe(path, to_guess=())
    assert len(universe.trajectory) == 5
    positions = np.concatenate([first.positions, second.positions])
    for frame, expected in zip(universe.trajectory, positions, strict=True):
        np.testing.assert_allclose(frame.positions, expected, atol=1e-5)
    if suffix == ".xyz":
        return
    frame = universe.trajectory[3]
    assert frame.time == pytest.approx(0.5 * 30 / 1000)  # ps
    assert frame.data["step"] == 30
    assert frame.data["potential_energy"] == second.potential_energy[1]
    np.testing.assert_allclose(frame.velocities, second.velocities[1] * units.PS, rtol=1e-5)
    np.testing.assert_allclose(
        frame.forces, second.forces[1] / (ase.units.kJ / ase.units.mol), rtol=1e-5
    )
    if periodic:
        vectors = np.linalg.norm(CELL, axis=1)
        np.testing.assert_allclose(frame.dimensions[:3], vectors, rtol=1e-5)
    else:
        assert frame.dimensions is None


def test_ase_reads_extended_xyz(tmp_path):
    path = tmp_path / "t.xyz"
    written = frames(0, 3)
    open_trajectory(path, structure(True), mark=None).append(written)
    atoms = ase.io.read(path, index=2)
    np.testing.assert_allclose(atoms.positions, written.positions[2], atol=1e-8)
    np.testing.assert_allclose(atoms.get_velocities(), written.velocities[2], atol=1e-8)
    np.testing.assert_allclose(atoms.get_forces(), written.forces[2], atol=1e-8)
    assert atoms.get_potential_energy() == written.potential_energy[2]
    np.testing.assert_allclose(atoms.cell, CELL)
    assert atoms.info["conserved_energy"] == written.conserved_energy[2]
    assert (atoms.info["step"], atoms.info["time_fs"]) == (20, 10.0)


def test_h5md_is_as_the_standard_says(tmp_path):
    path = tmp_path / "t.h5"
    open_trajectory(path, structure(True), mark=None).append(frames(0, 2))
    with h5py.File(path) as file:
        assert file["h5md"].attrs["version"].tolist() == [1, 1]
        box = file["particles/trajectory/box"]
        assert box.attrs["dimension"] == 3
        assert box.attrs["boundary"].tolist() == ["periodic"] * 3
        np.testing.assert_array_equal(box["edges/value"][1], CELL)
        assert file["particles/trajectory/species"][:].tolist() == [8, 1, 1]
        # one series of steps, linked from everywhere
        assert box["edges/step"] == file["particles/trajectory/position/step"]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_trajectory_is_cut_back_to_its_mark(tmp_path, suffix):
    whole, cut = tmp_path / f"whole{suffix}", tmp_path / f"cut{suffix}"
    writer = open_trajectory(whole, structure(True), mark=None)
    writer.append(frames(0, 2))
    writer.append(frames(5, 3))
    writer = open_trajectory(cut, structure(True), mark=None)
    mark = writer.append(frames(0, 2))
    writer.append(frames(2, 4))
    open_trajectory(cut, structure(True), mark=mark).append(frames(5, 3))
    assert content(cut) == content(whole)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_trajectory_that_ends_before_its_mark_is_refused(tmp_path, suffix):
    path = tmp_path / f"t{suffix}"
    mark = open_trajectory(path, structure(True), mark=None).append(frames(0, 2))
    before = path.read_bytes()
    with pytest.raises(JmlipError, match="that its checkpoint counts"):
        open_trajectory(path, structure(True), mark=mark + 1)
    assert path.read_bytes() == before


def test_an_unknown_suffix_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="must end in"):
        open_trajectory(tmp_path / "t.traj", structure(True), mark=None)


def test_a_change_that_fails_leaves_no_trace(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")

    def fail():
        with transaction(path) as file:
            for offset, data in ((2, b"ab"), (3, b"cdef"), (9, b"xyz"), (0, b"!")):
                file.seek(offset)
                file.write(data)
            file.truncate(5)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert path.read_bytes() == b"0123456789"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_full_disk_leaves_the_file_as_it_was(tmp_path, monkeypatch, suffix):
    path = tmp_path / f"t{suffix}"
    writer = open_trajectory(path, structure(True), mark=None)
    writer.append(frames(0, 2))
    before, fsync, n_calls = path.read_bytes(), os.fsync, 0

    def full(descriptor):
        nonlocal n_calls
        n_calls += 1
        if n_calls == 1:  # what undoes the damage may be flushed
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(JmlipError, match=r"cannot write .* No space left"):
        writer.append(frames(2, 700))
    monkeypatch.undo()
    assert path.read_bytes() == before
    writer.append(frames(2, 3))  # space was made
    assert content(path) != before


def test_a_full_disk_within_hdf5_leaves_the_file_as_it_was(tmp_path, monkeypatch):
    path = tmp_path / "t.h5"
    writer = open_trajectory(path, structure(True), mark=None)
    writer.append(frames(0, 2))
    before = path.read_bytes()

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pread", full)  # what is about to be overwritten cannot be noted
    with pytest.raises(JmlipError, match=r"cannot write .* No space left"):
        writer.append(frames(2, 700))
    monkeypatch.undo()
    assert path.read_bytes() == before
    assert writer.append(frames(2, 700)) == 702


KILLED_WRITERS = """
import io, os, signal, sys
from pathlib import Path

sys.path.insert(0, os.getcwd())
from jmlip.md import journal
from tests.md.test_trajectory import H5MDWriter, content, frames, structure

path, write, count = Path(sys.argv[1]), journal._JournaledFile._write, 0
before = content(path)


def killed_write(self, data):
    global count
    count += 1
    if count == last:  # in the middle of the write
        self._note(self.tell(), self.tell() + len(data))
        io.FileIO.write(self, data[: len(data) // 2])
        os.kill(os.getpid(), signal.SIGKILL)
    return write(self, data)


journal._JournaledFile._write = killed_write
for last in range(1, 100):
    if (child := os.fork()) == 0:
        H5MDWriter(path, structure(True), mark=2).append(frames(2, 700))
        os._exit(0)
    if os.waitpid(child, 0)[1] != signal.SIGKILL:
        break
    journal.roll_back(path)
    assert content(path) == before, last
print(last)
"""


def test_an_hdf5_file_survives_a_kill_within_any_write(tmp_path):
    """Each write to the file in turn is the one in whose middle the process is killed."""
    path = tmp_path / "t.h5md"
    H5MDWriter(path, structure(True), mark=None).append(frames(0, 2))
    command = [sys.executable, "-W", "ignore", "-c", KILLED_WRITERS, str(path)]
    process = subprocess.run(command, capture_output=True, text=True, timeout=100, cwd=ROOT)
    assert process.returncode == 0, process.stderr
    assert 10 < int(process.stdout) < 99
    assert len(h5py.File(path)["particles/trajectory/position/value"]) == 702
