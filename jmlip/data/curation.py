"""A report on a data set before it is trained on: what is missing, repeated, or out of line.

Nothing is removed: the report names structures by index and the user decides.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from ase.data import chemical_symbols, covalent_radii

from jmlip.core import config
from jmlip.core.errors import DataError
from jmlip.core.structure import Structure
from jmlip.data import duplicates
from jmlip.data.force_sign import ForceSign, check_force_sign
from jmlip.data.reference import count_species, reference_energies_least_squares, species_of
from jmlip.ops.neighbors import Neighbors, neighbors

_LABELS = ("energy", "forces", "stress", "atomic_energies")
_LISTED = 5


@dataclasses.dataclass(frozen=True, kw_only=True)
class CurationReport:
    """What `curate` found; indices count structures from 0.

    Args:
        n_structures: number of structures.
        n_atoms: number of atoms of all of them.
        missing: number of structures without each label.
        exact_duplicates: pairs (first, repeated) with the same species, positions and cell.
        near_duplicates: further pairs whose neighbor distances agree within the tolerance; mirror
            images count.
        energy_outliers: (index, robust z) of the energy per atom after a fit to the compositions.
        largest_forces: (index, largest force on an atom, eV / angstrom), the five largest.
        force_outliers: (index, largest force over the median of the largest forces).
        net_force_rms: root mean square of the net force per structure, eV / angstrom; 0 is exact.
        net_force_max: the largest net force, eV / angstrom.
        net_forces: (index, net force, eV / angstrom) beyond the tolerance, largest first.
        short_distances: (index, "A-B distance angstrom") of pairs far below a bond length.
        force_sign: verdict on the sign of the forces; None without forces.
    """

    n_structures: int
    n_atoms: int
    missing: dict[str, int]
    exact_duplicates: tuple[tuple[int, int], ...]
    near_duplicates: tuple[tuple[int, int], ...]
    energy_outliers: tuple[tuple[int, float], ...]
    largest_forces: tuple[tuple[int, float], ...]
    force_outliers: tuple[tuple[int, float], ...]
    net_force_rms: float | None = None
    net_force_max: float | None = None
    net_forces: tuple[tuple[int, float], ...]
    short_distances: tuple[tuple[int, str], ...]
    force_sign: ForceSign | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, `None` left out."""
        return config.to_dict(self)

    def __str__(self) -> str:
        """A table, one finding a row, with the first few indices."""
        missing = ", ".join(f"{name} {n}" for name, n in self.missing.items() if n)
        rows = [
            ("structures, atoms", f"{self.n_structures}, {self.n_atoms}"),
            ("missing labels", missing or "none"),
            ("exact duplicates", _listing(self.exact_duplicates)),
            ("near duplicates", _listing(self.near_duplicates)),
            ("energy outliers (index, z)", _listing(self.energy_outliers)),
            ("largest forces (index, eV/A)", _listing(self.largest_forces, count=False)),
            ("force outliers (index, x median)", _listing(self.force_outliers)),
            ("net force rms, max (eV/A)", _pair(self.net_force_rms, self.net_force_max)),
            ("net forces (index, eV/A)", _listing(self.net_forces)),
            ("short distances", _listing(self.short_distances)),
            ("sign of forces", self.force_sign.message if self.force_sign else "no forces"),
        ]
        width = max(len(name) for name, _ in rows)
        return "\n".join(f"{name:<{width}}  {value}" for name, value in rows)


class _Facts(NamedTuple):
    """What the report needs of one structure."""

    n_atoms: int
    formula: str
    geometry: bytes
    fingerprint: np.ndarray
    largest_force: float
    net_force: float
    shortest: tuple[float, str]


