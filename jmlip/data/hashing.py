"""A hash of what training sees: species, positions, cells and labels, in order."""

import contextlib
import hashlib
from collections.abc import Iterable

import numpy as np

from jmlip.core.errors import DataError
from jmlip.core.structure import STATE, Structure

_FIELDS = ("positions", "cell", "energy", "forces", "stress", "atomic_energies")


def data_hash(structures: Iterable[Structure]) -> str:
    """SHA-256 of what training sees of structures, in hex.

    Species, positions, cells, boundary conditions, charges, spins, labels and their weights. The
    same on every platform and in every release; velocities and other `info` do not count, the order
    of the structures does.

    Example:
        >>> data_hash([Structure(species=[2], positions=[[0, 0, 0]], energy=-0.1)])[:16]
        '77503d274c2fb82b'
    """
    running = hashlib.sha256()
    for structure in structures:
        update_hash(running, structure)
    return running.hexdigest()


def update_hash(running, structure: Structure) -> None:
    """Add one structure to a running hash object of `hashlib`."""
    running.update(b"structure" + len(structure.species).to_bytes(8, "little"))
    running.update(structure.species.astype("<i8").tobytes())
    running.update(np.packbits(structure.pbc).tobytes())
    with contextlib.suppress(DataError):  # which matters to models with states only
        if structure.state != tuple(STATE.values()):
            running.update("state {} {}".format(*structure.state).encode())
    with contextlib.suppress(DataError):  # said by training, which they matter to
        if structure.energy_weight != 1.0:
            running.update(f"energy_weight {structure.energy_weight!r}".encode())
        if structure.forces_weight is not None:
            running.update(b"forces_weight" + structure.forces_weight.astype("<f8").tobytes())
        if structure.energy_orders is not None:
            running.update(b"energy_orders" + structure.energy_orders.astype("<f8").tobytes())
    for name in _FIELDS:
        value = getattr(structure, name)
        if value is not None:
            # adding zero makes -0.0 and 0.0 the same
            running.update(name.encode() + (np.asarray(value, "<f8") + 0.0).tobytes())
