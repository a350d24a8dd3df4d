"""Trajectories on disk: frames are appended chunk by chunk, and a mark says where the file ends.

A writer returns from `append` when the frames are with the operating system, so a killed process
loses nothing of them. A checkpoint keeps the writer's mark; a restart cuts the file back to it.
"""

from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int

from jmlip.core.errors import ConfigError
from jmlip.core.structure import Structure


class Frames(NamedTuple):
    """Successive frames on the host."""

    step: Int[np.ndarray, " frames"]
    time_fs: Float[np.ndarray, " frames"]
    positions: Float[np.ndarray, "frames atoms 3"]  # angstrom, never wrapped into the cell
    velocities: Float[np.ndarray, "frames atoms 3"]  # angstrom / (internal time unit)
    forces: Float[np.ndarray, "frames atoms 3"]  # eV / angstrom
    cell: Float[np.ndarray, "frames 3 3"]  # rows are lattice vectors, angstrom
    potential_energy: Float[np.ndarray, " frames"]  # eV, references included
    kinetic_energy: Float[np.ndarray, " frames"]  # eV
    conserved_energy: Float[np.ndarray, " frames"]  # eV, with the energy held by the thermostat
    temperature_K: Float[np.ndarray, " frames"]
    pressure_GPa: Float[np.ndarray, " frames"] | None  # None where there is no volume
    replica: Int[np.ndarray, " frames"] | None = None  # who stands here, of those exchanged


OBSERVABLES = {
    "potential_energy": "eV",
    "kinetic_energy": "eV",
    "conserved_energy": "eV",
    "temperature_K": "K",
    "pressure_GPa": "GPa",
    "replica": "",
}
"""Scalar fields of `Frames`, with their units; none of pure numbers."""


@runtime_checkable
class TrajectoryWriter(Protocol):
    """Appends frames to one file."""

    def append(self, frames: Frames) -> int:
        """Write frames and return the new mark."""
        ...


XYZ_SUFFIXES = (".xyz", ".extxyz")
H5MD_SUFFIXES = (".h5md", ".h5")


def open_trajectory(path: Path, structure: Structure, *, mark: int | None) -> TrajectoryWriter:
    """A writer for a new file (`mark` None), or for one that is cut back to a mark first.

    Raises:
        ConfigError: the suffix names no format.
        JmlipError: the file cannot be written, or ends before the mark.
    """
    require_known_suffix(path)
    # imported here, because the formats build on this file
    from jmlip.md.h5md import H5MDWriter
    from jmlip.md.xyz import XYZWriter

    writer = XYZWriter if path.suffix in XYZ_SUFFIXES else H5MDWriter
    return writer(path, structure, mark=mark)


def require_known_suffix(path: Path) -> None:
    """Refuse a file name from which no format follows."""
    if path.suffix not in XYZ_SUFFIXES + H5MD_SUFFIXES:
        raise ConfigError(
            f"a trajectory must end in {', '.join(XYZ_SUFFIXES + H5MD_SUFFIXES)}, found "
            f"{path.name!r}; rename it."
        )
