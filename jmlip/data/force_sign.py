"""Are the forces of a data set -dE/dR, or +dE/dR? Two tests on the data alone.

Energy: between two near configurations a and b of the same atoms, to third order in the step,

    E_b - E_a = -1/2 (F_a + F_b) . (R_b - R_a),

so the regression of the left side on the right has slope +1, or -1 where the column holds the
gradient. Molecules are superposed first; periodic frames are compared where their cells agree.

Bonds: along a bond shorter than the mean of its pair of elements, the two atoms repel; the force
that drives them apart falls with distance, and rises where the column holds the gradient.
"""

import dataclasses
from collections import defaultdict
from collections.abc import Sequence
from typing import Literal

import numpy as np
from ase.data import covalent_radii
from scipy.spatial.distance import cdist

from jmlip.core.structure import Structure
from jmlip.data.units import Units
from jmlip.ops.neighbors import neighbors

_MAX_READ = 2000  # structures looked at, in runs that keep consecutive frames together
_RUN = 100
_MAX_STEP = 0.5  # rms displacement, angstrom, over which the trapezoid rule is trusted
_FEWEST = 10  # pairs of configurations, or bonds, from which anything is concluded
_BOND = 1.25  # a bond is shorter than this times the sum of covalent radii


@dataclasses.dataclass(frozen=True, kw_only=True)
class ForceSign:
    """Verdict on the sign of forces, with its evidence.

    Args:
        verdict: `forces` (-dE/dR), `gradients` (+dE/dR), or `unclear`.
        n_pairs: pairs of near configurations compared.
        energy_slope: slope of energy differences on the work of the forces; +1 for forces in the
            units of the energy.
        energy_correlation: correlation of the two, from -1 to 1.
        n_bonds: bonds looked at.
        bond_correlation: correlation of bond length with the force that drives the atoms together,
            from -1 to 1; positive for forces.
    """

    verdict: Literal["forces", "gradients", "unclear"]
    n_pairs: int
    energy_slope: float
    energy_correlation: float
    n_bonds: int
    bond_correlation: float

    @property
    def message(self) -> str:
        """The verdict, the evidence and the remedy in one sentence."""
        evidence = (
            f"slope of energy differences on the work of the forces {self.energy_slope:+.2f} "
            f"(correlation {self.energy_correlation:+.2f}, {self.n_pairs} pairs), correlation of "
            f"bond length and attraction {self.bond_correlation:+.2f} ({self.n_bonds} bonds)"
        )
        if self.verdict == "gradients":
            return (
                f"forces look like +dE/dR: {evidence}; read the file with "
                "forces_are_gradients=True."
            )
        if self.verdict == "forces":
            hint = f"; but they {self.unit_hint}" if self.unit_hint else ""
            return f"forces look like -dE/dR: {evidence}{hint}."
        return f"the sign of the forces cannot be told from the data: {evidence}."

    @property
    def unit_hint(self) -> str:
        """What energies say of the unit of the forces, as a predicate; empty where they agree."""
        if self.n_pairs < _FEWEST or self.energy_correlation < 0.9:
            return ""
        factor = 1.0 / self.energy_slope
        near = [what for what, f in _MISTAKES.items() if abs(np.log(factor / f)) < _TOLERANCE]
        if not near and 0.5 < self.energy_slope < 2.0:
            return ""
        guess = f", as if {' or '.join(near)}" if near else ""
        return f"seem {factor:.3g} times what the energies imply{guess}; check the units"


_TOLERANCE = 0.04  # of the logarithm of a factor
_MISTAKES = {
    **{
        f"forces were in {unit}": 1.0 / Units(forces=unit).forces_factor
        for unit in (
            "hartree/bohr",
            "hartree/angstrom",
            "eV/bohr",
            "kcal/mol/angstrom",
            "kJ/mol/angstrom",
            "kJ/mol/nm",
            "meV/angstrom",
        )
    },
    **{
        f"energies were in {unit}": Units(energy=unit).energy_factor
        for unit in ("hartree", "kcal/mol", "kJ/mol", "meV")
    },
    **{
        f"positions were in {unit}": 1.0 / Units(length=unit).length_factor
        for unit in ("bohr", "nm")
    },
}
"""Factors between forces and energy differences that units forgotten would leave."""


def check_force_sign(structures: Sequence[Structure]) -> ForceSign:
    """Tell forces from gradients by the data alone.

    Args:
        structures: at most 2000 of them are looked at.

    Example:
        >>> frames = []
        >>> for k in range(40):  # a vibrating molecule: E = 10 (r - 0.74)^2, but stored +dE/dR
        ...     r = 0.74 + 0.1 * np.sin(k)
        ...     gradient = [[0, 0, -20 * (r - 0.74)], [0, 0, 20 * (r - 0.74)]]
        ...     positions = [[0, 0, 0], [0, 0, r]]
        ...     frames.append(Structure(species=[1, 1], positions=positions, forces=gradient,
        ...                             energy=10 * (r - 0.74) ** 2))
        >>> check_force_sign(frames).verdict
        'gradients'
    """
    sample = [s for s in _sample(structures) if s.forces is not None]
    work, difference = _energy_pairs([s for s in sample if s.energy is not None])
    length, attraction = _bonds(sample)
    slope = float(work @ difference / (work @ work)) if work.any() else 0.0
    energy, bond = _correlation(work, difference), _correlation(length, attraction)
    votes = _vote(energy, len(work), 6.0), _vote(bond, len(length), 8.0)
    agreed = {vote for vote in votes if vote}
    return ForceSign(
        verdict=("unclear", "forces", "gradients")[agreed.pop() if len(agreed) == 1 else 0],
        n_pairs=len(work),
        energy_slope=slope,
        energy_correlation=energy,
        n_bonds=len(length),
        bond_correlation=bond,
    )


