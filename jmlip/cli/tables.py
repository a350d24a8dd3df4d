"""Tables on standard output."""

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table


def new_table(title: str | None = None) -> Table:
    """An empty table in the style of this program."""
    return Table(box=SIMPLE_HEAD, title=title, title_justify="left", title_style="bold")


def show(table: Table, *, width: int) -> None:
    """Print a table; `width` counts where the output has none, as a file or a pipe."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=width)
    console.print(table)
