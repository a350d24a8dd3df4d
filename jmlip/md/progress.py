"""How far a run has come and how long it will take: a bar on a terminal, lines elsewhere."""

import contextlib
import datetime
import time
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

LINE_SECONDS = 60.0
"""Between lines, where there is no terminal."""
Show = Callable[[int], None]


@contextlib.contextmanager
def progress_bar(n_steps: int, *, enabled: bool) -> Iterator[Show]:
    """Yield a function that is told the step reached; it writes to standard error."""
    console = make_console()
    if not console.is_terminal:
        yield _lines(console, n_steps) if enabled else lambda step: None
        return
    columns = (
        TextColumn("MD"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("steps, left:"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not enabled) as bar:
        task = bar.add_task("", total=n_steps)
        yield lambda step: bar.update(task, completed=step)


def make_console() -> Console:
    """Where runs tell of themselves."""
    return Console(stderr=True, highlight=False, soft_wrap=True)


def _lines(console: Console, n_steps: int) -> Show:
    first: int | None = None
    begin = last = time.monotonic()

    def show(step: int) -> None:
        nonlocal first, last
        first, now = (step if first is None else first), time.monotonic()
        if step > first and now - last >= LINE_SECONDS:
            last = now
            left = datetime.timedelta(
                seconds=round((n_steps - step) * (now - begin) / (step - first))
            )
            console.print(f"MD step {step} of {n_steps}, left: {left}")

    return show
