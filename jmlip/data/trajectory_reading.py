"""Files to trajectories: H5MD, read where it is needed, and every format that `read` knows.

Of H5MD, positions and velocities stay in the file until a portion of them is asked for. Other
formats are parsed once and held in memory, about a quarter of the size of their text.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from ase.data import atomic_masses

from jmlip.core.errors import DataError
from jmlip.core.structure import Structure
from jmlip.data.ase_bridge import fixed_atoms
from jmlip.data.h5md import open_h5md
from jmlip.data.readers import iread
from jmlip.data.trajectory import FrameVectors, Trajectory

_OBSERVABLES = (
    "kinetic_energy",
    "conserved_energy",
    "temperature_K",
    "pressure_GPa",
    "replica",
)


def read_trajectory(path: str | Path) -> Trajectory:
    """A trajectory in H5MD, extended XYZ, or another format with frames of the same atoms.

    Extended XYZ may hold `momenta` (columns), and in its comment lines `time_fs`, `energy`
    (potential), `kinetic_energy`, `conserved_energy`, `temperature_K`, `pressure_GPa`.

    Raises:
        DataError: the file is missing or damaged, or its frames are not of one system.
    """
    path = Path(path)
    if path.is_file() and h5py.is_hdf5(path):
        return open_h5md(path)
    return _gathered(path, iread(path))


def _gathered(path: Path, structures: Iterable[Structure]) -> Trajectory:
    """Arrays of frames read one after the other; a field is there if all frames have it."""
    columns: dict[str, list] = {}
    first: Structure | None = None
    n = 0
    for n, structure in enumerate(structures, 1):
        first = first or structure
        _require_same_system(path, first, structure, n - 1)
        for name, value in _fields(structure).items():
            columns.setdefault(name, []).append(value)
    assert first is not None  # a file without frames is refused by its reader
    arrays = {name: np.array(values) for name, values in columns.items() if len(values) == n}
    mass = first.info.get("arrays", {}).get("masses", atomic_masses[first.species])
    vectors = {
        name: FrameVectors(arrays[name], range(n)) if name in arrays else None
        for name in ("positions", "velocities")
    }
    assert vectors["positions"] is not None
    return Trajectory(
        path=path,
        species=first.species,
        mass=np.asarray(mass, np.float64),
        pbc=first.pbc,
        cells=arrays["cell"],
        positions=vectors["positions"],
        velocities=vectors["velocities"],
        time_fs=arrays.get("time_fs"),
        observables={k: arrays[k] for k in ("potential_energy", *_OBSERVABLES) if k in arrays},
        fixed=fixed_atoms(first),
    )


def _fields(structure: Structure) -> dict[str, Any]:
    fields = {
        "positions": structure.positions,
        "velocities": structure.velocities,
        "cell": structure.cell,
        "potential_energy": structure.energy,
        **{name: structure.info.get(name) for name in ("time_fs", *_OBSERVABLES)},
    }
    numbers = (int, float, np.ndarray, np.number)
    return {name: value for name, value in fields.items() if isinstance(value, numbers)}


def _require_same_system(path: Path, first: Structure, frame: Structure, number: int) -> None:
    if not np.array_equal(frame.species, first.species) or (frame.pbc != first.pbc).any():
        raise DataError(
            f"the frames of {path} must be of the same atoms in the same order, with the same pbc, "
            f"found {first.formula} in frame 0 and {frame.formula}, or another order or pbc, in "
            f"frame {number}; split the file."
        )
