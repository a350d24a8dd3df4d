"""Statistics of a training set: what scales, shifts and radial functions are initialized from.

They are computed in one pass over the structures, in float64, and travel with the potential.
"""

import contextlib
import dataclasses
import hashlib
import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from jmlip.core import config
from jmlip.core.errors import DataError
from jmlip.core.structure import Structure
from jmlip.data.hashing import update_hash
from jmlip.data.reference import count_species
from jmlip.ops.neighbors import neighbors

PERCENTILES = (0, 1, 5, 25, 50, 75, 95, 99, 100)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Statistics:
    """Statistics of a set of structures; None where no structure has what it needs.

    Args:
        n_structures: number of structures.
        n_atoms: number of atoms of all of them.
        n_compositions: number of different compositions.
        n_energies: structures with an energy; likewise `n_forces`, `n_stresses`.
        species: atomic numbers, in the order of `reference_energies`.
        reference_energies: subtracted from every energy below, eV.
        energy_mean: mean interaction energy of a structure, eV; likewise its standard deviation.
        energy_per_atom_mean: mean interaction energy per atom, eV; likewise its standard deviation.
        force_rms: root of the mean square of all force components, eV / angstrom.
        stress_rms: root of the mean square of all stress components, eV / angstrom^3.
        cutoff: radius of the neighbor counts, angstrom.
        mean_neighbors: mean number of neighbors of an atom.
        max_neighbors: largest number of neighbors of an atom.
        shortest_distance: of all pairs within the cutoff, angstrom.
        nearest_distances: percentiles 0, 1, 5, 25, 50, 75, 95, 99, 100 of the distance from an atom
            to its nearest neighbor, angstrom; empty where no atom has one.
        states: total charges and spin multiplicities, as far as the data say.
        data_hash: `jmlip.data.data_hash` of the structures.
    """

    n_structures: int
    n_atoms: int
    n_compositions: int
    n_energies: int
    n_forces: int
    n_stresses: int
    species: tuple[int, ...]
    reference_energies: tuple[float, ...]
    energy_mean: float | None = None
    energy_std: float | None = None
    energy_per_atom_mean: float | None = None
    energy_per_atom_std: float | None = None
    force_rms: float | None = None
    stress_rms: float | None = None
    cutoff: float
    mean_neighbors: float
    max_neighbors: int
    shortest_distance: float | None = None
    nearest_distances: tuple[float, ...]
    states: tuple[tuple[int, int], ...] = ()
    data_hash: str

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, `None` left out; `jmlip.core.config.from_dict` reads them."""
        return config.to_dict(self)


def compute_statistics(
    structures: Iterable[Structure],
    *,
    cutoff: float,
    species: Sequence[int],
    reference_energies: Sequence[float],
) -> Statistics:
    """Statistics of a set of structures, in one pass.

    Args:
        structures: one or more.
        cutoff: radius of the neighbor counts, angstrom.
        species: atomic numbers that may occur.
        reference_energies: energy of each, eV; zeros leave total energies.

    Raises:
        DataError: there is no structure, or one has an element that is not in `species`.

    Example:
        >>> pair = Structure(species=[2, 2], positions=[[0, 0, 0], [0, 0, 3]], energy=-5.8)
        >>> s = compute_statistics([pair], cutoff=5, species=(2,), reference_energies=(-2.9,))
        >>> s.energy_mean, s.mean_neighbors, s.shortest_distance
        (0.0, 1.0, 3.0)
    """
    sums = _Sums(cutoff, tuple(species), np.asarray(reference_energies, np.float64))
    for structure in structures:
        sums.add(structure)
    if not sums.sizes:
        raise DataError("statistics need at least one structure, found none.")
    return sums.result()


class _Sums:
    """Running sums of one pass."""

    def __init__(self, cutoff: float, species: tuple[int, ...], reference: np.ndarray):
        self.cutoff, self.species, self.reference = cutoff, species, reference
        self.sizes: list[int] = []
        self.energies: list[float] = []
        self.energies_per_atom: list[float] = []
        self.nearest: list[np.ndarray] = []
        self.compositions: set[bytes] = set()
        self.states: set[tuple[int, int]] = set()
        self.forces, self.stresses = _SquareMean(), _SquareMean()
        self.n_pairs = self.max_neighbors = 0
        self.hash = hashlib.sha256()

    def add(self, structure: Structure) -> None:
        n, counts = structure.n_atoms, count_species(structure, self.species)
        self.sizes.append(n)
        self.compositions.add(counts.tobytes())
        if structure.energy is not None:
            energy = structure.energy - float(counts @ self.reference)
            self.energies.append(energy)
            self.energies_per_atom.append(energy / n)
        with contextlib.suppress(DataError):  # which matters to models with states only
            self.states.add(structure.state)
        self.forces.add(structure.forces)
        self.stresses.add(structure.stress)
        pairs = neighbors(structure.positions, structure.cell, structure.pbc, self.cutoff)
        degree = np.bincount(pairs.receivers, minlength=n)
        self.n_pairs += len(pairs.receivers)
        self.max_neighbors = max(self.max_neighbors, int(degree.max()))
        nearest = np.full(n, np.inf)
        np.minimum.at(nearest, pairs.receivers, np.linalg.norm(pairs.vectors, axis=1))
        self.nearest.append(nearest[degree > 0].astype(np.float32))
        update_hash(self.hash, structure)

    def result(self) -> Statistics:
        nearest = np.concatenate(self.nearest)
        percentiles = np.percentile(nearest, PERCENTILES).tolist() if len(nearest) else []
        return Statistics(
            n_structures=len(self.sizes),
            n_atoms=sum(self.sizes),
            n_compositions=len(self.compositions),
            n_energies=len(self.energies),
            n_forces=self.forces.n_arrays,
            n_stresses=self.stresses.n_arrays,
            species=self.species,
            reference_energies=tuple(self.reference.tolist()),
            energy_mean=_mean(self.energies),
            energy_std=_std(self.energies),
            energy_per_atom_mean=_mean(self.energies_per_atom),
            energy_per_atom_std=_std(self.energies_per_atom),
            force_rms=self.forces.root(),
            stress_rms=self.stresses.root(),
            cutoff=float(self.cutoff),
            mean_neighbors=self.n_pairs / sum(self.sizes),
            max_neighbors=self.max_neighbors,
            shortest_distance=percentiles[0] if percentiles else None,
            nearest_distances=tuple(percentiles),
            states=tuple(sorted(self.states)),
            data_hash=self.hash.hexdigest(),
        )


class _SquareMean:
    """Running mean of squares of the arrays that are there."""

    def __init__(self):
        self.n_arrays = self.n_numbers = 0
        self.total = 0.0

    def add(self, array: np.ndarray | None) -> None:
        if array is not None:
            self.n_arrays += 1
            self.n_numbers += array.size
            self.total += float(np.sum(array**2))

    def root(self) -> float | None:
        return math.sqrt(self.total / self.n_numbers) if self.n_numbers else None


def _mean(values: list[float]) -> float | None:
    return float(np.mean(values)) if values else None


def _std(values: list[float]) -> float | None:
    return float(np.std(values)) if values else None
