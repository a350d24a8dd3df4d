"""Labels by teachers: mean forces, energies and atomic energies of potentials, for a student.

Ensemble distillation: M teachers that saw energies only agree on those, while their forces differ,

    F_m = F + b + n_m,      (1/M) sum_m F_m = F + b + O(n / sqrt(M)),

so a student of the reference energies and the mean forces learns from gradients with less noise
than any teacher's. Teacher and student: the atomic energies of a large potential tell a small one
how the total energy is shared among the atoms, which no reference method does.

Weights: where the teachers differ, their mean is less sure. A label with spread sigma may count

    w = 1 / (1 + sigma^2 / s^2) = s^2 / (s^2 + sigma^2)

in the student's loss: least squares for labels whose errors have variance sigma^2, by what the
teachers do not agree on, and s^2, by all else (times s^2, so that a sure label counts 1). For
energies sigma is the spread of the total energy; for the force on an atom sigma^2 is the mean over
its three components, so that no axis is preferred.

Everything here makes structures of structures. `ensemble_targets` is the way of `jmlip distill`:
labels by the teachers, their gauge, the permutation that serves as a control (`gauge.py`), energies
by the layers of HIP-NN (`orders.py`).

References: Matin et al., arXiv:2503.14293 (2025), ensembles; Matin et al., Digital Discovery,
doi:10.1039/d5dd00085h (2025), atomic energies; Aitken, Proc. R. Soc. Edinb. 55, 42 (1936), weights.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float

from jmlip.core.errors import ConfigError, PotentialError
from jmlip.core.structure import Structure
from jmlip.potentials.ensembles import EnsemblePrediction, predict_ensemble, require_members
from jmlip.potentials.potential import Potential
from jmlip.training.gauge import gauge_shift, permuted, shifted
from jmlip.training.orders import ORDERS, shifted_orders, summed, with_array, with_orders

TargetName = Literal["energy", "forces", "atomic_energies", "energy_orders"]
SPREAD = "forces_spread"
"""Key of `info["arrays"]` under which the spread of the teachers' forces is kept, eV / angstrom."""

WEIGHTS = {"energy": "energy_weight", "forces": "forces_weight"}
"""Labels whose spread may decide what they count, and where the weights stand in `info`."""

