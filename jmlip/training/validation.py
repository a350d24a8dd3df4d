"""Comparison with a validation set: loss, errors, and the one number that selects."""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import jax
import numpy as np

from jmlip.core.errors import ConfigError
from jmlip.core.structure import Structure
from jmlip.core.types import Params
from jmlip.graphs.graph import Batch
from jmlip.training.config import TrainingConfig
from jmlip.training.loss_config import LABELS, weights
from jmlip.training.losses import WEIGHTED, labelled, set_values
from jmlip.training.metrics import error_metrics
from jmlip.training.residuals import Residuals

SELECTED_BY = {"forces_rmse": "forces_rmse_meV_A", "energy_mae": "energy_mae_meV"}
"""Metric behind each choice of `training.select` other than the loss itself."""


class Validation(NamedTuple):
    """Result of one comparison with the validation set."""

    selected: float  # the error that `training.select` names; lower is better
    loss: float  # with the weights of the end of the run, so that epochs can be compared
    terms: dict[str, float]
    metrics: dict[str, float]


def validate(
    compare: Callable[[Params, Batch], Residuals],
    params: Params,
    batches: Iterable[Batch],
    config: TrainingConfig,
) -> Validation:
    """Evaluate parameters on all batches of the validation set, summing in float64 on the host."""
    found: list[Residuals] = [jax.device_get(compare(params, batch)) for batch in batches]
    values = set_values(config.loss, params, found)
    loss = float(np.dot(weights(config.loss, 1.0), values))
    metrics = error_metrics(
        energy=labelled(found, "energy"),
        energy_per_atom=labelled(found, "energy_per_atom"),
        forces=labelled(found, "forces"),
        stress=labelled(found, "stress"),
    )
    select = config.training.select
    selected = loss if select == "loss" else metrics[SELECTED_BY[select]]
    return Validation(selected, loss, dict(zip(config.loss.terms, values, strict=True)), metrics)


def require_labels(
    config: TrainingConfig, train: Sequence[Structure], validation: Sequence[Structure]
) -> None:
    """Refuse a loss or a selection that no structure has labels for.

    Raises:
        ConfigError: an empty set, or a term without a single label in the training or validation
            set, or with labels that all have weight 0.
    """
    for name, structures in (("training", train), ("validation", validation)):
        if not structures:
            raise ConfigError(f"the {name} set must have structures, found none.")
        for term in filter(LABELS.get, config.loss.terms):
            label = LABELS[term]
            if not any(has_label(s, label) for s in structures):
                raise ConfigError(
                    f"loss.{term} needs labels, but none of the {len(structures)} structures of "
                    f"the {name} set has one; remove the term, or check the names of the labels."
                )
            if not any(has_label(s, label) and _counts(s, label) for s in structures):
                raise ConfigError(
                    f"loss.{term} needs labels that count, but all weights of {label} in the "
                    f"{name} set are 0; remove the term, or raise some {WEIGHTED[label]}."
                )
    select = config.training.select
    term = {"forces_rmse": "forces", "energy_mae": "energy"}.get(select)
    if term is not None and not any(has_label(s, term) for s in validation):
        raise ConfigError(
            f"training.select = {select!r} needs {term} labels in the validation set, found none; "
            "select by another error."
        )


def has_label(structure: Structure, label: str) -> bool:
    """Whether a structure has a label that can be compared with."""
    if label == "stress":
        return structure.stress is not None and structure.is_periodic
    return getattr(structure, label) is not None


def _counts(structure: Structure, label: str) -> bool:
    """Whether a label has a weight above 0 somewhere; without weights it has."""
    found = getattr(structure, WEIGHTED[label]) if label in WEIGHTED else None
    return found is None or bool(np.any(found > 0.0))
