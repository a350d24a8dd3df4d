"""Pictures of a training run: learning curves, parity, errors by species and by size.

Every function returns a matplotlib figure that belongs to nobody: no global state, no window, no
file. One color per data set, the same in every picture.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from ase.data import chemical_symbols
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from jmlip.training.evaluation import EvaluationResult
from jmlip.training.metrics import root_mean_square

COLORS = ("#8d99a6", "#d9822b", "#1b7f8c", "#8c4a9e", "#b8433f", "#5b7f2b")
"""Colors of the data sets, in their order: training, validation, then the test sets."""
INK, FAINT = "#22272e", "#d9dee4"
MAX_POINTS = 20_000
"""More points than this are thinned out evenly: the eye sees no difference, the file does."""

STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.size": 10.0,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 8.0,
    "axes.edgecolor": "#8b949e",
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e9edf1",
    "grid.linewidth": 0.8,
    "axes.axisbelow": True,
    "xtick.color": "#57606a",
    "ytick.color": "#57606a",
    "text.color": INK,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "figure.constrained_layout.use": True,
    "svg.fonttype": "path",
}


styled = matplotlib.rc_context(STYLE)
"""Decorator of functions that draw: titles and legends take their style when they are made."""


class Comparison(NamedTuple):
    """The evaluation of one data set under the name it has in the pictures."""

    name: str
    result: EvaluationResult
    reference: Float[np.ndarray, " energies"]  # eV, what the parity plot takes off each energy

    @property
    def interaction(self) -> Float[np.ndarray, " energies"]:
        """Labelled energy per atom, less the references, eV."""
        return (self.result.energy_label - self.reference) / self.result.n_atoms

    @property
    def energy_error(self) -> Float[np.ndarray, " energies"]:
        """Error of the energy per atom, meV."""
        return 1000.0 * (self.result.energy - self.result.energy_label) / self.result.n_atoms

    @property
    def force_error(self) -> Float[np.ndarray, "atoms 3"]:
        """Error of the force components, meV / angstrom."""
        return 1000.0 * (self.result.forces - self.result.forces_label)


class Panel(NamedTuple):
    """One quantity along a run: a title, the unit, and a curve (abscissa, values) for each name."""

    title: str
    unit: str
    curves: Mapping[str, tuple[Sequence[float], Sequence[float]]]


def new_figure(
    rows: int, columns: int, size: tuple[float, float], **options
) -> tuple[Figure, np.ndarray]:
    """A figure and its axes, `(rows, columns)`; size in inches. Call it under `styled`."""
    figure = Figure(figsize=size)
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


@styled
def learning_curves(panels: Sequence[Panel], *, best_epoch: int | None = None) -> Figure:
    """One panel per quantity against the epoch; a thin line marks the epoch that was kept."""
    figure, axes = new_figure(1, len(panels), (3.6 * len(panels), 3.1))
    for axis, panel in zip(axes[0], panels, strict=True):
        for color, (name, (epochs, values)) in zip(COLORS, panel.curves.items(), strict=False):
            axis.plot(epochs, values, color=color, label=name)
        if best_epoch is not None:
            axis.axvline(best_epoch, color=INK, linewidth=0.8, linestyle=(0, (2, 3)))
        axis.set(title=panel.title, xlabel="epoch", ylabel=panel.unit, yscale="log")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    axes[0, 0].legend(loc="upper right")
    return figure


@styled
def parity(sets: Sequence[Comparison]) -> Figure:
    """Prediction against label for energies per atom and force components; below, the errors."""
    figure, axes = new_figure(
        2, 2, (8.6, 6.4), sharex="col", gridspec_kw={"height_ratios": (2.6, 1.0)}
    )
    for k, data in enumerate(sets):
        # test sets are the widest clouds and go to the back; validation, the smallest set, in front
        look = {"color": COLORS[k % len(COLORS)], "zorder": 2.0 if k == 1 else 1.9 - 0.1 * k}
        error = data.energy_error
        _parity_column(axes[:, 0], data.name, "meV/atom", look, data.interaction, error)
        forces = data.result.forces_label.ravel()
        error = data.force_error.ravel()
        _parity_column(axes[:, 1], data.name, "meV/Å", look, forces, error)
    for axis, title, unit in zip(
        axes[0], ("Energy per atom", "Force components"), ("eV/atom", "eV/Å"), strict=True
    ):
        axis.set(title=title, ylabel=f"prediction, {unit}")
        axis.axline((0, 0), slope=1, color=INK, linewidth=0.8, zorder=0)
        if axis.collections:  # some set has this label
            axis.legend(loc="upper left", markerscale=3.0, handletextpad=0.3)
    for axis, label, unit in zip(
        axes[1],
        ("label (less the atomic references), eV/atom", "label, eV/Å"),
        ("meV/atom", "meV/Å"),
        strict=True,
    ):
        axis.set(xlabel=label, ylabel=f"error, {unit}")
        axis.axhline(0.0, color=INK, linewidth=0.8, zorder=0)
        axis.margins(y=0.15)
    return figure


def _parity_column(
    axes: np.ndarray, name: str, unit: str, look: dict, label: np.ndarray, error: np.ndarray
) -> None:
    if not len(label):
        return
    thin = slice(None, None, -(-len(label) // MAX_POINTS))
    label, error, rmse = label[thin], error[thin], root_mean_square(error)
    points = {"s": 5.0, "alpha": 0.5, "linewidths": 0.0, "rasterized": True, **look}
    axes[0].scatter(
        label,
        label + error / 1000.0,
        label=f"{name}, RMSE {_short(rmse)} {unit}",
        **points,
    )
    axes[1].scatter(label, error, **points)


@styled
def errors_by_species(sets: Sequence[Comparison]) -> Figure:
    """Root mean square error of the force components on atoms of each element."""
    elements = sorted({int(z) for data in sets for z in data.result.species})
    symbols = [chemical_symbols[z] for z in elements]
    rows = [[data.result.forces_rmse_by_element.get(s, np.nan) for s in symbols] for data in sets]
    figure, axis = _bars(symbols, [data.name for data in sets], rows)
    axis.set(title="Force error by element", ylabel="RMSE, meV/Å")
    return figure


@styled
def errors_by_size(sets: Sequence[Comparison], *, max_groups: int = 10) -> Figure:
    """Root mean square error of the energy per atom for structures of each number of atoms.

    Where there are many sizes, neighboring ones share a group.
    """
    sizes = np.unique(np.concatenate([data.result.n_atoms for data in sets]))
    groups = np.array_split(sizes, min(len(sizes), max_groups))
    labels = [f"{g[0]}" if len(g) == 1 else f"{g[0]}-{g[-1]}" for g in groups]
    rows = [[_error_of_sizes(data, group) for group in groups] for data in sets]
    figure, axis = _bars(labels, [data.name for data in sets], rows)
    axis.set(title="Energy error by size", xlabel="atoms in the structure", ylabel="RMSE, meV/atom")
    return figure


def _error_of_sizes(data: Comparison, sizes: np.ndarray) -> float:
    error = data.energy_error[np.isin(data.result.n_atoms, sizes)]
    return root_mean_square(error) if len(error) else float("nan")


def _bars(
    groups: Sequence[str], names: Sequence[str], rows: Sequence[Sequence[float]]
) -> tuple[Figure, Axes]:
    """Groups of bars side by side, one color for each name."""
    figure, axes = new_figure(1, 1, (min(8.6, 2.6 + 0.5 * len(groups) * len(names)), 3.0))
    axis, width = axes[0, 0], 0.8 / len(names)
    for k, (color, name, values) in enumerate(zip(COLORS, names, rows, strict=False)):
        place = np.arange(len(groups)) + (k - (len(names) - 1) / 2) * width
        bars = axis.bar(place, values, 0.92 * width, color=color, label=name)
        if len(groups) * len(names) <= 12:
            axis.bar_label(bars, fmt=_short, padding=2, fontsize=8.5)
    axis.set_xticks(range(len(groups)), groups)
    axis.grid(visible=False, axis="x")
    axis.margins(y=0.12)
    axis.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), borderaxespad=0.0)
    return figure, axis


def _short(value: float) -> str:
    """Three digits, never an exponent.

    >>> _short(0.1234), _short(12.34), _short(1234.5)
    ('0.123', '12.3', '1234')
    """
    return f"{value:.3g}" if abs(value) < 1000.0 else f"{value:.0f}"
