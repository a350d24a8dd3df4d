"""Trajectories read back: what the writers of `jmlip md` put there, in parts, and bad files."""

import h5py
import numpy as np
import pytest

from jmlip.core import units
from jmlip.core.errors import ConfigError, DataError
from jmlip.core.structure import Structure
from jmlip.data import read, write
from jmlip.data.trajectory import FrameVectors
from jmlip.data.trajectory_reading import read_trajectory
from jmlip.md.trajectory import Frames, open_trajectory

CELL = np.array([[6.0, 0, 0], [1.0, 7.0, 0], [0.5, 0.5, 8.0]])
SUFFIXES = (".xyz", ".h5md")


def written(path, *, n=9, periodic=True, dtype=np.float64):
    rng = np.random.default_rng(0)
    structure = Structure(
        species=[8, 1, 1],
        positions=np.zeros((3, 3)),
        cell=CELL if periodic else np.zeros((3, 3)),
        pbc=[periodic] * 3,
        info={"arrays": {"masses": np.array([17.0, 2.0, 1.0])}},
    )
    vectors = [rng.normal(size=(n, 3, 3)).astype(dtype) for _ in range(3)]
    scalars = [rng.normal(size=n) for _ in range(4)]
    step, cell = 20 * np.arange(n), np.broadcast_to(structure.cell, (n, 3, 3))
    pressure = rng.normal(size=n) if periodic else None
    frames = Frames(step, 0.5 * step, *vectors, cell, *scalars, pressure)
    open_trajectory(path, structure, mark=None).append(frames)
    return frames


@pytest.mark.parametrize("periodic", [True, False])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_was_written_is_read(tmp_path, suffix, periodic):
    path = tmp_path / f"t{suffix}"
    frames = written(path, periodic=periodic)
    found = read_trajectory(path)
    everything = slice(None)
    np.testing.assert_array_equal(found.positions.read(everything, everything), frames.positions)
    np.testing.assert_allclose(
        found.velocities.read(everything, everything), frames.velocities, rtol=1e-14
    )
    np.testing.assert_array_equal(found.time_fs, frames.time_fs)
    for name in ("potential_energy", "kinetic_energy", "conserved_energy", "temperature_K"):
        np.testing.assert_array_equal(found.observables[name], getattr(frames, name))
    assert ("pressure_GPa" in found.observables) == periodic
    assert (found.species.tolist(), found.mass.tolist()) == ([8, 1, 1], [17.0, 2.0, 1.0])
    assert found.pbc.tolist() == [periodic] * 3
    np.testing.assert_array_equal(found.cell, CELL if periodic else np.zeros((3, 3)))
    assert found.timestep_ps == pytest.approx(0.01)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_frames_are_selected_by_time_and_number(tmp_path, suffix):
    frames = written(tmp_path / f"t{suffix}", dtype=np.float32)
    whole = read_trajectory(tmp_path / f"t{suffix}")
    part = whole.select(skip_ps=0.02, every=3)  # frames 2, 5, 8
    np.testing.assert_array_equal(part.times_ps, [0.02, 0.05, 0.08])
    structures = list(part.structures())
    np.testing.assert_array_equal([s.positions for s in structures], frames.positions[2::3])
    np.testing.assert_array_equal(structures[1].cell, CELL)
    again = part.select(every=2)
    np.testing.assert_array_equal(again.observables["temperature_K"], frames.temperature_K[2::6])
    with pytest.raises(ConfigError, match=r"longer than the 0.1 ps to skip, and takes 0.08 ps"):
        whole.select(skip_ps=0.1)


def test_portions_cover_everything_once(monkeypatch):
    monkeypatch.setattr("jmlip.data.trajectory._FRAME_BYTES", 24 * 7 * 4)
    monkeypatch.setattr("jmlip.data.trajectory._ATOM_BYTES", 24 * 5 * 3)
    source = np.random.default_rng(0).normal(size=(20, 7, 3))
    vectors = FrameVectors(source, range(1, 20, 4), 2.0)
    by_frames, by_atoms = list(vectors.by_frames()), list(vectors.by_atoms())
    assert [len(portion) for portion in by_frames] == [4, 1]
    assert [portion.shape[1] for portion in by_atoms] == [3, 3, 1]
    np.testing.assert_array_equal(np.concatenate(by_frames), 2.0 * source[1::4])
    np.testing.assert_array_equal(np.concatenate(by_atoms, axis=1), 2.0 * source[1::4])


