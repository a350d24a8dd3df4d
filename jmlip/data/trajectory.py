"""Trajectories as arrays: frames of one system in order of time, larger than memory if need be.

`jmlip.data.trajectory_reading.read_trajectory` makes them of files.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from jmlip.core.errors import ConfigError, DataError
from jmlip.core.structure import Structure

_FRAME_BYTES, _ATOM_BYTES = 1 << 24, 1 << 27
"""Sizes of portions of frames and of atoms; a Fourier transform takes some times the latter."""


class FrameVectors(NamedTuple):
    """Vectors of all atoms in some frames of an array or an HDF5 dataset, read portion by portion.

    Portions are float64, in internal units.
    """

    source: Any  # (frames, atoms, 3)
    frames: range
    factor: float = 1.0

    def select(self, frames: slice) -> "FrameVectors":
        """Some of the frames, without reading them."""
        return self._replace(frames=self.frames[frames])

    def read(self, frames: slice, atoms: slice) -> Float[np.ndarray, "frames atoms 3"]:
        """Some atoms in some of the frames."""
        chosen = self.frames[frames]
        values = self.source[chosen.start : chosen.stop : chosen.step, atoms]
        return np.asarray(values, np.float64) * self.factor

    def by_frames(self) -> Iterator[Float[np.ndarray, "frames atoms 3"]]:
        """All atoms, a portion of the frames at a time."""
        size = max(1, _FRAME_BYTES // (24 * self.source.shape[1]))
        for first in range(0, len(self.frames), size):
            yield self.read(slice(first, first + size), slice(None))

    def by_atoms(self) -> Iterator[Float[np.ndarray, "frames atoms 3"]]:
        """All frames, a portion of the atoms at a time."""
        size = max(1, _ATOM_BYTES // (24 * max(1, len(self.frames))))
        for first in range(0, self.source.shape[1], size):
            yield self.read(slice(None), slice(first, first + size))


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Trajectory:
    """Frames of one system in order of time; what the file lacks is None, or not in `observables`.

    Energies are in eV under `potential_energy`, `kinetic_energy` and `conserved_energy`; there may
    be `temperature_K`, `pressure_GPa`, and `replica`, which of several stood in a frame.
    """

    path: Path
    species: Int[np.ndarray, " atoms"]
    mass: Float[np.ndarray, " atoms"]  # u
    pbc: Bool[np.ndarray, "3"]
    cells: Float[np.ndarray, "frames 3 3"]  # angstrom
    positions: FrameVectors  # angstrom
    velocities: FrameVectors | None  # angstrom / (internal time unit)
    time_fs: Float[np.ndarray, " frames"] | None
    observables: Mapping[str, Float[np.ndarray, " frames"]]
    fixed: Bool[np.ndarray, " atoms"]  # those that were held

    @property
    def n_frames(self) -> int:
        return len(self.positions.frames)

    @property
    def n_atoms(self) -> int:
        return len(self.species)

    @property
    def times_ps(self) -> Float[np.ndarray, " frames"]:
        """Time of each frame.

        Raises:
            DataError: the file does not say, or times do not rise.
        """
        if self.time_fs is None:
            raise DataError(
                f"{self.path} must say the time of each frame, and does not; add time_fs=... to "
                "each comment line."
            )
        if not (np.isfinite(self.time_fs).all() and (np.diff(self.time_fs) > 0.0).all()):
            raise DataError(
                f"the times of the frames of {self.path} must rise, and do not; cut out a part "
                "where they do."
            )
        return self.time_fs / 1000.0

    @property
    def is_exchanged(self) -> bool:
        """Whether one replica took the place of another, so that frames show no motion."""
        replica = self.observables.get("replica")
        return replica is not None and bool(np.ptp(replica) > 0.0)

    @property
    def timestep_ps(self) -> float:
        """Time between frames.

        Raises:
            DataError: it is unknown, or not always the same; there is a single frame; or replicas
                were exchanged.
        """
        if self.is_exchanged:
            raise DataError(
                f"the frames of {self.path} must be of one replica for motion to be followed, and "
                "replicas were exchanged; run without exchanges, or leave out what asks for motion."
            )
        steps = np.diff(self.times_ps)
        if len(steps) == 0:
            raise DataError(
                f"{self.path} must have several frames for motion to be seen, found one; write "
                "more, or skip fewer."
            )
        if not steps[0] > 0.0 or np.ptp(steps) > 1e-4 * steps[0]:
            raise DataError(
                f"the frames of {self.path} must be equally far apart in time, found distances of "
                f"{steps.min():g} to {steps.max():g} ps; cut out a part where they are."
            )
        return float(steps.mean())

    @property
    def cell(self) -> Float[np.ndarray, "3 3"]:
        """The cell of all frames, angstrom.

        Raises:
            DataError: it changes.
        """
        if np.abs(self.cells - self.cells[0]).max() > 1e-6:
            raise DataError(
                f"the cell of {self.path} must stay the same for motion to be followed, and it "
                "changes; run at fixed cell."
            )
        return self.cells[0]

    def select(self, *, skip_ps: float = 0.0, every: int = 1) -> "Trajectory":
        """The frames from `skip_ps` after the first on, or every so many of them.

        Raises:
            ConfigError: there is none.
        """
        first = 0
        if skip_ps > 0.0:
            elapsed = self.times_ps - self.times_ps[0]
            # a frame at the very time is kept, whatever the rounding
            first = int(np.searchsorted(elapsed, skip_ps * (1.0 - 1e-9)))
            if first == self.n_frames:
                raise ConfigError(
                    f"{self.path} must be longer than the {skip_ps:g} ps to skip, and takes "
                    f"{elapsed[-1]:g} ps; skip less."
                )
        part = slice(first, None, every)
        velocities = self.velocities
        return dataclasses.replace(
            self,
            cells=self.cells[part],
            positions=self.positions.select(part),
            velocities=None if velocities is None else velocities.select(part),
            time_fs=None if self.time_fs is None else self.time_fs[part],
            observables={name: values[part] for name, values in self.observables.items()},
        )

    def structures(self) -> Iterator[Structure]:
        """Frame by frame: species, positions, cell."""
        frame = 0
        for portion in self.positions.by_frames():
            for positions in portion:
                yield Structure(
                    species=self.species,
                    positions=positions,
                    cell=self.cells[frame],
                    pbc=self.pbc,
                )
                frame += 1
