"""Small systems of the Lennard-Jones subject, and what must be equal for two trajectories."""

import dataclasses
import functools
from collections.abc import Iterable
from pathlib import Path

import h5py
import numpy as np
from ase.build import bulk

from jmlip.core.structure import Structure
from jmlip.potentials.potential import Potential
from tests.contracts.subjects import SUBJECTS

CARBON_SIGMA = 1.4 * 1.1  # angstrom, as in tests/contracts/lennard_jones.py


@functools.cache
def lennard_jones() -> Potential:
    return SUBJECTS[0].make()


def softer() -> Potential:
    """Lennard-Jones with a third of the depth."""
    potential = lennard_jones()
    params = potential.params | {"epsilon": potential.params["epsilon"] / 3.0}
    return dataclasses.replace(potential, params=params)


def crystal(*, vacancy: bool = True) -> Structure:
    """A face-centered crystal of 31 or 32 atoms near its equilibrium volume."""
    atoms = bulk("C", "fcc", a=1.55 * CARBON_SIGMA, cubic=True) * (2, 2, 2)
    positions = atoms.positions[1:] if vacancy else atoms.positions
    return Structure(
        species=[6] * len(positions), positions=positions, cell=atoms.cell.array, pbc=[True] * 3
    )


def colliding_clusters() -> Structure:
    """Two octahedra of oxygen and carbon in open space, flying at each other."""
    corners = 1.25 * np.concatenate([np.eye(3), -np.eye(3)])
    offset = np.array([4.0, 0.3, 0.2])
    return Structure(
        species=[6] * 6 + [8] * 6,
        positions=np.concatenate([corners - offset, corners + offset]),
        velocities=np.repeat([[0.15, 0, 0], [-0.15, 0, 0]], 6, axis=0),
    )


def content(path: Path) -> bytes | dict[str, bytes]:
    """Bytes of a text file, arrays of an HDF5 file."""
    if path.suffix == ".xyz":
        return path.read_bytes()
    arrays = {}

    def keep(name, item):
        if isinstance(item, h5py.Dataset):
            arrays[name] = item[()].tobytes()

    with h5py.File(path) as file:
        file.visititems(keep)
    return arrays


def fixed(structure: Structure, atoms: Iterable[int]) -> Structure:
    """The structure with some atoms fixed, as extended XYZ tells it."""
    free = ~np.isin(np.arange(structure.n_atoms), list(atoms))
    return structure.replace(info={"arrays": {"move_mask": free}})


def cluster() -> Structure:
    """An icosahedron of 13 carbon atoms near its minimum, in open space."""
    golden = 0.5 * (1.0 + 5.0**0.5)
    signs = [(a, b) for a in (1.0, -1.0) for b in (1.0, -1.0)]
    corner = np.array([[0.0, a, b * golden] for a, b in signs])
    corners = np.concatenate([np.roll(corner, k, axis=1) for k in range(3)])
    positions = 0.565 * 1.54 * np.concatenate([np.zeros((1, 3)), corners])
    return Structure(species=[6] * 13, positions=positions)