def test_frames_of_hdf5_are_structures(tmp_path):
    frames = written(tmp_path / "t.h5md")
    written(tmp_path / "t.xyz")
    pairs = zip(read(tmp_path / "t.h5md"), read(tmp_path / "t.xyz"), strict=True)
    for ours, expected in pairs:
        np.testing.assert_array_equal(ours.positions, expected.positions)
        np.testing.assert_allclose(ours.velocities, expected.velocities, rtol=1e-12)
        np.testing.assert_allclose(ours.forces, expected.forces, rtol=1e-12)
        assert ours.energy == expected.energy
        same = ("time_fs", "temperature_K", "pressure_GPa", "conserved_energy")
        assert all(ours.info[name] == expected.info[name] for name in same)
        np.testing.assert_array_equal(ours.info["arrays"]["masses"], [17.0, 2.0, 1.0])
    (last,) = read(tmp_path / "t.h5md", index=-1)
    np.testing.assert_array_equal(last.positions, frames.positions[-1])


def test_hdf5_is_not_read_before_it_is_needed(tmp_path):
    path = tmp_path / "t.h5md"
    written(path)
    found = read_trajectory(path)
    assert isinstance(found.positions.source, h5py.Dataset)
    assert found.velocities.factor == pytest.approx(1.0 / units.FS)


def damage(path, change):
    written(path)
    with h5py.File(path, "r+") as file:
        change(file)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.pop("particles/trajectory/species"), "must hold particles/trajectory/species"),
        (lambda f: f.pop("particles"), "must hold particles/trajectory/position/value"),
        (
            lambda f: f["particles/trajectory/velocity/value"].attrs.modify("unit", "nm ps-1"),
            "must be in one of the units .* found nm ps-1",
        ),
        (
            lambda f: f["particles/trajectory/box"].attrs.create("boundary", [b"none"]),
            "must be periodic or none in each",
        ),
    ],
)
def test_other_hdf5_is_refused(tmp_path, change, message):
    path = tmp_path / "t.h5md"
    damage(path, change)
    with pytest.raises(DataError, match=message):
        read_trajectory(path)


def test_files_that_cannot_be_read_are_named(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        read_trajectory(tmp_path / "none.h5md")
    path = tmp_path / "cut.h5md"
    written(path)
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(DataError, match=r"cannot read .*cut.h5md"):
        read_trajectory(path)


def test_frames_of_different_systems_are_refused(tmp_path):
    water = Structure(species=[8, 1, 1], positions=np.eye(3))
    write(tmp_path / "x.xyz", [water, water.replace(species=[1, 8, 1])])
    with pytest.raises(DataError, match="same atoms in the same order"):
        read_trajectory(tmp_path / "x.xyz")


def test_what_motion_needs_is_asked_for(tmp_path):
    path = tmp_path / "x.xyz"
    water = Structure(species=[8, 1, 1], positions=np.eye(3), cell=CELL, pbc=[True] * 3)
    timed = lambda *times: [water.replace(info={"time_fs": float(time)}) for time in times]
    write(path, [water, water])
    with pytest.raises(DataError, match="must say the time of each frame"):
        _ = read_trajectory(path).timestep_ps
    assert read_trajectory(path).velocities is None
    write(path, timed(0))
    with pytest.raises(DataError, match="must have several frames for motion"):
        _ = read_trajectory(path).timestep_ps
    write(path, timed(0, 1, 3))
    with pytest.raises(DataError, match="equally far apart in time, found distances"):
        _ = read_trajectory(path).timestep_ps
    write(path, [water, water.replace(cell=1.1 * CELL)])
    with pytest.raises(DataError, match=r"the cell of .* must stay the same"):
        _ = read_trajectory(path).cell
