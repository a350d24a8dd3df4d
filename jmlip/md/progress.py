"""How far a run has come and how long it will take: a bar on a terminal, lines elsewhere."""

import contextlib
import datetime
import time
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

LINE_SECONDS = 60.0
"""Between lines, where there is no terminal."""
COMPILING = ", compiling"
"""Behind the name until the first steps are made: they wait for it, a minute at times."""
Show = Callable[[int], None]


@contextlib.contextmanager
def progress_bar(n_steps: int, *, enabled: bool) -> Iterator[Show]:
    """Yield a function that is told the step reached; it writes to standard error."""
    console = make_console()
    if not console.is_terminal:
        yield _lines(console, n_steps) if enabled else lambda step: None
        return
    columns = (
        TextColumn("MD{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("steps, left:"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not enabled) as bar:
        task, first = bar.add_task(COMPILING, total=n_steps), None

        def show(step: int) -> None:
            nonlocal first
            first = step if first is None else first
            bar.update(task, completed=step, description=COMPILING if step == first else "")

        yield show


def make_console() -> Console:
    """Where runs tell of themselves."""
    return Console(stderr=True, highlight=False, soft_wrap=True)


def _lines(console: Console, n_steps: int) -> Show:
    first: int | None = None
    begin = last = time.monotonic()

    def show(step: int) -> None:
        nonlocal first, last
        now = time.monotonic()
        if first is None:
            first = step
            if step == n_steps:
                return
            console.print(f"MD from step {step} to {n_steps}{COMPILING}")
        if step > first and now - last >= LINE_SECONDS:
            last = now
            left = datetime.timedelta(
                seconds=round((n_steps - step) * (now - begin) / (step - first))
            )
            console.print(f"MD step {step} of {n_steps}, left: {left}")

    return show
