"""Steps whose reports have not been read yet, and what is said where one of them failed."""

import time
from collections import deque
from typing import NamedTuple

import jax
import numpy as np

from jmlip.core.errors import DivergenceError
from jmlip.training.config import TrainingConfig
from jmlip.training.course import Course
from jmlip.training.step import StepReport

READ_EVERY_STEPS, READ_EVERY_SECONDS = 16, 0.25
"""How far the host runs ahead of what it has read."""


class Taken(NamedTuple):
    """A step that was handed to the device and whose report has not been read."""

    report: StepReport
    step: int
    learning_rate: float
    indices: np.ndarray  # structures of its batch


class Unread:
    """The steps that are not read yet, in order; reading them adds to the sums of the epoch."""

    def __init__(self, config: TrainingConfig):
        self._config = config
        self._steps: deque[Taken] = deque()
        self._lap_at = time.monotonic()

    def add(self, taken: Taken) -> None:
        self._steps.append(taken)

    def is_due(self) -> bool:
        """Whether the host is far enough ahead."""
        waited = time.monotonic() - self._lap_at
        return len(self._steps) > READ_EVERY_STEPS or waited > READ_EVERY_SECONDS

    def read(self, course: Course, *, leave: int = 0) -> None:
        """Read all but the last `leave` steps.

        Raises:
            DivergenceError: too many steps in a row were not finite.
        """
        taken = [self._steps.popleft() for _ in range(len(self._steps) - leave)]
        for step, report in zip(taken, jax.device_get([t.report for t in taken]), strict=True):
            self._note(course, step, report)
        course.sums.seconds += self.lap(course)

    def lap(self, course: Course) -> float:
        """Seconds since the last lap; only those of steps count in the speed, all in the total."""
        now = time.monotonic()
        lap, self._lap_at = now - self._lap_at, now
        course.seconds += lap
        return lap

    def _note(self, course: Course, taken: Taken, report: StepReport) -> None:
        sums = course.sums
        sums.structures += len(taken.indices)
        if not report.finite:
            course.skipped += 1
            if report.skipped_in_a_row >= self._config.training.max_skipped:
                raise DivergenceError(diagnosis(self._config, taken, report))
            return
        sums.steps += 1
        sums.loss += float(report.loss)
        sums.gradient_norm += float(report.gradient_norm)
        terms = [float(term) for term in report.terms]
        before = sums.terms or [0.0] * len(terms)
        sums.terms = tuple(a + b for a, b in zip(before, terms, strict=True))


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
