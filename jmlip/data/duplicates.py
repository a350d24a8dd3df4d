"""Duplicates among structures: the same numbers, or the same shape up to motion and permutation."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable

import numpy as np

from jmlip.core.structure import Structure
from jmlip.ops.neighbors import Neighbors

CUTOFF = 6.0
"""Distances beyond this are not compared, angstrom."""
NEIGHBORS = 16
"""Number of nearest neighbors of an atom that are compared."""


def geometry_hash(structure: Structure) -> bytes:
    """Hash of species, positions, cell and boundary conditions, labels apart."""
    parts = (structure.species, structure.positions + 0.0, structure.cell + 0.0, structure.pbc)
    return hashlib.sha256(b"".join(np.ascontiguousarray(part).tobytes() for part in parts)).digest()


def fingerprint(structure: Structure, pairs: Neighbors) -> np.ndarray:
    """Sorted neighbor distances, blind to rotation, reflection, translation and permutation.

    Column k holds, for the atoms of each element in turn, the sorted distances to the k-th nearest
    neighbor; no entry changes by more than twice the largest displacement of an atom. Two
    structures of one composition have arrays of one shape.

    Args:
        structure: any.
        pairs: its neighbors within `CUTOFF`.

    Returns:
        `(atoms, NEIGHBORS)` float32, angstrom; `CUTOFF` where there is no further neighbor.
    """
    length = np.linalg.norm(pairs.vectors, axis=1)
    order = np.lexsort((length, pairs.receivers))
    receivers, length = pairs.receivers[order], length[order]
    degree = np.bincount(receivers, minlength=structure.n_atoms)
    rank = np.arange(len(receivers)) - np.repeat(np.cumsum(degree) - degree, degree)
    near = rank < NEIGHBORS
    table = np.full((structure.n_atoms, NEIGHBORS), CUTOFF, np.float32)
    table[receivers[near], rank[near]] = length[near]
    blocks = [np.sort(table[structure.species == z], axis=0) for z in np.unique(structure.species)]
    return np.concatenate(blocks)


def exact_duplicates(hashes: Iterable[bytes]) -> list[tuple[int, int]]:
    """Pairs (first, repeated) of equal hashes."""
    first: dict[bytes, int] = {}
    pairs = ((first.setdefault(key, i), i) for i, key in enumerate(hashes))
    return [(i, j) for i, j in pairs if i != j]


def near_duplicates(
    compositions: list[str], fingerprints: list[np.ndarray], *, tolerance: float
) -> list[tuple[int, int]]:
    """Pairs of one composition of which no fingerprint entry differs by more than `tolerance`."""
    groups: dict[str, list[int]] = defaultdict(list)
    for i, composition in enumerate(compositions):
        groups[composition].append(i)
    found = []
    for members in groups.values():
        table = np.stack([fingerprints[i].ravel() for i in members])
        # means differ by no more than the entries do: only a window of the sorted means can match
        means = table.mean(axis=1)
        order = np.argsort(means, kind="stable")
        ends = np.searchsorted(means[order], means[order] + 1.001 * tolerance, side="right")
        for k, end in enumerate(ends.tolist()):
            window = order[k + 1 : end]
            same = np.abs(table[window] - table[order[k]]).max(axis=1, initial=0.0) <= tolerance
            for other in window[same].tolist():
                i, j = sorted((members[order[k]], members[other]))
                found.append((i, j))
    return sorted(found)
