"""The metric files of a run, `metrics.csv` and `metrics.jsonl`: one record per epoch.

A checkpoint notes how long the files were; resuming cuts off what was written later, so that no
epoch appears twice.
"""

import csv
import io
import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from jmlip.core.errors import JmlipError
from jmlip.training.config import TrainingConfig
from jmlip.training.course import Course
from jmlip.training.metrics import METRICS
from jmlip.training.validation import Validation

CSV_NAME, JSONL_NAME = "metrics.csv", "metrics.jsonl"

Record = Mapping[str, float | int | None]


def columns(config: TrainingConfig) -> list[str]:
    """Names in the metric files."""
    terms = list(config.loss.terms)
    return [
        *("epoch", "step", "minutes", "learning_rate", "batch_size", "structures_per_s"),
        *("train_loss", *(f"train_{term}" for term in terms), "gradient_norm", "skipped_steps"),
        *("validation_loss", *(f"validation_{term}" for term in terms)),
        *(f"validation_{metric}" for metric in METRICS),
        *("best_epoch",),
    ]


def epoch_record(
    config: TrainingConfig,
    course: Course,
    validation: Validation | None,
    *,
    learning_rate: float,
    batch_size: int,
) -> Record:
    """The record of the epoch that `course` has just finished; what is not finite is `None`.

    Args:
        config: names the terms of the loss.
        course: with the sums of the epoch.
        validation: after the epoch, if there was one.
        learning_rate: at the end of the epoch.
        batch_size: in the epoch.
    """
    sums, steps = course.sums, max(course.sums.steps, 1)
    mean = lambda total: total / steps if sums.steps else None
    terms = zip(config.loss.terms, sums.terms, strict=False)
    record: dict[str, float | int | None] = {
        "epoch": course.epoch,
        "step": course.step,
        "minutes": round(course.seconds / 60.0, 4),
        "learning_rate": learning_rate,
        "batch_size": batch_size,
        "structures_per_s": round(sums.structures / max(sums.seconds, 1e-9), 1),
        "train_loss": mean(sums.loss),
        **{f"train_{term}": mean(total) for term, total in terms},
        "gradient_norm": mean(sums.gradient_norm),
        "skipped_steps": course.skipped,
        "best_epoch": course.best_epoch,
    }
    if validation is not None:
        found = {"loss": validation.loss, **validation.terms, **validation.metrics}
        record |= {f"validation_{name}": value for name, value in found.items()}
    return {n: v if v is not None and math.isfinite(v) else None for n, v in record.items()}


class Records:
    """Appends records to the metric files of a run directory.

    Args:
        directory: the run directory.
        columns: the names a record may have, in the order of the CSV file.
    """

    def __init__(self, directory: Path, columns: Sequence[str]):
        self._columns = tuple(columns)
        self._csv, self._jsonl = directory / CSV_NAME, directory / JSONL_NAME

    def start(self) -> None:
        """Begin with empty files, whatever there was."""
        self._csv.write_text(_csv_line(self._columns), encoding="utf-8")
        self._jsonl.write_text("", encoding="utf-8")

    def append(self, record: Record) -> None:
        """Add one record; a missing value is an empty cell in CSV and absent in JSONL."""
        known = {name: record[name] for name in self._columns if record.get(name) is not None}
        _append(self._csv, _csv_line([known.get(name, "") for name in self._columns]))
        _append(self._jsonl, json.dumps(known, allow_nan=False) + "\n")

    def sizes(self) -> dict[str, int]:
        """Bytes of each file, after they have reached the disk."""
        for path in (self._csv, self._jsonl):
            with path.open("rb") as file:
                os.fsync(file.fileno())
        return {path.name: path.stat().st_size for path in (self._csv, self._jsonl)}

    def cut(self, sizes: Mapping[str, int]) -> None:
        """Go back to earlier sizes.

        Raises:
            JmlipError: a file is gone or shorter than it was.
        """
        for path in (self._csv, self._jsonl):
            found = path.stat().st_size if path.exists() else 0
            if found < sizes[path.name]:
                raise JmlipError(
                    f"{path} must have at least the {sizes[path.name]} bytes it had at the "
                    f"checkpoint, found {found}; put the file back, or start a new run."
                )
            os.truncate(path, sizes[path.name])


def _append(path: Path, line: str) -> None:
    with path.open("a", encoding="utf-8", newline="") as file:
        file.write(line)


def _csv_line(cells: Sequence[object]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerow(cells)
    return buffer.getvalue()
