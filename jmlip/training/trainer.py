"""The driver of a run on the host: it hands batches to compiled steps and reads their reports.

It runs ahead of the device and reads reports only now and then, so that the device never waits;
before a checkpoint and at the end of an epoch it reads them all.

A run asks for its steps (`Trainer.steps`, a generator), and whoever drives it takes them: one run
by itself (`Trainer.run`), or several at once (`jmlip.training.together`).
"""

import contextlib
import dataclasses
import math
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jmlip.core.errors import DivergenceError
from jmlip.core.interrupts import Interrupt
from jmlip.core.types import Params
from jmlip.graphs.graph import Batch
from jmlip.training.checkpoints import Checkpoint, on_host
from jmlip.training.config import TrainingConfig
from jmlip.training.course import Course, Sums
from jmlip.training.devices import Devices
from jmlip.training.feed import Fed, Feed
from jmlip.training.loss_config import weights
from jmlip.training.optimizers import learning_rate
from jmlip.training.plateau import Plateau, watch
from jmlip.training.prefetch import prefetched
from jmlip.training.processes import gathered
from jmlip.training.progress import Display, Status
from jmlip.training.records import epoch_record
from jmlip.training.residuals import Residuals
from jmlip.training.rows import State, own
from jmlip.training.run_files import RunFiles
from jmlip.training.step import Compilations, Controls, Step, StepReport
from jmlip.training.taken import READ_EVERY_STEPS, Taken, Unread
from jmlip.training.validation import Validation, validate


class Asked(NamedTuple):
    """A step that a run wants to be taken."""

    state: State
    fed: Fed
    controls: Controls


Steps = Generator[Asked, tuple[State, StepReport], str]
"""Asks for steps, is sent what they gave, and ends with what ended the run."""