def _vote(correlation: float, n: int, threshold: float) -> int:
    """1 or -1 where the correlation is significant by a wide margin (pairs are not independent)."""
    t = abs(correlation) * np.sqrt(n / max(1.0 - correlation**2, 1e-12))
    clear = n >= _FEWEST and t > threshold and abs(correlation) > 0.1
    return int(np.sign(correlation)) if clear else 0


def _correlation(x: np.ndarray, y: np.ndarray) -> float:
    norm = float(np.sqrt((x @ x) * (y @ y)))
    return float(x @ y) / norm if norm > 0.0 else 0.0


def _sample(structures: Sequence[Structure]) -> list[Structure]:
    n = len(structures)
    if n <= _MAX_READ:
        return list(structures)
    starts = np.linspace(0, n - _RUN, _MAX_READ // _RUN).astype(int)
    return [structures[int(i)] for start in starts for i in range(start, start + _RUN)]


def _energy_pairs(structures: list[Structure]) -> tuple[np.ndarray, np.ndarray]:
    groups: dict[tuple, list[Structure]] = defaultdict(list)
    for s in structures:
        lattice = np.round(s.cell, 6).tobytes() if s.pbc.any() else b""
        groups[s.species.tobytes(), s.pbc.tobytes(), lattice].append(s)
    pairs = []
    for group in groups.values():
        for start in range(0, len(group), 4 * _RUN):
            pairs += [_compare(a, b) for a, b in _nearest(group[start : start + 4 * _RUN])]
    rows = np.array([pair for pair in pairs if pair is not None]).reshape(-1, 2)
    return rows[:, 0], rows[:, 1]


def _nearest(group: list[Structure]) -> list[tuple[Structure, Structure]]:
    """Each configuration with the nearest other one; no pair twice."""
    if len(group) < 2:
        return []
    shapes = np.array([_shape(s) for s in group])
    distances = cdist(shapes, shapes)
    np.fill_diagonal(distances, np.inf)
    pairs = {(min(i, j), max(i, j)) for i, j in enumerate(distances.argmin(axis=1).tolist())}
    return [(group[i], group[j]) for i, j in sorted(pairs)]


def _shape(structure: Structure) -> np.ndarray:
    """Numbers that are near for near configurations; blind to rotation where that is free."""
    centered = structure.positions - structure.positions.mean(axis=0)
    if structure.pbc.any():
        return centered.ravel()
    atoms = centered[:: 1 + len(centered) // 40]  # a subset determines a large shape well enough
    return cdist(atoms, centered).ravel()


def _compare(a: Structure, b: Structure) -> tuple[float, float] | None:
    """Work of the mean force and difference of energy, both per angstrom of displacement."""
    step = b.positions - a.positions
    force_a, force_b, difference = _forces(a), _forces(b), (b.energy or 0.0) - (a.energy or 0.0)
    if a.pbc.any():
        lattice = np.where(a.pbc[:, None], a.cell, 0.0)
        step = step - np.round(step @ np.linalg.pinv(lattice)) @ lattice
        step = step - step.mean(axis=0)
    else:
        rotation, step = _superpose(a.positions, b.positions)
        force_b = force_b @ rotation
    length = float(np.linalg.norm(step))
    if not 1e-6 < length < _MAX_STEP * np.sqrt(a.n_atoms):
        return None
    work = -0.5 * float(np.sum((force_a + force_b) * step))
    return work / length, difference / length


def _forces(structure: Structure) -> np.ndarray:
    return np.asarray(structure.forces)  # only structures with forces come here


def _superpose(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rotation matrix that takes rows of b onto a (Kabsch), and the displacement that is left."""
    a, b = a - a.mean(axis=0), b - b.mean(axis=0)
    u, _, v = np.linalg.svd(b.T @ a)
    u[:, -1] *= np.sign(np.linalg.det(u @ v))
    return u @ v, b @ (u @ v) - a


def _bonds(structures: list[Structure]) -> tuple[np.ndarray, np.ndarray]:
    """Standardized length and attraction of every bond, within each pair of elements."""
    found: dict[int, list[np.ndarray]] = defaultdict(list)
    for s in structures:
        radius = covalent_radii[s.species]
        pairs = neighbors(s.positions, s.cell, s.pbc, 2.0 * _BOND * float(radius.max()))
        i, j = pairs.receivers, pairs.senders
        length = np.linalg.norm(pairs.vectors, axis=1)
        bonded = (i < j) & (length < _BOND * (radius[i] + radius[j])) & (length > 1e-3)
        i, j, length, vectors = i[bonded], j[bonded], length[bonded], pairs.vectors[bonded]
        attraction = np.sum((_forces(s)[i] - _forces(s)[j]) * vectors, axis=1) / length
        elements = np.sort(s.species[np.stack([i, j])], axis=0)
        for key in np.unique(elements[0] * 128 + elements[1]).tolist():
            chosen = elements[0] * 128 + elements[1] == key
            found[key].append(np.stack([length[chosen], attraction[chosen]]))
    tables = [np.concatenate(parts, axis=1) for parts in found.values()]
    tables = [_standardize(table) for table in tables if table.shape[1] >= 10]
    table = np.concatenate([*tables, np.zeros((2, 0))], axis=1)
    return table[0], table[1]


def _standardize(table: np.ndarray) -> np.ndarray:
    spread = table.std(axis=1, keepdims=True)
    centered = table - table.mean(axis=1, keepdims=True)
    return np.where(spread > 1e-9, centered / np.where(spread > 1e-9, spread, 1.0), 0.0)
