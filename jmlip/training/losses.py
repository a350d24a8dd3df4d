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

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jmlip.core.types import Params
from jmlip.ops import safe
from jmlip.training.loss_config import LABELS, LossConfig, PenaltyConfig, TermConfig
from jmlip.training.residuals import Residuals

WEIGHTED = {"energy": "energy_weight", "forces": "forces_weight"}
"""Labels that have weights, and where in `Residuals` these stand."""


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
