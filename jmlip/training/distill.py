"""Labels by teachers: mean forces, energies and atomic energies of potentials, for a student.

Ensemble distillation: M teachers that saw energies only agree on those, while their forces differ,

    F_m = F + b + n_m,      (1/M) sum_m F_m = F + b + O(n / sqrt(M)),

so a student of the reference energies and the mean forces learns from gradients with less noise
than any teacher's. Teacher and student: the atomic energies of a large potential tell a small one
how the total energy is shared among the atoms, which no reference method does.

Everything here makes structures of structures. `ensemble_targets` is the way of `jmlip distill`:
labels by the teachers, their gauge, the permutation that serves as a control.

Gauge: only sums of atomic energies mean something. Where no structure tells two elements apart (one
molecule, fixed stoichiometry), a constant can go from one element to the other without any energy
noticing, and every teacher has put it somewhere. A student would have to learn these constants,
which are large where its reference energies are others than the teacher's. `gauge_shift` finds
them as follows. Let d_z be the mean, over the atoms of element z, of the atomic energy less the
student's reference energy, and N the compositions of the training structures. The part of d in the
null space of N, all c with N c = 0, is removed: no total energy changes, and what is left for the
student's network is as near to zero as it can be. Where the compositions determine the energies of
all elements, nothing is removed.

References: Matin et al., arXiv:2503.14293 (2025), ensembles; Matin et al., Digital Discovery,
doi:10.1039/d5dd00085h (2025), atomic energies.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.linalg import null_space

from jmlip.core.errors import ConfigError, PotentialError
from jmlip.core.structure import Structure
from jmlip.data.reference import count_species, species_of
from jmlip.potentials.ensembles import EnsemblePrediction, predict_ensemble, require_members
from jmlip.potentials.potential import Potential

TargetName = Literal["energy", "forces", "atomic_energies"]
SPREAD = "forces_spread"
"""Key of `info["arrays"]` under which the spread of the teachers' forces is kept, eV / angstrom."""

LARGEST_NET_FORCE = 1.0e-4
"""Of the sum of the absolute components: single precision leaves less, a wrong sign far more."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TargetsConfig:
    """Which labels the student has from its teachers.

    Args:
        labels: of "energy", "forces" and "atomic_energies", those that are the mean over the
            teachers; all others are those of the data.
        permute: seed of a random permutation of the atomic energies among the atoms of each
            element: a control, which must not help. Not permuted unless given.

    Raises:
        ConfigError: no label, one twice, or nothing to permute.
    """

    labels: tuple[TargetName, ...]
    permute: int | None = None

    def __post_init__(self):
        if not self.labels or len(set(self.labels)) < len(self.labels):
            raise ConfigError(
                "targets.labels must name at least one label, and each once, found "
                f"{list(self.labels)}."
            )
        if self.permute is not None and "atomic_energies" not in self.labels:
            raise ConfigError(
                "targets.permute permutes atomic energies, found targets.labels = "
                f"{list(self.labels)}; remove it, or add atomic_energies."
            )
        if self.permute is not None and self.permute < 0:
            raise ConfigError(f"targets.permute must be at least 0, found {self.permute}.")


class Targets(NamedTuple):
    """Structures with labels by the teachers."""

    train: Sequence[Structure]
    validation: Sequence[Structure]


References = Callable[[Sequence[Structure]], Mapping[int, float]]
"""From the training structures to the student's reference energies by atomic number, eV."""


def ensemble_targets(
    teachers: Sequence[Potential],
    train: Sequence[Structure],
    validation: Sequence[Structure],
    config: TargetsConfig,
    *,
    references: References,
    dtype: Literal["float32", "float64"] = "float32",
) -> Targets:
    """Training and validation structures with the labels of `config` by the teachers.

    The spread of the forces over the teachers is in `info["arrays"]["forces_spread"]`.

    Args:
        teachers: one or more potentials.
        train: structures to learn from; labels that are not named stay.
        validation: structures that select.
        config: which labels.
        references: the student's reference energies; asked with `train` and its new labels, as
            energies may be among them.
        dtype: precision of the teachers.

    Raises:
        PotentialError: a teacher does not know an element, or its forces do not add up to zero.
    """
    require_known(teachers, (*train, *validation))
    sets = [mean_labels(teachers, s, config.labels, dtype=dtype) for s in (train, validation)]
    if "atomic_energies" in config.labels:
        shift = gauge_shift(sets[0], references(sets[0]))
        sets = [shifted(structures, shift) for structures in sets]
        if config.permute is not None:
            sets = [permuted(s, seed=[config.permute, k]) for k, s in enumerate(sets)]
    return Targets(*sets)


def require_known(teachers: Sequence[Potential], structures: Iterable[Structure]) -> None:
    """Refuse teachers that do not know an element or a state of the structures.

    Raises:
        PotentialError: naming the teacher and the element.
    """
    require_members(teachers)
    for structure in structures:
        for number, teacher in enumerate(teachers):
            try:
                teacher.species_index(structure)
                teacher.state_index(structure)
            except PotentialError as error:
                raise PotentialError(f"teacher {number}: {error}") from error


def mean_labels(
    teachers: Sequence[Potential],
    structures: Sequence[Structure],
    labels: Sequence[TargetName],
    *,
    dtype: Literal["float32", "float64"] = "float32",
) -> list[Structure]:
    """Structures whose `labels` are the means of the teachers' predictions.

    Raises:
        PotentialError: a teacher does not know an element, or the forces do not add up to zero.
    """
    predictions = predict_ensemble(teachers, structures, dtype=dtype)
    return [_labeled(s, p, labels) for s, p in zip(structures, predictions, strict=True)]


def _labeled(
    structure: Structure, prediction: EnsemblePrediction, labels: Sequence[TargetName]
) -> Structure:
    mean, changes = prediction.mean, {}
    if "energy" in labels:
        changes["energy"] = mean.energy
    if "atomic_energies" in labels:
        changes["atomic_energies"] = mean.atomic_energies
    if "forces" in labels:
        arrays = {**structure.info.get("arrays", {}), SPREAD: prediction.forces_spread}
        changes["forces"] = without_net_force(mean.forces)
        changes["info"] = {**structure.info, "arrays": arrays}
    return structure.replace(**changes)


def without_net_force(forces: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
    """Forces less their mean: what rounding has left of a sum that must be zero.

    Raises:
        PotentialError: it is more than rounding.
    """
    net, scale = np.abs(forces.sum(axis=0)).max(), np.abs(forces).sum()
    if net > LARGEST_NET_FORCE * scale + 1e-9:
        raise PotentialError(
            f"the forces of a teacher must add up to zero, found {net:.3g} eV/angstrom; it is not "
            "the derivative of an energy of relative positions."
        )
    return forces - forces.mean(axis=0)


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
