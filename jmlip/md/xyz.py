"""Extended XYZ trajectories: text that ASE and MDAnalysis read, appended to and cut by bytes."""

import os
from pathlib import Path

from jmlip.core.errors import JmlipError
from jmlip.core.structure import Structure
from jmlip.data.ase_bridge import lasting
from jmlip.data.writing import extended_xyz
from jmlip.md.trajectory import OBSERVABLES, Frames


class XYZWriter:
    """Extended XYZ with positions, momenta (ASE's units) and forces; the mark counts bytes.

    The comment line of each frame holds energy (potential), step, time_fs and the observables.
    Every digit is kept: a frame read back is the frame computed.
    """

    def __init__(self, path: Path, structure: Structure, *, mark: int | None):
        self._path, self._structure, self._mark = path, structure, mark or 0
        if mark is None:
            path.write_bytes(b"")
        elif not path.exists() or path.stat().st_size < mark:
            raise JmlipError(
                f"{path} must hold the {mark} bytes that its checkpoint counts, and does not; "
                "start again under another name."
            )
        else:
            os.truncate(path, mark)

    def append(self, frames: Frames) -> int:
        """Write frames and return the new mark; a failure leaves the file as it was.

        Raises:
            JmlipError: the file cannot be written.
        """
        text = "".join(extended_xyz(self._frame(frames, k)) for k in range(len(frames.step)))
        data = text.encode()
        try:
            with self._path.open("ab") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        except OSError as cause:
            os.truncate(self._path, self._mark)
            raise JmlipError(
                f"cannot write {self._path}: {cause.strerror or cause}; free space or choose "
                "another place, and restart."
            ) from cause
        self._mark += len(data)
        return self._mark

    def _frame(self, frames: Frames, k: int) -> Structure:
        info = {"step": int(frames.step[k]), "time_fs": float(frames.time_fs[k])}
        for name in OBSERVABLES:
            values = getattr(frames, name)
            if values is not None and name != "potential_energy":
                info[name] = values[k].item()
        info |= lasting(self._structure)
        return self._structure.replace(
            positions=frames.positions[k],
            cell=frames.cell[k],
            velocities=frames.velocities[k],
            forces=frames.forces[k],
            energy=frames.potential_energy[k],
            stress=None,
            atomic_energies=None,
            info=info,
        )
