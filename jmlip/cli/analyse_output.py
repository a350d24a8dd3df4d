"""What an analysis leaves: a table for programs, a picture, a table for the eye."""

import csv
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jmlip.cli.tables import new_table, show
from jmlip.core.checkpoint import whole_file
from jmlip.training.plots import COLORS, new_figure, styled

_MAX_POINTS = 4000
_COLUMNS = 3


class Curve(NamedTuple):
    """A line with its standard error; one that is NaN is not drawn."""

    x: Float[np.ndarray, " points"]
    y: Float[np.ndarray, " points"]
    error: Float[np.ndarray, " points"] | None = None


@dataclasses.dataclass(kw_only=True)
class Result:
    """One analysis, to which trajectories are added one after the other."""

    name: str  # of the files
    header: Sequence[str]  # of columns behind trajectory and label, with units
    headings: Sequence[str] = ()  # of the numbers that matter
    x: str = ""  # labels of the axes
    y: str = ""
    rows: list[tuple] = dataclasses.field(default_factory=list)
    panels: dict[str, dict[str, Curve]] = dataclasses.field(default_factory=dict)
    numbers: list[tuple[str, ...]] = dataclasses.field(default_factory=list)
    notices: list[str] = dataclasses.field(default_factory=list)

    def add(self, trajectory: str, label: str, *columns: Float[np.ndarray, " points"]) -> None:
        """A function, its error, perhaps more: rows of the table, and a curve under this label."""
        rows = zip(*columns, strict=True)
        self.rows += [(trajectory, label, *values) for values in rows]
        self.panels.setdefault(label, {})[trajectory] = Curve(*columns[:3])


def write_result(out: Path, result: Result) -> None:
    """`NAME.csv` and, if there is something to see, `NAME.svg`."""
    with (
        whole_file(out / f"{result.name}.csv") as partial,
        partial.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("trajectory", *result.header))
        writer.writerows([_word(value) for value in row] for row in result.rows)
    if result.panels:
        with whole_file(out / f"{result.name}.svg") as partial:
            draw(result).savefig(partial, metadata={"Date": None})


def print_result(result: Result) -> None:
    """The numbers that matter, if there are any."""
    if not result.numbers:
        return
    table = new_table(result.name)
    for k, heading in enumerate(result.headings):
        table.add_column(heading, justify="left" if k < 2 else "right", no_wrap=k < 2)
    for row in result.numbers:
        table.add_row(*row)
    show(table, width=120 + max(len(row[0]) for row in result.numbers))


@styled
def draw(result: Result) -> Figure:
    """Panels in rows of three; each trajectory has one color in all."""
    columns = min(_COLUMNS, len(result.panels))
    rows = -(-len(result.panels) // columns)
    figure, axes = new_figure(rows, columns, (3.4 * columns + 0.6, 2.8 * rows))
    names = list(dict.fromkeys(name for panel in result.panels.values() for name in panel))
    for axis, (title, curves) in zip(axes.flat, result.panels.items(), strict=False):
        for name, curve in curves.items():
            _draw(axis, name, curve, COLORS[(1 + names.index(name)) % len(COLORS)])
        axis.set(title=title, xlabel=result.x, ylabel=result.y)
        axis.margins(x=0.0)
    for axis in axes.flat[len(result.panels) :]:
        axis.set_visible(False)
    if len(names) > 1:
        labels = [axis.get_legend_handles_labels() for axis in axes.flat]
        handles = {name: handle for pair in labels for handle, name in zip(*pair, strict=True)}
        figure.legend(list(handles.values()), list(handles), loc="outside lower center", ncols=2)
    return figure


def _draw(axis: Axes, name: str, curve: Curve, color: str) -> None:
    few = slice(None, None, -(-len(curve.x) // _MAX_POINTS))
    x, y = curve.x[few], curve.y[few]
    axis.plot(x, y, color=color, linewidth=1.2, label=name)
    if curve.error is not None and np.isfinite(curve.error).all():
        error = curve.error[few]
        axis.fill_between(x, y - error, y + error, color=color, alpha=0.25, linewidth=0)


def _word(value: Any) -> str:
    return value if isinstance(value, str) else f"{value:.10g}"
