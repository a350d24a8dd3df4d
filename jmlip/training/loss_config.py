"""What a loss is made of: its terms by name, how each is averaged, and weights that may change.

`jmlip.training.losses` has the equations.
"""

import dataclasses
from collections.abc import Mapping
from typing import Literal

import numpy as np
from jaxtyping import Float

from jmlip.core.errors import ConfigError

LARGEST_WEIGHT = 1.0e9
"""Of a term of the loss, in powers of eV and angstrom; beyond, gradients overflow."""
LABELS = {
    "energy": "energy",
    "energy_per_atom": "energy",
    "forces": "forces",
    "stress": "stress",
    "atomic_energies": "atomic_energies",
    "energy_orders": "energy_orders",
    "small_energy": "energy",
    "small_forces": "forces",
}
"""Terms that compare with a label, and which; `hierarchy`, `slow_forces` and `l2` need none."""
PAIR_TERMS = ("small_energy", "small_forces", "slow_forces")
"""Terms that only a pair of models has."""
GRADIENT_TERMS = ("forces", "stress", "small_forces", "slow_forces")
"""Terms that a derivative of the energy enters."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TermConfig:
    """One term that compares with a label, in powers of eV and angstrom.

    Args:
        weight: factor of the term.
        kind: how differences are averaged.
        delta: where Huber's loss turns from quadratic to linear, in the units of the label.
        final_weight: the factor at the end of the ramp.
        ramp: the part of the run, as fractions of `max_epochs`, in which the weight moves linearly
            to `final_weight`; the whole run unless given, a step where both are equal.

    A `LossConfig` refuses what is out of range, as it knows the term by name.
    """

    weight: float = 1.0
    kind: Literal["mse", "mae", "rmse+mae", "huber"] = "mse"
    delta: float | None = None
    final_weight: float | None = None
    ramp: tuple[float, float] | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class PenaltyConfig:
    """One term without a label; the fields are those of `TermConfig`."""

    weight: float
    final_weight: float | None = None
    ramp: tuple[float, float] | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class LossConfig:
    """The terms of a loss; those that are `None` are absent.

    Args:
        energy: total energy of each structure, relative to the reference energies.
        energy_per_atom: the same, divided by the number of atoms.
        forces: components of the forces.
        stress: components of the stress, of structures periodic in three directions.
        atomic_energies: energy of each atom, relative to the reference energies.
        energy_orders: energy of each atom by each interaction layer of HIP-NN.
        hierarchy: non-hierarchicality R, mean over structures.
        small_energy: total energy by the small part of a pair alone.
        small_forces: forces by the small part of a pair alone.
        slow_forces: mean square of the forces of the large part of a pair.
        l2: sum of squares of the weight matrices (arrays of two or more axes).

    Raises:
        ConfigError: no term compares with a label; or a value of a term is out of range, or is
            given where another choice makes it meaningless.
    """

    energy: TermConfig | None = None
    energy_per_atom: TermConfig | None = None
    forces: TermConfig | None = None
    stress: TermConfig | None = None
    atomic_energies: TermConfig | None = None
    energy_orders: TermConfig | None = None
    hierarchy: PenaltyConfig | None = None
    small_energy: TermConfig | None = None
    small_forces: TermConfig | None = None
    slow_forces: PenaltyConfig | None = None
    l2: PenaltyConfig | None = None

    def __post_init__(self):
        if not any(name in LABELS for name in self.terms):
            raise ConfigError(
                "the loss must have at least one term that compares with a label, found "
                f"{', '.join(self.terms) or 'none'}; add, for example, "
                "loss.forces = {weight = 1.0}."
            )
        for name, term in self.terms.items():
            _check_weights(f"loss.{name}", term)
            if isinstance(term, TermConfig):
                _check_delta(f"loss.{name}", term)

    @property
    def terms(self) -> Mapping[str, TermConfig | PenaltyConfig]:
        """The terms that are present, by name, always in the same order."""
        names = [field.name for field in dataclasses.fields(self)]
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}

    @property
    def needs_gradient(self) -> bool:
        """Whether forces or stress enter."""
        return any(name in GRADIENT_TERMS for name in self.terms)

    @property
    def needs_parts(self) -> bool:
        """Whether the parts of a pair of models enter by themselves."""
        return any(name in PAIR_TERMS for name in self.terms)


def _check_weights(name: str, term: TermConfig | PenaltyConfig) -> None:
    for field in ("weight", "final_weight"):
        value = getattr(term, field)
        if value is not None and not 0.0 <= value <= LARGEST_WEIGHT:
            raise ConfigError(
                f"{name}.{field} must be from 0 to {LARGEST_WEIGHT:g}, found {value:g}."
            )
    if term.weight == 0.0 and not term.final_weight:
        raise ConfigError(
            f"{name} needs a positive weight or final_weight, found weight 0; leave the term out."
        )
    if term.ramp is None:
        return
    if term.final_weight is None:
        raise ConfigError(
            f"{name}.ramp is meaningless without {name}.final_weight; give both, or neither."
        )
    if not 0.0 <= term.ramp[0] <= term.ramp[1] <= 1.0:
        raise ConfigError(
            f"{name}.ramp must be two ascending fractions of the run from 0 to 1, found "
            f"{list(term.ramp)}."
        )


def _check_delta(name: str, term: TermConfig) -> None:
    if (term.kind == "huber") != (term.delta is not None):
        raise ConfigError(
            f"{name} needs delta if, and only if, its kind is 'huber', found kind {term.kind!r} "
            f"and delta {term.delta}."
        )
    if term.delta is not None and not term.delta > 0.0:
        raise ConfigError(f"{name}.delta must be positive, found {term.delta}.")


def weights(config: LossConfig, progress: float) -> Float[np.ndarray, " terms"]:
    """Weight of each term when the fraction `progress` of the run is done.

    Example:
        >>> energy = TermConfig(weight=1.0, final_weight=11.0, ramp=(0.5, 1.0))
        >>> weights(LossConfig(energy=energy), 0.75)
        array([6.])
    """
    return np.array([_weight(term, progress) for term in config.terms.values()])


def _weight(term: TermConfig | PenaltyConfig, progress: float) -> float:
    if term.final_weight is None:
        return term.weight
    start, end = term.ramp or (0.0, 1.0)
    if progress < start:
        return term.weight
    done = 1.0 if progress >= end else (progress - start) / (end - start)
    return (1.0 - done) * term.weight + done * term.final_weight
