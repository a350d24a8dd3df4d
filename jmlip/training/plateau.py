"""When validation stops improving: raise the batch size, then lower the learning rate.

A larger batch lowers the noise of the steps as a smaller rate does, at less cost per epoch; so the
batch size is raised to its maximum first, and the rate falls only then.

References: Smith, Kindermans, Ying, Le, arXiv 1711.00489.
"""

import dataclasses
import math

from jmlip.training.optimizers import OptimizerConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plateau:
    """What the schedule remembers between epochs; plain numbers, kept in checkpoints."""

    batch_size: int
    scale: float = 1.0
    best: float | None = None
    since: int = 0
    """Epochs without improvement since the last one that improved, or since the last change."""


def watch(
    plateau: Plateau,
    value: float,
    *,
    epochs: int,
    config: OptimizerConfig,
    max_batch_size: int | None,
) -> Plateau:
    """State after a validation.

    Args:
        plateau: state before it.
        value: the watched error, lower is better.
        epochs: epochs since the last validation.
        config: patience, factor and threshold of schedule "plateau"; any other schedule changes
            nothing.
        max_batch_size: up to where the batch size is raised; `None` for a fixed one.
    """
    if config.schedule != "plateau":
        return plateau
    threshold = 1.0 - config.setting("plateau_threshold")
    better = plateau.best is None or value < plateau.best * threshold
    if math.isfinite(value) and better:
        return dataclasses.replace(plateau, best=value, since=0)
    plateau = dataclasses.replace(plateau, since=plateau.since + epochs)
    if plateau.since <= config.setting("plateau_patience"):
        return plateau
    factor = config.setting("plateau_factor")
    if max_batch_size is not None and plateau.batch_size < max_batch_size:
        raised = max(int(plateau.batch_size / factor), plateau.batch_size + 1)
        raised = min(raised, max_batch_size)
        return dataclasses.replace(plateau, batch_size=raised, since=0)
    return dataclasses.replace(plateau, scale=plateau.scale * factor, since=0)
