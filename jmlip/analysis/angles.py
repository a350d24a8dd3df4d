"""Angular distribution functions: the angles a-b-c at an atom b between neighbors near to it."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from ase.data import chemical_symbols, covalent_radii
from jaxtyping import Float, Int

from jmlip.analysis.blocks import RunningBlocks, standard_error
from jmlip.analysis.estimates import Estimate, jackknife
from jmlip.core.errors import DataError
from jmlip.core.structure import Structure
from jmlip.ops.neighbors import Pairs, unordered_pairs

_BOND = 1.25
"""Of the sum of covalent radii: atoms this near are bonded, where no radius is given."""


class Triple(NamedTuple):
    """Elements a-b-c, b in the middle, and how near a and c must be to b."""

    a: int  # atomic numbers
    b: int
    c: int
    radius: float | None = None  # angstrom; None: 1.25 times the sum of the covalent radii

    def reach(self, end: int) -> float:
        """Longest distance of an end of this element from b, angstrom."""
        return self.radius or float(_BOND * (covalent_radii[self.b] + covalent_radii[end]))

    def __str__(self) -> str:
        """As in `H-O-H`.

        >>> print(Triple(1, 8, 1))
        H-O-H
        """
        return "-".join(chemical_symbols[z] for z in self[:3])


class AngularDistribution(NamedTuple):
    """P(angle) on the centers of equal bins, of integral 1, and its standard error."""

    angle: Float[np.ndarray, " bins"]  # degrees
    value: Float[np.ndarray, " bins"]  # 1 / degree
    error: Float[np.ndarray, " bins"]
    mean: Estimate  # degrees
    angles_per_center: float


def angular_distributions(
    structures: Iterable[Structure], triples: Sequence[Triple], *, n_bins: int = 180
) -> dict[Triple, AngularDistribution]:
    """Distributions of the angles a-b-c with a and c within a radius around b, each angle once.

    Nothing is divided by sin(angle): independent directions give sin(angle) / 2 per radian.

    Args:
        structures: of any periodicity, such as the frames of a trajectory, in order.
        triples: which angles.
        n_bins: bins between 0 and 180 degrees.

    Raises:
        DataError: no structure has such an angle, or there is no structure.
    """
    edges = np.linspace(0.0, 180.0, n_bins + 1)
    cutoff = max((t.reach(end) for t in triples for end in (t.a, t.c)), default=0.0)
    running, n_centers = RunningBlocks(), np.zeros(len(triples))
    for structure in structures:
        pairs = unordered_pairs(structure.positions, structure.cell, structure.pbc, cutoff)
        samples = [_angles(structure, pairs, triple) for triple in triples]
        # behind the counts, the sum of the angles themselves
        running = running.add(np.stack([[*np.histogram(s, edges)[0], s.sum()] for s in samples]))
        n_centers += [np.sum(structure.species == triple.b) for triple in triples]
    if running.n == 0:
        raise DataError("an angular distribution needs at least one structure, found none.")
    middle = 0.5 * (edges[1:] + edges[:-1])
    return {
        triple: _distribution(triple, running, k, middle, n_centers[k])
        for k, triple in enumerate(triples)
    }


def _distribution(
    triple: Triple, running: RunningBlocks, k: int, angle: np.ndarray, n_centers: float
) -> AngularDistribution:
    counts, blocks = running.mean[k, :-1], running.means[:, k]
    total = counts.sum()
    if not total > 0.0:
        raise DataError(
            f"no angle {triple} has both ends within {triple.reach(triple.a):.2f} and "
            f"{triple.reach(triple.c):.2f} angstrom of its middle; give elements that are "
            f"there, or a larger radius, as in {triple}:3.5."
        )
    # parts of a trajectory without an angle say nothing about their distribution
    blocks = blocks[blocks[:, :-1].sum(axis=1) > 0.0]
    share = blocks[:, :-1] / blocks[:, :-1].sum(axis=1, keepdims=True)
    width = float(angle[1] - angle[0])
    return AngularDistribution(
        angle=angle,
        value=counts / total / width,
        error=standard_error(share) / width,
        mean=jackknife(blocks, lambda mean: float(mean[-1] / mean[:-1].sum())),
        angles_per_center=float(total * running.n / n_centers),
    )


def _angles(structure: Structure, pairs: Pairs, triple: Triple) -> Float[np.ndarray, " angles"]:
    """All angles of one structure, degrees."""
    one, one_vector = _ends(structure, pairs, triple, triple.a)
    other, other_vector = _ends(structure, pairs, triple, triple.c)
    i, j = _same(one, other, structure.n_atoms)
    if triple.a == triple.c:
        i, j = i[i < j], j[i < j]
    cosine = np.einsum("pk,pk->p", one_vector[i], other_vector[j])
    return np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0)))


def _ends(structure: Structure, pairs: Pairs, triple: Triple, end: int):
    """Centers, in order, and unit vectors from them to their neighbors of one element."""
    near = (pairs.distances < triple.reach(end)) & (pairs.distances > 0.0)
    first, second = pairs.first[near], pairs.second[near]
    unit = pairs.vectors[near] / pairs.distances[near, None]
    center, neighbor = np.concatenate([first, second]), np.concatenate([second, first])
    unit = np.concatenate([unit, -unit])
    chosen = (structure.species[center] == triple.b) & (structure.species[neighbor] == end)
    order = np.argsort(center[chosen], kind="stable")
    return center[chosen][order], unit[chosen][order]


def _same(
    one: Int[np.ndarray, " ones"], other: Int[np.ndarray, " others"], n: int
) -> tuple[Int[np.ndarray, " both"], Int[np.ndarray, " both"]]:
    """All (i, j) with one[i] == other[j], both sorted numbers below n."""
    count = np.bincount(other, minlength=n)
    start = np.cumsum(count) - count
    times = count[one]
    i = np.repeat(np.arange(len(one)), times)
    within = np.arange(len(i)) - np.repeat(np.cumsum(times) - times, times)
    return i, start[one][i] + within
