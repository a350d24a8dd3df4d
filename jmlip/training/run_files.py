"""The files of a run: written by one process, read by all."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from jmlip.core.types import Params
from jmlip.training.checkpoints import Checkpoint, load_checkpoint, save_checkpoint
from jmlip.training.course import Course
from jmlip.training.records import Record, Records
from jmlip.training.step import TrainState

POTENTIAL, SUMMARY = "potential", "summary.json"
"""Names in the directory of a run."""


class RunFiles:
    """Checkpoints, metric files and the best potential.

    Args:
        run_dir: directory of the run.
        records: its metric files.
        identity: what the run is, see `jmlip.training.checkpoints`.
        write_potential: writes parameters and how the run went so far.
        writes: whether this process is the one that writes; the others do nothing.
    """

    def __init__(
        self,
        run_dir: Path,
        records: Records,
        *,
        identity: Mapping[str, Any],
        write_potential: Callable[[Params, Mapping[str, Any]], None],
        writes: bool,
    ):
        self.run_dir, self.identity, self._records = run_dir, identity, records
        self._write_potential, self._writes = write_potential, writes
        self._kept: Params | None = None

    def start(self) -> None:
        """Begin with empty metric files."""
        if self._writes:
            self._records.start()

    def load(self, *, like: TrainState) -> Checkpoint | None:
        """The last checkpoint."""
        return load_checkpoint(self.run_dir, like=like, identity=self.identity)

    def go_back(self, checkpoint: Checkpoint) -> None:
        """Cut what was written after a checkpoint."""
        if self._writes:
            self._records.cut(checkpoint.sizes)

    def append(self, record: Record) -> None:
        """Add a record to the metric files."""
        if self._writes:
            self._records.append(record)

    def save(self, state: TrainState, best: Params | None, course: Course) -> None:
        """Write a checkpoint."""
        if self._writes:
            checkpoint = Checkpoint(state, best, course, self._records.sizes())
            save_checkpoint(self.run_dir, checkpoint, identity=self.identity)

    def keep(self, best: Params | None, summary: Mapping[str, Any]) -> None:
        """Write the best potential, unless it was."""
        if self._writes and best is not None and best is not self._kept:
            self._write_potential(best, summary)
            self._kept = best
