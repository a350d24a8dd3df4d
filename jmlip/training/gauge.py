"""The gauge of atomic energies, and their permutation as a control.

Only sums of atomic energies mean something. Where no structure tells two elements apart (one
molecule, fixed stoichiometry), a constant can go from one element to the other without any energy
noticing, and every teacher has put it somewhere. A student would have to learn these constants,
which are large where its reference energies are others than the teacher's. `gauge_shift` finds
them as follows. Let d_z be the mean, over the atoms of element z, of the atomic energy less the
student's reference energy, and N the compositions of the training structures. The part of d in the
null space of N, all c with N c = 0, is removed: no total energy changes, and what is left for the
student's network is as near to zero as it can be. Where the compositions determine the energies of
all elements, nothing is removed.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.linalg import null_space

from jmlip.core.errors import ConfigError
from jmlip.core.structure import Structure
from jmlip.data.reference import count_species, species_of


def gauge_shift(
    structures: Sequence[Structure], reference_energies: Mapping[int, float]
) -> dict[int, float]:
    """What the atomic energies of each element are too large by, eV, without any energy noticing.

    c = P d, with d_z = < eps_i - e_z > over the atoms of element z, and P the projector to the null
    space of the compositions of all structures: sum_i c_(z_i) = 0 in each of them.

    Args:
        structures: with atomic energies.
        reference_energies: e_z of the student, by atomic number, eV.

    Raises:
        ConfigError: an element has no reference energy.
    """
    species = species_of(structures)
    if missing := set(species) - set(reference_energies):
        raise ConfigError(
            "the student must have a reference energy of every element, found none for atomic "
            f"numbers {sorted(missing)}; add them."
        )
    counts = np.unique([count_species(s, species) for s in structures], axis=0)
    numbers, energies = _joined(structures)
    means = [energies[numbers == z].mean() - reference_energies[z] for z in species]
    free = null_space(counts, rcond=1e-10)
    return dict(zip(species, (free @ (free.T @ np.array(means))).tolist(), strict=True))


def shifted(structures: Sequence[Structure], shift: Mapping[int, float]) -> list[Structure]:
    """Structures whose atomic energies are less by the shift of each element."""
    table = np.zeros(119)
    table[list(shift)] = list(shift.values())
    numbers, energies = _joined(structures)
    return _with_atomic_energies(structures, energies - table[numbers])


def permuted(structures: Sequence[Structure], *, seed: int | Sequence[int]) -> list[Structure]:
    """Structures whose atomic energies have changed places among the atoms of each element.

    Over all structures together, so that an energy comes from some atom of the same element and
    says nothing of its surroundings.
    """
    generator = np.random.default_rng(seed)
    numbers, energies = _joined(structures)
    for z in np.unique(numbers):
        energies[numbers == z] = generator.permutation(energies[numbers == z])
    return _with_atomic_energies(structures, energies)


def _joined(structures: Sequence[Structure]) -> tuple[np.ndarray, np.ndarray]:
    """Atomic numbers and atomic energies of all atoms of all structures, end to end."""
    numbers = np.concatenate([s.species for s in structures])
    energies: list[Any] = [s.atomic_energies for s in structures]
    return numbers, np.concatenate(energies)


def _with_atomic_energies(structures: Sequence[Structure], energies: np.ndarray) -> list[Structure]:
    parts = np.split(energies, np.cumsum([s.n_atoms for s in structures])[:-1])
    return [s.replace(atomic_energies=e) for s, e in zip(structures, parts, strict=True)]
