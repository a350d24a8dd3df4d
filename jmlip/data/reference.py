"""Reference energies: what an element contributes to the total energy before any interaction.

Subtracted in float64 before training, added back in float64 after prediction. Two ways: energies
of isolated atoms computed with the same method, or a least-squares fit to the compositions.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from jmlip.core.errors import DataError
from jmlip.core.structure import Structure

ISOLATION = 6.0
"""An atom is isolated when its nearest periodic image is farther than this, angstrom."""


def species_of(structures: Iterable[Structure]) -> tuple[int, ...]:
    """Atomic numbers that occur, sorted.

    >>> species_of([Structure(species=[8, 1, 1], positions=np.eye(3))])
    (1, 8)
    """
    found: set[int] = set()
    for structure in structures:
        found.update(structure.species.tolist())
    return tuple(sorted(found))


def count_species(structure: Structure, species: Sequence[int]) -> np.ndarray:
    """Number of atoms of each of `species` in a structure, float64.

    Raises:
        DataError: the structure has an element that is not among them.
    """
    counts = np.bincount(structure.species, minlength=119).astype(np.float64)
    result = counts[list(species)]
    if result.sum() != structure.n_atoms:
        odd = sorted(set(structure.species.tolist()) - set(species))
        raise DataError(f"species must include {odd}, which occur; found {list(species)}.")
    return result


def reference_energies_least_squares(
    structures: Iterable[Structure], species: Sequence[int]
) -> tuple[float, ...]:
    """Energies per element, eV, that fit the total energies best.

    e = argmin sum_s (E_s - sum_z n_sz e_z)^2, in float64 by the pseudo-inverse; where compositions
    leave directions undetermined (one molecule, fixed stoichiometry), the solution of least norm.

    Args:
        structures: those without energy are passed over.
        species: atomic numbers, the order of the result.

    Raises:
        DataError: no structure has an energy, or one has an element that is not in `species`.

    Example:
        >>> water = Structure(species=[8, 1, 1], positions=np.eye(3), energy=-4.0)
        >>> hydrogen = Structure(species=[1, 1], positions=np.eye(3)[:2], energy=-1.0)
        >>> [round(e, 6) for e in reference_energies_least_squares([water, hydrogen], (1, 8))]
        [-0.5, -3.0]
    """
    energies: dict[bytes, list[float]] = {}  # few compositions, whatever the number of structures
    for structure in structures:
        if structure.energy is not None:
            key = count_species(structure, species).tobytes()
            energies.setdefault(key, []).append(structure.energy)
    if not energies:
        raise DataError("a fit of reference energies needs structures with energies, found none.")
    counts = np.array([np.frombuffer(key) for key in energies])
    weights = np.sqrt([len(values) for values in energies.values()])
    means = np.array([np.mean(values) for values in energies.values()])
    solution = np.linalg.pinv(weights[:, None] * counts, rcond=1e-10) @ (weights * means)
    return tuple(solution.tolist())


def is_isolated_atom(structure: Structure) -> bool:
    """One atom, without a periodic image within `ISOLATION`."""
    vectors = structure.cell[structure.pbc]
    if structure.n_atoms != 1 or not len(vectors):
        return structure.n_atoms == 1
    # the shortest of a few small combinations is the shortest lattice vector of a reduced cell
    steps = np.stack(np.meshgrid(*[range(-2, 3)] * len(vectors)), axis=-1).reshape(-1, len(vectors))
    lengths = np.linalg.norm(steps[np.any(steps != 0, axis=1)] @ vectors, axis=1)
    return bool(lengths.min() > ISOLATION)


def reference_energies_from_isolated(
    structures: Iterable[Structure], species: Sequence[int]
) -> tuple[float, ...]:
    """Energies of isolated atoms, eV, in the order of `species`.

    Args:
        structures: isolated atoms with energies among any others.
        species: atomic numbers.

    Raises:
        DataError: an element has no isolated atom, or two whose energies differ by over 1 meV.

    Example:
        >>> atoms = [Structure(species=[z], positions=[[0, 0, 0]], energy=-z) for z in (1, 8)]
        >>> reference_energies_from_isolated(atoms, (8, 1))
        (-8.0, -1.0)
    """
    found: dict[int, float] = {}
    for structure in structures:
        if structure.energy is not None and is_isolated_atom(structure):
            z = int(structure.species[0])
            if abs(found.setdefault(z, structure.energy) - structure.energy) > 1e-3:
                raise DataError(
                    f"isolated atoms of one element must have one energy, found {found[z]} and "
                    f"{structure.energy} eV for atomic number {z}; remove one."
                )
    missing = [z for z in species if z not in found]
    if missing:
        raise DataError(
            f"isolated atoms with energies are missing for atomic numbers {missing}; add them, or "
            "fit reference energies by least squares."
        )
    return tuple(found[z] for z in species)