@dataclasses.dataclass(kw_only=True, eq=False)
class Trainer:
    """One run: what it is made of, and where it stands."""

    config: TrainingConfig
    begun: float  # when the call began, on the monotonic clock
    step: Step
    compare: Callable[[Params, Batch], Residuals]
    devices: Devices  # where steps are taken
    compared_on: Devices  # where predictions are compared with the validation set
    train: Feed
    validation: Feed
    state: State
    files: RunFiles
    display: Display
    interrupt: Interrupt
    compilations: Compilations

    def __post_init__(self):
        loop = self.config.training
        self.best: Params | None = None
        self.course = Course(plateau=Plateau(batch_size=loop.batch_size))
        self._unread = Unread(self.config)
        self._saved_at = time.monotonic()
        self._first_step_s: float | None = None
        self._first_step_done = 0.0
        self._status = Status()
        self._status.max_epochs = loop.max_epochs

    @property
    def run_dir(self) -> Path:
        """Directory of the run."""
        return self.files.run_dir

    def start(self) -> None:
        """Begin a new run: empty metric files, and a checkpoint of the very start."""
        self.files.start()
        self._checkpoint()

    def restore(self, found: Checkpoint) -> None:
        """Go back to a checkpoint."""
        self.state = self.devices.everywhere(found.state)
        self.best, self.course = found.best, found.course
        self.files.go_back(found)
        self._keep()
        self.display.note(f"resumed at epoch {self.course.epoch}, step {self.course.step}.")

    def run(self) -> str:
        """Train until the run ends.

        Returns:
            The configuration key that ended it.

        Raises:
            DivergenceError: too many steps in a row were not finite.
            KeyboardInterrupt: an interrupt was requested; a checkpoint was written first.
        """
        steps = self.steps()
        try:
            asked = next(steps)
            while True:
                asked = steps.send(self.step(own(asked.state), asked.fed.batch, asked.controls))
        except StopIteration as ended:
            return ended.value

    def steps(self) -> Steps:
        """The run without the arithmetic of its steps; errors are those of `run`."""
        reason = None
        while reason is None:
            reason = self._ended() or (yield from self._epoch())
        if self.course.step and self.course.skipped == self.course.step:
            raise DivergenceError(
                f"training must make finite steps, and none of {self.course.step} was; lower "
                "optimizer.learning_rate or the weights of the loss, or look at the labels."
            )
        self._checkpoint()
        if reason == "max_minutes":
            # after the checkpoint: a resumed run goes on as if this look had not been taken
            self._select(self._validate())
        if self.best is None:
            raise DivergenceError(
                "training must reach a finite error on the validation set, but never did; lower "
                "optimizer.learning_rate, or look for structures with atoms on top of each other."
            )
        self._keep()
        return reason

    def summary(self, reason: str | None = None) -> dict[str, Any]:
        """How the run went, or goes, as plain numbers."""
        course = self.course
        return {
            "stopped_by": reason,
            "epochs": course.epoch,
            "steps": course.step,
            "skipped_steps": course.skipped,
            "best_epoch": course.best_epoch,
            "best": course.best,
            "select": self.config.training.select,
            "minutes": round(course.seconds / 60.0, 3),
            "time_to_first_step_s": self._first_step_s and round(self._first_step_s, 2),
            "compilations": self.compilations.count,
        }

    def _ended(self) -> str | None:
        loop, course = self.config.training, self.course
        if course.epoch >= loop.max_epochs:
            return "max_epochs"
        waited = course.epoch - course.best_epoch
        if loop.patience is not None and course.best is not None and waited >= loop.patience:
            return "patience"
        return None

    def _epoch(self) -> Generator[Asked, tuple[State, StepReport], str | None]:
        course, batch_size = self.course, self.course.plateau.batch_size
        made = self.train.epoch(course.epoch, batch_size, start=course.batch)
        place = lambda fed: fed._replace(batch=self.devices.place(fed.batch))
        batches = prefetched(made, place)
        with contextlib.closing(batches):
            for fed in batches:
                self._took(fed, *(yield self._ask(fed)))
                if self._unread.is_due():
                    # the last step is left, so that the device has work meanwhile
                    self._read(leave=1)
                asked = self._asked_to_stop()
                if asked == "interrupt":
                    self._checkpoint()
                    raise KeyboardInterrupt
                if asked is not None:
                    return asked
                if self._minutes(self._saved_at) >= self.config.training.checkpoint_every_minutes:
                    self._checkpoint()
        self._end_epoch()
        return None

    def _asked_to_stop(self) -> str | None:
        """Why the run shall stop after this step; processes ask each other now and then."""
        too_long = self._minutes(self.begun) >= (self.config.training.max_minutes or math.inf)
        mine = 2 if self.interrupt.requested else int(too_long)
        alone = jax.process_count() == 1
        if not alone and self.course.step % READ_EVERY_STEPS:
            return None
        return (None, "max_minutes", "interrupt")[int(gathered(mine).max())]

    def _ask(self, fed: Fed) -> Asked:
        dtype = self.config.training.dtype
        controls = Controls(
            learning_rate=np.asarray(self._learning_rate(), dtype),
            weights=weights(self.config.loss, self._done()).astype(dtype),
        )
        return Asked(self.state, fed, controls)

    def _took(self, fed: Fed, state: State, report: StepReport) -> None:
        course, rate = self.course, self._learning_rate()
        self.state = state
        if self._first_step_s is None:
            jax.block_until_ready(report)
            self._unread.lap(course)
            self._first_step_s = time.monotonic() - self.begun
            self._first_step_done = self._done()
        self._unread.add(Taken(report, course.step, rate, fed.indices))
        course.batch += 1
        course.step += 1

    def _read(self, *, leave: int = 0) -> None:
        self._unread.read(self.course, leave=leave)
        self._show()

    def _end_epoch(self) -> None:
        self._read()
        course, loop = self.course, self.config.training
        rate, batch_size = self._learning_rate(), course.plateau.batch_size
        course.epoch, course.batch = course.epoch + 1, 0
        validation = None
        if course.epoch % loop.validate_every == 0 or course.epoch == loop.max_epochs:
            validation = self._validate()
            self._select(validation)
            course.plateau = watch(
                course.plateau,
                validation.selected,
                epochs=course.epoch - course.validated_epoch,
                config=self.config.optimizer,
                max_batch_size=loop.max_batch_size,
            )
            course.validated_epoch = course.epoch
        self._unread.lap(self.course)
        record = epoch_record(
            self.config, course, validation, learning_rate=rate, batch_size=batch_size
        )
        self.files.append(record)
        course.sums = Sums()
        self._show(end_of_epoch=True)

    def _validate(self) -> Validation:
        batches = self.validation.all_batches(self.config.training.batch_size)
        average = self.compared_on.everywhere(self.state.average)
        with contextlib.closing(prefetched(batches, self.compared_on.place)) as placed:
            return validate(self.compare, average, placed, self.config)

    def _select(self, validation: Validation) -> None:
        course, selected = self.course, validation.selected
        self._status.errors = validation.metrics
        if math.isfinite(selected) and (course.best is None or selected < course.best):
            self.best = on_host(self.state.average)
            course.best, course.best_epoch = selected, course.epoch

    def _checkpoint(self) -> None:
        self._read()
        self.files.save(own(self.state), self.best, self.course)
        self._keep()
        self._unread.lap(self.course)
        self._saved_at = time.monotonic()

    def _keep(self) -> None:
        self.files.keep(self.best, self.summary())

    def _batches(self) -> int:
        return self.train.n_batches(self.course.epoch, self.course.plateau.batch_size)

    def _done(self) -> float:
        return self.course.progress(self._batches(), self.config.training.max_epochs)

    def _learning_rate(self) -> float:
        scale, step = self.course.plateau.scale, self.course.step
        return learning_rate(self.config.optimizer, step=step, progress=self._done(), scale=scale)

    def _minutes(self, since: float) -> float:
        return (time.monotonic() - since) / 60.0

    def _show(self, *, end_of_epoch: bool = False) -> None:
        course, sums, status = self.course, self.course.sums, self._status
        status.epoch = course.epoch + (0 if end_of_epoch else 1)
        status.done = self._done()
        if not (sums.steps or end_of_epoch):
            return
        if sums.steps:
            status.loss = sums.loss / sums.steps
            status.structures_per_s = sums.structures / max(sums.seconds, 1e-9)
        done = status.done - self._first_step_done
        if self._first_step_s is not None and done > 0.0:
            gone = self._minutes(self.begun)
            rest = (gone - self._first_step_s / 60.0) * (1.0 - status.done) / done
            limit = (self.config.training.max_minutes or math.inf) - gone
            status.eta_s = 60.0 * max(min(rest, limit), 0.0)
        self.display.update(status, end_of_epoch=end_of_epoch)
