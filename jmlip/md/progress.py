"""One line that says how far a run has come and how long it will take."""

import contextlib
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


@contextlib.contextmanager
def progress_bar(n_steps: int, *, enabled: bool) -> Iterator[Callable[[int], None]]:
    """Yield a function that is told the step reached; it draws on standard error."""
    columns = (
        TextColumn("MD"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("steps, left:"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), disable=not enabled) as bar:
        task = bar.add_task("", total=n_steps)
        yield lambda step: bar.update(task, completed=step)
