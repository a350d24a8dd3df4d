"""The loss: a weighted sum of named terms, masked means over the labelled real entries of a batch.

    L = sum_t w_t L_t,    L_t = MSE | MAE | RMSE + MAE | Huber of (prediction - label)

Means and the root of RMSE are statistics of the batch. A batch without one label of a term
contributes 0 to it, with zero gradient. Energies and forces may have weights, 1 unless given
(`Structure.energy_weight`, `Structure.forces_weight`): what is averaged, a square or an absolute
value, is multiplied by that of its structure or atom, and the mean still divides by the number of
labels, so that one that counts less does not make others count more.

Two terms have no label: `hierarchy`, the mean over structures of the non-hierarchicality

    R = sum_i sum_n (E_i^n)^2 / [(E_i^n)^2 + (E_i^(n-1))^2],

with E_i^0 the reference energy of the species of atom i, and `l2`, the sum of squares of all
weight matrices. Weights may change linearly over a part of the run.

A pair of models (`jmlip.models.pair`) may also be told what its small part shall be by itself:
`small_energy` and `small_forces` compare that part alone with the labels, and `slow_forces`, the
mean square of the large part's forces, keeps these small. With the weights of the small terms
lambda times those of the whole, L = L(E_small + E_large) + lambda L(E_small).

References: Lubbers, Smith, Barros, J. Chem. Phys. 148, 241715 (2018).
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jmlip.core.errors import ConfigError
from jmlip.core.types import Params
from jmlip.ops import safe
from jmlip.training.residuals import Residuals

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
WEIGHTED = {"energy": "energy_weight", "forces": "forces_weight"}
"""Labels that have weights, and where in `Residuals` these stand."""
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

    Raises:
        ConfigError: a value is out of range, or is given where another choice makes it meaningless.
    """

    weight: float = 1.0
    kind: Literal["mse", "mae", "rmse+mae", "huber"] = "mse"
    delta: float | None = None
    final_weight: float | None = None
    ramp: tuple[float, float] | None = None

    def __post_init__(self):
        _check_weights(self)
        if (self.kind == "huber") != (self.delta is not None):
            raise ConfigError(
                "a loss term needs delta if, and only if, its kind is 'huber', "
                f"found kind {self.kind!r} and delta {self.delta}."
            )
        if self.delta is not None and not self.delta > 0.0:
            raise ConfigError(f"delta of a loss term must be positive, found {self.delta}.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class PenaltyConfig:
    """One term without a label; the fields are those of `TermConfig`."""

    weight: float
    final_weight: float | None = None
    ramp: tuple[float, float] | None = None

    def __post_init__(self):
        _check_weights(self)


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
        ConfigError: no term compares with a label.
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


def _check_weights(term: TermConfig | PenaltyConfig) -> None:
    if not (term.weight >= 0.0 and (term.final_weight is None or term.final_weight >= 0.0)):
        raise ConfigError(
            "weights of a loss term must not be negative, "
            f"found {term.weight} and final_weight {term.final_weight}."
        )
    if term.weight == 0.0 and not term.final_weight:
        raise ConfigError("a loss term needs a positive weight, found 0; leave the term out.")
    if term.ramp is None:
        return
    if term.final_weight is None:
        raise ConfigError("ramp of a loss term is meaningless without final_weight; give both.")
    if not 0.0 <= term.ramp[0] <= term.ramp[1] <= 1.0:
        raise ConfigError(
            f"ramp must be two ascending fractions of the run from 0 to 1, found {term.ramp}."
        )


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


class TermSums(NamedTuple):
    """What the terms of a loss are made of; sums of parts of a batch add up to those of it."""

    totals: Float[Array, "terms 2"]  # over the entries that count; the second of RMSE + MAE only
    counts: Int[Array, " terms"]  # of such entries


def term_sums(config: LossConfig, residuals: Residuals) -> TermSums:
    """The sums of one batch, or of a part of one; rows in the order of `config.terms`."""
    totals, counts = [], []
    for name, term in config.terms.items():
        if name == "l2":  # a function of parameters alone
            totals.append(jnp.zeros(2))
            counts.append(jnp.zeros((), jnp.int32))
            continue
        error, mask = getattr(residuals, name), getattr(residuals, f"{name}_mask")
        weights_of = _weight_name(name)
        weight = getattr(residuals, weights_of) if weights_of else None
        columns = [_masked_sum(_weighted(x, weight), mask) for x in averaged(term, error)]
        totals.append(jnp.stack([*columns, jnp.zeros_like(columns[0])][:2]))
        counts.append(jnp.sum(mask) * (error.size // mask.size))
    return TermSums(jnp.stack(totals), jnp.stack(counts))


def terms_of_sums(config: LossConfig, params: Params, sums: TermSums) -> Float[Array, " terms"]:
    """The unweighted terms, in the order of `config.terms`."""
    values = []
    for (name, term), totals, count in zip(config.terms.items(), *sums, strict=True):
        if name == "l2":
            values.append(sum_of_squares(params))
            continue
        means = totals / jnp.maximum(count, 1)
        values.append(discrepancy(term, means, sqrt=safe.sqrt))
    return jnp.stack(values)


def term_values(config: LossConfig, params: Params, residuals: Residuals) -> Float[Array, " terms"]:
    """The unweighted terms of one batch, in the order of `config.terms`."""
    return terms_of_sums(config, params, term_sums(config, residuals))


def set_values(config: LossConfig, params: Params, batches: Sequence[Residuals]) -> list[float]:
    """The unweighted terms over a whole set, in float64 on the host; NaN where no label is.

    Args:
        config: the loss.
        params: parameters that enter `l2`.
        batches: residuals of all batches of the set, as NumPy arrays.
    """
    values = []
    for name, term in config.terms.items():
        if name == "l2":
            values.append(float(sum_of_squares(params)))
            continue
        error, weights_of = labelled(batches, name), _weight_name(name)
        weight = labelled(batches, weights_of, where=name) if weights_of else None
        entries = [_weighted(x, weight) for x in averaged(term, error)]
        means = [x.mean() if x.size else np.nan for x in entries]
        values.append(float(discrepancy(term, means, sqrt=np.sqrt)))
    return values


def labelled(
    batches: Sequence[Residuals], name: str, *, where: str | None = None
) -> Float[np.ndarray, "n ..."]:
    """One field of residuals over all batches, real and labelled entries only, in float64.

    Args:
        batches: residuals of all batches of a set.
        name: the field.
        where: the field whose labels decide which entries there are; `name` unless given.
    """
    mask = f"{where or name}_mask"
    parts = [
        np.asarray(getattr(batch, name), np.float64)[np.asarray(getattr(batch, mask))]
        for batch in batches
    ]
    return np.concatenate(parts)


def averaged(term: TermConfig | PenaltyConfig, error: Any) -> tuple[Any, ...]:
    """What a term takes the means of: arrays like the error itself, from JAX or NumPy."""
    if isinstance(term, PenaltyConfig):
        return (error,)
    if term.kind == "mse":
        return (error**2,)
    if term.kind == "mae":
        return (abs(error),)
    if term.kind == "rmse+mae":
        return error**2, abs(error)
    quadratic = abs(error).clip(max=term.delta)
    return (0.5 * quadratic**2 + term.delta * (abs(error) - quadratic),)


def discrepancy(term: TermConfig | PenaltyConfig, means: Any, *, sqrt: Callable) -> Any:
    """The value of a term, from the means of what `averaged` says."""
    if isinstance(term, TermConfig) and term.kind == "rmse+mae":
        return sqrt(means[0]) + means[1]
    return means[0]


def sum_of_squares(params: Params) -> Float[Array, ""]:
    """Sum of squares of the weight matrices; arrays of one axis, such as biases, do not count."""
    matrices = [leaf for leaf in jax.tree.leaves(params) if leaf.ndim >= 2]
    return sum((jnp.vdot(leaf, leaf) for leaf in matrices), start=jnp.zeros(()))


def _weight_name(term: str) -> str | None:
    """The field with the weights of a term's label, if it has any."""
    return WEIGHTED.get(LABELS.get(term, ""))


def _weighted(values: Any, weight: Any) -> Any:
    """Values times the weights of their rows, if there are any."""
    return values if weight is None else values * weight.reshape(-1, *[1] * (values.ndim - 1))


def _masked_sum(values: Float[Array, "n ..."], mask: Array) -> Float[Array, ""]:
    mask = mask.reshape(-1, *[1] * (values.ndim - 1))
    return jnp.sum(jnp.where(mask, values, 0.0))
