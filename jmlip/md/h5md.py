"""H5MD trajectories (nongnu.org/h5md, version 1.1) that MDAnalysis reads without a topology.

The file is closed, whole and readable between two chunks. Units are those that MDAnalysis knows:
Angstrom, Angstrom fs-1, kJ mol-1 Angstrom-1, fs; observables in eV, K and GPa.
"""

import importlib.metadata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from jmlip.core import units
from jmlip.core.checkpoint import whole_file
from jmlip.core.errors import JmlipError
from jmlip.core.structure import Structure
from jmlip.data.ase_bridge import fixed_atoms
from jmlip.md.journal import roll_back, transaction
from jmlip.md.trajectory import OBSERVABLES, Frames
from jmlip.md.velocities import masses

# name in the file, field of Frames, unit, factor from internal units
_VECTORS = (
    ("position", "positions", "Angstrom", 1.0),
    ("velocity", "velocities", "Angstrom fs-1", units.FS),
    ("force", "forces", "kJ mol-1 Angstrom-1", 1.0 / units.KJ_PER_MOL),
)
_TRAJECTORY = "particles/trajectory"
_CHUNK_BYTES = 1 << 18


class H5MDWriter:
    """H5MD in group `particles/trajectory`; the mark counts frames."""

    def __init__(self, path: Path, structure: Structure, *, mark: int | None):
        self._path, self._structure = path, structure
        if mark is None:
            roll_back(path)
            self._exists = False
            return
        self._exists = True
        if not path.exists():
            raise JmlipError(
                f"{path} must exist to be continued, and does not; start again under another name."
            )
        roll_back(path)
        with transaction(path) as raw, _opened(path, raw) as file:
            self._cut(file, mark)

    def append(self, frames: Frames) -> int:
        """Write frames and return the new mark; a failure leaves the file as it was.

        Raises:
            JmlipError: the file cannot be written.
        """
        try:
            if not self._exists:
                with whole_file(self._path) as partial, h5py.File(partial, "w") as file:
                    _create(file, self._structure, frames)
                self._exists = True
            with transaction(self._path) as raw, _opened(self._path, raw) as file:
                return _append(file, _series(frames, self._structure))
        except OSError as cause:
            raise JmlipError(
                f"cannot write {self._path}: {cause.strerror or cause}; free space or choose "
                "another place, and restart."
            ) from cause

    def _cut(self, file: h5py.File, mark: int) -> None:
        datasets: list[Any] = []
        file.visititems(lambda _, item: datasets.append(item) if _grows(item) else None)
        if any(len(dataset) < mark for dataset in datasets):
            raise JmlipError(
                f"{self._path} must hold the {mark} frames that its checkpoint counts, and does "
                "not; start again under another name."
            )
        for dataset in datasets:
            dataset.resize(mark, axis=0)


def _opened(path: Path, raw: Any) -> h5py.File:
    try:
        return h5py.File(raw, "r+")
    except OSError as cause:
        raise JmlipError(f"{path} is damaged: not an HDF5 file; start again.") from cause


def _append(file: h5py.File, series: Mapping[str, np.ndarray]) -> int:
    stop = 0
    for name, values in series.items():
        dataset: Any = file[name]
        stop = len(dataset) + len(values)
        dataset.resize(stop, axis=0)
        dataset[stop - len(values) :] = values
    return stop


def _series(frames: Frames, structure: Structure) -> dict[str, np.ndarray]:
    """Values to append, by path of the dataset."""
    values = {
        f"{_TRAJECTORY}/position/step": frames.step,
        f"{_TRAJECTORY}/position/time": frames.time_fs,
    }
    for name, field, _, factor in _VECTORS:
        array = getattr(frames, field)
        values[f"{_TRAJECTORY}/{name}/value"] = (array * factor).astype(array.dtype)
    if structure.pbc.any():
        values[f"{_TRAJECTORY}/box/edges/value"] = frames.cell
    observables = {name: getattr(frames, name) for name in OBSERVABLES}
    values |= {f"observables/{k}/value": v for k, v in observables.items() if v is not None}
    return values


def _create(file: h5py.File, structure: Structure, frames: Frames) -> None:
    """Groups, attributes and empty datasets for a run whose frames are like these."""
    _write_header(file, structure)
    for name, values in _series(frames, structure).items():
        row = values.shape[1:]
        rows = max(1, min(1024, _CHUNK_BYTES // (values.dtype.itemsize * int(np.prod(row)))))
        file.create_dataset(
            name, (0, *row), values.dtype, maxshape=(None, *row), chunks=(rows, *row)
        )
    step, time = (file[f"{_TRAJECTORY}/position/{name}"] for name in ("step", "time"))
    file[f"{_TRAJECTORY}/position/time"].attrs["unit"] = "fs"
    sampled = [f"{_TRAJECTORY}/velocity", f"{_TRAJECTORY}/force"]
    sampled += [f"{_TRAJECTORY}/box/edges"] if structure.pbc.any() else []
    sampled += [f"observables/{name}" for name in OBSERVABLES if f"observables/{name}" in file]
    for name in sampled:
        group: Any = file[name]
        group["step"], group["time"] = step, time  # hard links: one series serves all
    for name, _, unit, _ in _VECTORS:
        file[f"{_TRAJECTORY}/{name}/value"].attrs["unit"] = unit
    for name, unit in OBSERVABLES.items():
        if unit and f"observables/{name}" in file:
            file[f"observables/{name}/value"].attrs["unit"] = unit
    if structure.pbc.any():
        file[f"{_TRAJECTORY}/box/edges/value"].attrs["unit"] = "Angstrom"


def _write_header(file: h5py.File, structure: Structure) -> None:
    header = file.create_group("h5md")
    header.attrs["version"] = np.array([1, 1])
    header.create_group("author").attrs["name"] = "unknown"
    creator = header.create_group("creator")
    creator.attrs["name"] = "jmlip"
    creator.attrs["version"] = importlib.metadata.version("jmlip")
    particles = file.create_group(_TRAJECTORY)
    box = particles.create_group("box")
    box.attrs["dimension"] = 3
    box.attrs["boundary"] = [b"periodic" if along else b"none" for along in structure.pbc]
    particles["species"] = structure.species
    particles["mass"] = masses(structure)[:, 0]
    particles["mass"].attrs["unit"] = "u"
    if fixed_atoms(structure).any():
        particles["move_mask"] = ~fixed_atoms(structure)


def _grows(item: Any) -> bool:
    return isinstance(item, h5py.Dataset) and None in (item.maxshape or ())
