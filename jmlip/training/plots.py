"""Pictures of a training run: learning curves, parity, errors by species and by size.

Every function returns a matplotlib figure that belongs to nobody: no global state, no window, no
file. One color per data set, the same in every picture.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from ase.data import chemical_symbols
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

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
    """Labels and predictions of one data set; NaN where a structure has no such label."""

    name: str
    n_atoms: Int[np.ndarray, " structures"]
    reference: Float[np.ndarray, " structures"]  # eV, sum of the isolated-atom references
    energy: Float[np.ndarray, " structures"]  # eV
    predicted_energy: Float[np.ndarray, " structures"]
    species: Int[np.ndarray, " atoms"]
    forces: Float[np.ndarray, "atoms 3"]  # eV / angstrom
    predicted_forces: Float[np.ndarray, "atoms 3"]

    @property
    def energy_error(self) -> Float[np.ndarray, " structures"]:
        """Error of the energy per atom, meV."""
        return 1000.0 * (self.predicted_energy - self.energy) / self.n_atoms

    @property
    def force_error(self) -> Float[np.ndarray, "atoms 3"]:
        """Error of the force components, meV / angstrom."""
        return 1000.0 * (self.predicted_forces - self.forces)


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
        label = (data.energy - data.reference) / data.n_atoms
        # test sets are the widest clouds and go to the back; validation, the smallest set, in front
        look = {"color": COLORS[k % len(COLORS)], "zorder": 2.0 if k == 1 else 1.9 - 0.1 * k}
        _parity_column(axes[:, 0], data.name, look, label, data.energy_error)
        _parity_column(axes[:, 1], data.name, look, data.forces.ravel(), data.force_error.ravel())
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
    axes: np.ndarray, name: str, look: dict, label: np.ndarray, error: np.ndarray
) -> None:
    known = np.flatnonzero(np.isfinite(label) & np.isfinite(error))
    if not len(known):
        return
    shown = known[:: max(1, -(-len(known) // MAX_POINTS))]
    rmse = np.sqrt(np.mean(error[known] ** 2))
    points = {"s": 5.0, "alpha": 0.5, "linewidths": 0.0, "rasterized": True, **look}
    axes[0].scatter(
        label[shown],
        label[shown] + error[shown] / 1000.0,
        label=f"{name}, RMSE {rmse:.3g}",
        **points,
    )
    axes[1].scatter(label[shown], error[shown], **points)


@styled
def errors_by_species(sets: Sequence[Comparison]) -> Figure:
    """Root mean square error of the force components on atoms of each element."""
    elements = sorted({int(z) for data in sets for z in data.species})
    figure, axes = new_figure(1, 1, (min(8.6, 2.4 + 0.55 * len(elements) * len(sets)), 3.0))
    width = 0.8 / len(sets)
    for k, (color, data) in enumerate(zip(COLORS, sets, strict=False)):
        values = [rms(data.force_error[data.species == z]) for z in elements]
        place = np.arange(len(elements)) + (k - (len(sets) - 1) / 2) * width
        bars = axes[0, 0].bar(place, values, 0.92 * width, color=color, label=data.name)
        if len(elements) * len(sets) <= 16:
            axes[0, 0].bar_label(bars, fmt="{:.3g}", padding=2, fontsize=8.5)
    axes[0, 0].set(title="Force error by element", ylabel="RMSE, meV/Å")
    axes[0, 0].set_xticks(range(len(elements)), [chemical_symbols[z] for z in elements])
    axes[0, 0].grid(visible=False, axis="x")
    axes[0, 0].margins(y=0.12)
    _legend_beside(axes[0, 0])
    return figure


@styled
def errors_by_size(sets: Sequence[Comparison]) -> Figure:
    """Root mean square error of the energy per atom for structures of each number of atoms."""
    figure, axes = new_figure(1, 1, (6.4, 3.0))
    for color, data in zip(COLORS, sets, strict=False):
        sizes, values = _by_size(data)
        axes[0, 0].plot(
            sizes, values, "o-", color=color, label=data.name, markersize=5, linewidth=1.0
        )
    axes[0, 0].set(title="Energy error by size", xlabel="atoms", ylabel="RMSE, meV/atom")
    axes[0, 0].xaxis.set_major_locator(MaxNLocator(integer=True))
    axes[0, 0].set_ylim(bottom=0.0)
    _legend_beside(axes[0, 0])
    return figure


def _by_size(data: Comparison, max_bins: int = 12) -> tuple[list[float], list[float]]:
    """Mean size and error in groups of equal size, or of similar size where there are many."""
    known = np.isfinite(data.energy_error)
    sizes = np.unique(data.n_atoms[known])
    groups = np.array_split(sizes, min(len(sizes), max_bins)) if len(sizes) else []
    members = [known & np.isin(data.n_atoms, group) for group in groups]
    return (
        [float(data.n_atoms[m].mean()) for m in members],
        [rms(data.energy_error[m]) for m in members],
    )


def rms(values: np.ndarray) -> float:
    """Root mean square of what is finite; NaN where nothing is."""
    known = values[np.isfinite(values)]
    return float(np.sqrt(np.mean(known**2))) if known.size else float("nan")


def mean_abs(values: np.ndarray) -> float:
    """Mean absolute value of what is finite; NaN where nothing is."""
    known = values[np.isfinite(values)]
    return float(np.mean(np.abs(known))) if known.size else float("nan")


def _legend_beside(axis: Axes) -> None:
    axis.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), borderaxespad=0.0)
