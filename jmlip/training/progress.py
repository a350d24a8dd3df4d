"""What a person watches during a run: a bar on a terminal, now and then a line elsewhere."""

import itertools
import time
from collections.abc import Mapping

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

REFRESH_HZ = 4
LINE_SECONDS = 60.0
EPOCH_LINE_SECONDS = 5.0
"""Without a terminal: a line each minute, and at the end of epochs not less than this apart."""
ERRORS = {
    "forces_rmse_meV_A": "force RMSE {:.1f} meV/Å",
    "energy_mae_meV": "energy MAE {:.2f} meV",
}
"""Of the validation errors the first that is known is shown."""


class Status:
    """The numbers to show; whoever knows one writes it."""

    epoch: int = 0
    max_epochs: int = 0
    done: float = 0.0  # fraction of the run
    loss: float | None = None  # training, mean of the running epoch
    errors: Mapping[str, float] = {}  # on the validation set, by the names of metrics
    structures_per_s: float | None = None
    eta_s: float | None = None

    def line(self) -> str:
        """One line of text: what is known so far."""
        known = (words.format(self.errors[k]) for k, words in ERRORS.items() if k in self.errors)
        parts = [
            f"epoch {self.epoch}/{self.max_epochs}",
            self.loss is not None and f"loss {self.loss:.4g}",
            *(f"validation {error}" for error in itertools.islice(known, 1)),
            self.structures_per_s is not None and f"{self.structures_per_s:.0f} structures/s",
            self.eta_s is not None and f"ETA {_duration(self.eta_s)}",
        ]
        return "  ".join(part for part in parts if part)


class Bar:
    """A progress bar on a terminal."""

    def __init__(self, console: Console):
        columns = (BarColumn(bar_width=24), TextColumn("{task.description}"))
        self._progress = Progress(*columns, console=console, refresh_per_second=REFRESH_HZ)
        self._task = self._progress.add_task("compiling", total=1.0)

    def __enter__(self) -> "Bar":
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.stop()

    def update(self, status: Status, *, end_of_epoch: bool = False) -> None:
        del end_of_epoch
        self._progress.update(self._task, completed=status.done, description=status.line())

    def note(self, text: str) -> None:
        self._progress.console.print(text)


class Lines:
    """Lines of plain text, for log files."""

    def __init__(self, console: Console):
        self._console = console
        self._last = -float("inf")

    def __enter__(self) -> "Lines":
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def update(self, status: Status, *, end_of_epoch: bool = False) -> None:
        wait = EPOCH_LINE_SECONDS if end_of_epoch else LINE_SECONDS
        last_epoch = end_of_epoch and status.epoch == status.max_epochs
        if last_epoch or time.monotonic() - self._last >= wait:
            self.note(status.line())
            self._last = time.monotonic()

    def note(self, text: str) -> None:
        self._console.print(text)


Display = Bar | Lines


def make_display(progress: bool) -> Display:
    """A bar where standard error is a terminal, lines where it is not, silence where not wanted."""
    console = Console(stderr=True, quiet=not progress, highlight=False, soft_wrap=True)
    return Bar(console) if console.is_terminal and progress else Lines(console)


def _duration(seconds: float) -> str:
    """Hours, minutes and seconds.

    >>> _duration(3725.4)
    '1:02:05'
    """
    minutes, seconds = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d}"