LARGEST_NET_FORCE = 1.0e-4
"""Of the sum of the absolute components: single precision leaves less, a wrong sign far more."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TargetsConfig:
    """Which labels the student has from its teachers.

    Args:
        labels: of "energy", "forces", "atomic_energies" and "energy_orders" (the energies by each
            layer of HIP-NN), those that are the mean over the teachers; all others are those of
            the data.
        permute: seed of a random permutation of the atomic energies among the atoms of each
            element: a control, which must not help. Not permuted unless given.
        spread_scale: for "energy" and "forces", the spread of the teachers, eV and eV / angstrom,
            with which a label counts half of one they agree on; all count alike unless given.

    Raises:
        ConfigError: no label, one twice, nothing to permute, or a scale of what has no spread.
    """

    labels: tuple[TargetName, ...]
    permute: int | None = None
    spread_scale: Mapping[str, float] | None = None

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
        for name, scale in (self.spread_scale or {}).items():
            if name not in WEIGHTS or name not in self.labels:
                raise ConfigError(
                    "targets.spread_scale must have scales of energy or forces that are in "
                    f"targets.labels, {list(self.labels)}, found one of {name}; remove it."
                )
            if not scale > 0.0:
                raise ConfigError(f"targets.spread_scale.{name} must be positive, found {scale}.")


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
    n_orders: int = 1,
    dtype: Literal["float32", "float64"] = "float32",
) -> Targets:
    """Training and validation structures with the labels of `config` by the teachers.

    The spread of the forces over the teachers is in `info["arrays"]["forces_spread"]`; weights by
    spread, where `config` asks for them, multiply those that the structures have.

    Args:
        teachers: one or more potentials.
        train: structures to learn from; labels that are not named stay.
        validation: structures that select.
        config: which labels.
        references: the student's reference energies; asked with `train` and its new labels, as
            energies may be among them.
        n_orders: interaction layers of the student, for "energy_orders".
        dtype: precision of the teachers.

    Raises:
        PotentialError: a teacher has no orders, or too few; or it does not know an element, or its
            forces do not add up to zero.
        ConfigError: weights by the spread of one teacher.
    """
    require_known(teachers, (*train, *validation))
    require_spread(config, len(teachers))
    sets = [
        mean_labels(teachers, s, config.labels, spread_scale=config.spread_scale, dtype=dtype)
        for s in (train, validation)
    ]
    if "energy_orders" in config.labels:
        sets = [with_orders(teachers, s, n_orders=n_orders, dtype=dtype) for s in sets]
        shift = gauge_shift([summed(s) for s in sets[0]], references(sets[0]))
        sets = [[shifted_orders(s, shift) for s in structures] for structures in sets]
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
                teacher.require_known(structure)
                teacher.state_index(structure)
            except PotentialError as error:
                raise PotentialError(f"teacher {number}: {error}") from error


def require_spread(config: TargetsConfig, n_teachers: int) -> None:
    """Refuse weights by a spread that one teacher does not have.

    Raises:
        ConfigError: it would not do anything.
    """
    if config.spread_scale and n_teachers < 2:
        raise ConfigError(
            "targets.spread_scale needs at least two teachers, found one, which has no spread; "
            "remove it, or add teachers."
        )


def mean_labels(
    teachers: Sequence[Potential],
    structures: Sequence[Structure],
    labels: Sequence[TargetName],
    *,
    spread_scale: Mapping[str, float] | None = None,
    dtype: Literal["float32", "float64"] = "float32",
) -> list[Structure]:
    """Structures whose `labels` are the means of the teachers' predictions.

    Args:
        teachers: one or more potentials.
        structures: whatever labels they have.
        labels: which are replaced.
        spread_scale: that of `TargetsConfig`.
        dtype: precision of the teachers.

    Raises:
        PotentialError: a teacher does not know an element, or the forces do not add up to zero.
    """
    if set(labels) == {ORDERS}:  # which `with_orders` gives
        return list(structures)
    predictions = predict_ensemble(teachers, structures, dtype=dtype)
    found = [_labeled(s, p, labels) for s, p in zip(structures, predictions, strict=True)]
    if not spread_scale:
        return found
    return [_weighted(s, p, spread_scale) for s, p in zip(found, predictions, strict=True)]


def _labeled(
    structure: Structure, prediction: EnsemblePrediction, labels: Sequence[TargetName]
) -> Structure:
    mean, changes = prediction.mean, {}
    if "energy" in labels:
        changes["energy"] = mean.energy
    if "atomic_energies" in labels:
        changes["atomic_energies"] = mean.atomic_energies
    if "forces" in labels:
        changes["forces"] = without_net_force(mean.forces)
        structure = with_array(structure, SPREAD, prediction.forces_spread)
    return structure.replace(**changes)


def _weighted(
    structure: Structure, prediction: EnsemblePrediction, scales: Mapping[str, float]
) -> Structure:
    """The structure with weights that its labels have by spread, times those it had."""
    info, arrays = dict(structure.info), dict(structure.info.get("arrays", {}))
    if "energy" in scales:
        ratio = prediction.energy_spread / scales["energy"]
        info[WEIGHTS["energy"]] = structure.energy_weight / (1.0 + ratio**2)
    if "forces" in scales:
        squared = np.mean(prediction.forces_spread**2, axis=1) / scales["forces"] ** 2
        before = 1.0 if structure.forces_weight is None else structure.forces_weight
        arrays[WEIGHTS["forces"]] = before / (1.0 + squared)
    return structure.replace(info={**info, "arrays": arrays} if arrays else info)


def mean_weight(structures: Iterable[Structure], label: str) -> float:
    """Mean over structures (energy) or atoms (forces) of what a label counts."""
    weights = [np.ravel(getattr(s, WEIGHTS[label])) for s in structures]
    return float(np.concatenate(weights).mean())


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