def curate(
    structures: Sequence[Structure],
    *,
    near_tolerance: float = 0.001,
    outlier_z: float = 8.0,
    force_ratio: float = 10.0,
    net_force_tolerance: float = 0.01,
    short_ratio: float = 0.6,
) -> CurationReport:
    """Examine a data set.

    Args:
        structures: one or more; each is read once, and some again for the sign of the forces.
        near_tolerance: largest difference of neighbor distances of near duplicates, angstrom.
        outlier_z: energies farther than this many robust standard deviations from the median are
            outliers.
        force_ratio: structures are force outliers where the largest force is this many times the
            median one.
        net_force_tolerance: net forces above this are listed, eV / angstrom.
        short_ratio: pairs nearer than this times the sum of covalent radii are listed.

    Raises:
        DataError: there is no structure.

    Example:
        >>> pair = Structure(species=[2, 2], positions=[[0, 0, 0], [0, 0, 0.3]], energy=1.0)
        >>> report = curate([pair, pair])
        >>> report.exact_duplicates, report.short_distances[0], report.missing["forces"]
        (((0, 1),), (0, 'He-He 0.300'), 2)
    """
    if not len(structures):
        raise DataError("a report needs at least one structure, found none.")
    missing: dict[str, int] = {name: 0 for name in _LABELS}
    facts = []
    for structure in structures:
        facts.append(_facts(structure))
        for name in _LABELS:
            missing[name] += getattr(structure, name) is None
    exact = duplicates.exact_duplicates([fact.geometry for fact in facts])
    near = duplicates.near_duplicates(
        [fact.formula for fact in facts],
        [fact.fingerprint for fact in facts],
        tolerance=near_tolerance,
    )
    repeated = {j for _, j in exact}
    forces = np.array([fact.largest_force for fact in facts])
    net = np.array([fact.net_force for fact in facts])
    has_forces = missing["forces"] < len(facts)
    return CurationReport(
        n_structures=len(facts),
        n_atoms=sum(fact.n_atoms for fact in facts),
        missing=missing,
        exact_duplicates=tuple(exact),
        near_duplicates=tuple(pair for pair in near if not repeated & set(pair)),
        energy_outliers=_energy_outliers(structures, outlier_z),
        largest_forces=_largest(forces, -np.inf)[:_LISTED],
        force_outliers=_force_outliers(forces, force_ratio),
        net_force_rms=float(np.sqrt(np.nanmean(net**2))) if has_forces else None,
        net_force_max=float(np.nanmax(net)) if has_forces else None,
        net_forces=_largest(net, net_force_tolerance),
        short_distances=tuple(
            (i, fact.shortest[1]) for i, fact in enumerate(facts) if fact.shortest[0] < short_ratio
        ),
        force_sign=check_force_sign(structures) if has_forces else None,
    )


def _facts(structure: Structure) -> _Facts:
    forces = structure.forces
    pairs = neighbors(structure.positions, structure.cell, structure.pbc, duplicates.CUTOFF)
    return _Facts(
        n_atoms=structure.n_atoms,
        formula=structure.formula,
        geometry=duplicates.geometry_hash(structure),
        fingerprint=duplicates.fingerprint(structure, pairs),
        largest_force=np.nan if forces is None else float(np.linalg.norm(forces, axis=1).max()),
        net_force=np.nan if forces is None else float(np.linalg.norm(forces.sum(axis=0))),
        shortest=_shortest(structure, pairs),
    )


def _shortest(structure: Structure, pairs: Neighbors) -> tuple[float, str]:
    """Smallest ratio of a distance to the sum of covalent radii, and the pair it belongs to."""
    radius = covalent_radii[structure.species]
    if not len(pairs.receivers):
        return np.inf, ""
    length = np.linalg.norm(pairs.vectors, axis=1)
    ratio = length / (radius[pairs.receivers] + radius[pairs.senders])
    k = int(np.argmin(ratio))
    ends = sorted(structure.species[[pairs.receivers[k], pairs.senders[k]]].tolist())
    return float(ratio[k]), f"{'-'.join(chemical_symbols[z] for z in ends)} {length[k]:.3f}"


def _energy_outliers(
    structures: Sequence[Structure], limit: float
) -> tuple[tuple[int, float], ...]:
    labelled = [(i, s) for i, s in enumerate(structures) if s.energy is not None]
    if len(labelled) < 3:
        return ()
    species = species_of(s for _, s in labelled)
    kept, z = np.ones(len(labelled), bool), np.zeros(len(labelled))
    for _ in range(3):  # the fit itself suffers from outliers: fit again without them
        chosen = [s for (_, s), keep in zip(labelled, kept, strict=True) if keep]
        reference = np.array(reference_energies_least_squares(chosen, species))
        rest = np.array(
            [(s.energy - count_species(s, species) @ reference) / s.n_atoms for _, s in labelled]
        )
        center = np.median(rest)
        # 1.4826 makes the median absolute deviation the standard deviation of a normal law
        width = max(1.4826 * float(np.median(np.abs(rest - center))), 1e-6)
        z = (rest - center) / width
        if np.array_equal(kept, np.abs(z) <= limit) or not (np.abs(z) <= limit).any():
            break
        kept = np.abs(z) <= limit
    order = np.argsort(-np.abs(z), kind="stable")
    return tuple((labelled[k][0], float(z[k])) for k in order if abs(z[k]) > limit)


def _largest(values: np.ndarray, limit: float) -> tuple[tuple[int, float], ...]:
    known = np.flatnonzero(values > limit)  # NaN, a missing label, is never larger
    order = known[np.argsort(-values[known], kind="stable")]
    return tuple((int(i), float(values[i])) for i in order)


def _force_outliers(forces: np.ndarray, ratio: float) -> tuple[tuple[int, float], ...]:
    known = forces[forces > 0.0]
    return _largest(forces / np.median(known), ratio) if len(known) else ()


def _listing(items: Sequence[tuple], *, count: bool = True) -> str:
    if not items:
        return "none"
    shown = ", ".join(" ".join(_word(part) for part in item) for item in items[:_LISTED])
    more = f" ... ({len(items)})" if len(items) > _LISTED and count else ""
    return shown + more


def _pair(*values: float | None) -> str:
    return ", ".join("-" if value is None else f"{value:.3g}" for value in values)


def _word(value: int | float | str) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
