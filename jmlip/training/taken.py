"""Steps whose reports have not been read yet, and what is said where one of them failed."""

from typing import NamedTuple

import numpy as np

from jmlip.training.config import TrainingConfig
from jmlip.training.step import StepReport


class Taken(NamedTuple):
    """A step that was handed to the device and whose report has not been read."""

    report: StepReport
    step: int
    learning_rate: float
    indices: np.ndarray  # structures of its batch


def diagnosis(config: TrainingConfig, taken: Taken, report: StepReport) -> str:
    """What went wrong in the last of too many steps that were not finite."""
    names = zip(config.loss.terms, np.isfinite(report.terms), strict=True)
    wrong = [f"loss term {name}" for name, finite in names if not finite] or ["the gradient"]
    return (
        f"training must stay finite, but {int(report.skipped_in_a_row)} steps in a row did not, up "
        f"to step {taken.step}: {' and '.join(wrong)} {'is' if len(wrong) == 1 else 'are'} not "
        f"finite at learning rate {taken.learning_rate:.3g} for structures {_some(taken.indices)} "
        "of the training set; look at them, or start a new run with a lower "
        "optimizer.learning_rate or with optimizer.clip_norm (the last good checkpoint is kept)."
    )


def _some(indices: np.ndarray) -> str:
    shown = ", ".join(str(int(i)) for i in sorted(indices)[:12])
    return f"{shown} and {len(indices) - 12} more" if len(indices) > 12 else shown
