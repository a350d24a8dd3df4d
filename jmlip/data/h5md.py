"""H5MD trajectories (nongnu.org/h5md, version 1.1), as `jmlip md` writes them.

Vectors are not read but handed on as datasets, with the factor to internal units.
"""

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from ase.data import atomic_masses

from jmlip.core import units
from jmlip.core.errors import DataError
from jmlip.data.labels import RawFrame
from jmlip.data.trajectory import FrameVectors, Trajectory

GROUP = "particles/trajectory"
_FACTORS = {
    "Angstrom": 1.0,
    "Angstrom fs-1": 1.0 / units.FS,
    "kJ mol-1 Angstrom-1": units.KJ_PER_MOL,
    "fs": 1.0,
    "eV": 1.0,
    "K": 1.0,
    "GPa": 1.0,
    "u": 1.0,
}
"""What a number is multiplied by; times, temperatures and pressures keep their units."""
_NUMBERS = ("/observables/replica/value",)
"""What has no unit."""


def is_h5md(path: Path) -> bool:
    """Whether an HDF5 file says that it is H5MD."""
    try:
        with h5py.File(path, "r") as file:
            return "h5md" in file
    except OSError:  # damaged; its reader says so
        return False


def frames(path: Path) -> Iterator[Callable[[], RawFrame]]:
    """The frames of a file, each still to be read by calling it."""
    trajectory = open_h5md(path)
    forces = _vectors(trajectory.positions.source.file, "force")
    for k in range(trajectory.n_frames):
        yield functools.partial(_frame, trajectory, forces, k)


def _frame(trajectory: Trajectory, forces: FrameVectors, k: int) -> RawFrame:
    times: Any = trajectory.time_fs
    at = lambda vectors: vectors.read(slice(k, k + 1), slice(None))[0]
    observables = {name: float(values[k]) for name, values in trajectory.observables.items()}
    arrays = {}
    if trajectory.velocities is not None:
        arrays["momenta"] = at(trajectory.velocities) * trajectory.mass[:, None]
    if not np.allclose(trajectory.mass, atomic_masses[trajectory.species]):
        arrays["masses"] = trajectory.mass
    if trajectory.fixed.any():
        arrays["move_mask"] = ~trajectory.fixed
    results = {"energy": observables.pop("potential_energy", None), "forces": at(forces)}
    return RawFrame(
        species=trajectory.species,
        positions=at(trajectory.positions),
        cell=trajectory.cells[k],
        pbc=trajectory.pbc,
        results=results,
        arrays=arrays,
        info={"time_fs": float(times[k]), **observables},
    )


def open_h5md(path: Path) -> Trajectory:
    """Open a file for reading; positions and velocities keep it open as long as they live.

    Raises:
        DataError: it is damaged, or lacks what `jmlip md` writes.
    """
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise DataError(
            f"cannot read {path}: {error}; obtain it again, or finish the run that writes it "
            "(--restart)."
        ) from error
    try:
        return _trajectory(path, file)
    except DataError as error:
        file.close()
        raise DataError(f"{path}: {error}") from error


def _trajectory(path: Path, file: h5py.File) -> Trajectory:
    positions = _vectors(file, "position")
    pbc = _periodic(file)
    cells = np.zeros((len(positions.frames), 3, 3))
    if pbc.any():
        cells = _numbers(file, f"{GROUP}/box/edges/value")
    names: Any = file.get("observables", {})
    species = np.asarray(_item(file, f"{GROUP}/species")[:], np.int64)
    mask: Any = file.get(f"{GROUP}/move_mask")
    return Trajectory(
        path=path,
        species=species,
        mass=_numbers(file, f"{GROUP}/mass"),
        pbc=pbc,
        cells=cells,
        positions=positions,
        velocities=_vectors(file, "velocity") if f"{GROUP}/velocity" in file else None,
        time_fs=_numbers(file, f"{GROUP}/position/time"),
        observables={name: _numbers(file, f"observables/{name}/value") for name in names},
        fixed=np.zeros(len(species), bool) if mask is None else ~np.asarray(mask[:], bool),
    )


def _periodic(file: h5py.File) -> np.ndarray:
    boundary = np.asarray(_item(file, f"{GROUP}/box").attrs.get("boundary", [])).astype(str)
    if boundary.shape != (3,) or not np.isin(boundary, ("periodic", "none")).all():
        raise DataError(
            f"the boundary of {GROUP}/box must be periodic or none in each of three directions, "
            f"found {boundary.tolist()}."
        )
    return boundary == "periodic"


def _vectors(file: h5py.File, name: str) -> FrameVectors:
    dataset = _item(file, f"{GROUP}/{name}/value")
    if len(dataset.shape) != 3 or dataset.shape[2] != 3 or len(dataset) == 0:
        raise DataError(
            f"{dataset.name} must hold frames of vectors, found shape {dataset.shape}; run longer."
        )
    return FrameVectors(dataset, range(len(dataset)), _factor(dataset))


def _numbers(file: h5py.File, name: str) -> np.ndarray:
    dataset = _item(file, name)
    return np.asarray(dataset[:], np.float64) * _factor(dataset)


def _factor(dataset: Any) -> float:
    if "unit" not in dataset.attrs and dataset.name in _NUMBERS:
        return 1.0
    unit = dataset.attrs.get("unit", "none")
    if unit not in _FACTORS:
        raise DataError(
            f"{dataset.name} must be in one of the units {', '.join(_FACTORS)}, found {unit}; "
            "convert it."
        )
    return _FACTORS[unit]


def _item(file: h5py.File, name: str) -> Any:
    if name not in file:
        raise DataError(
            f"an H5MD trajectory of jmlip must hold {name}, found none; convert the file to "
            "extended XYZ."
        )
    return file[name]
