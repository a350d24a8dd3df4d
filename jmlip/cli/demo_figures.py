"""Pictures of the demonstration: is energy conserved, does the dynamics visit the same places?"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols, covalent_radii
from ase.neighborlist import neighbor_list
from jaxtyping import Float
from matplotlib.figure import Figure

from jmlip.core.structure import Structure
from jmlip.training.plots import COLORS, INK, new_figure, styled

N_BINS = 32


class Distribution(NamedTuple):
    """One panel: a normalized histogram of lengths for each source, on common bins."""

    title: str
    centers: Float[np.ndarray, " bins"]  # angstrom
    density: Mapping[str, Float[np.ndarray, " bins"]]
    unit: str


def bond_lengths(
    start: Structure, trajectories: Mapping[str, Float[np.ndarray, "frames atoms 3"]]
) -> list[Distribution]:
    """Distribution of bond lengths, one panel for each kind of bond in the start structure."""
    panels = []
    for kind, pairs in _bonds(start).items():
        samples = {name: _lengths(frames, pairs) for name, frames in trajectories.items()}
        low, high = np.quantile(np.concatenate(list(samples.values())), [0.0005, 0.9995])
        edges = np.linspace(low - 0.02, high + 0.02, N_BINS + 1)
        density = {n: np.histogram(x, edges, density=True)[0] for n, x in samples.items()}
        panels.append(Distribution(kind, _middle(edges), density, "density, 1/Å"))
    return panels


def radial_distribution(
    start: Structure,
    trajectories: Mapping[str, Float[np.ndarray, "frames atoms 3"]],
    *,
    r_max: float = 6.0,
) -> list[Distribution]:
    """g(r) of a periodic solid or liquid of one element."""
    edges = np.linspace(1.5, r_max, N_BINS + 1)
    shells = 4.0 / 3.0 * np.pi * np.diff(edges**3) * start.n_atoms / start.volume
    density = {}
    for name, frames in trajectories.items():
        counts = np.zeros(N_BINS)
        for positions in frames:
            atoms = Atoms(start.species, positions, cell=start.cell, pbc=start.pbc)
            counts += np.histogram(neighbor_list("d", atoms, r_max), edges)[0]
        density[name] = counts / (len(frames) * start.n_atoms * shells)
    return [Distribution("Radial distribution", _middle(edges), density, "g(r)")]


@styled
def distributions(panels: Sequence[Distribution]) -> Figure:
    """One panel per distribution: the first source filled, the others as lines."""
    figure, axes = new_figure(1, len(panels), (max(4.6, 2.6 * len(panels)), 2.8))
    for axis, panel in zip(axes[0], panels, strict=True):
        for k, (name, values) in enumerate(panel.density.items()):
            if k == 0:
                axis.fill_between(panel.centers, values, color=COLORS[0], alpha=0.45, label=name)
            else:
                axis.plot(panel.centers, values, color=COLORS[2], label=name)
        axis.set(title=panel.title, xlabel="distance, Å", ylim=(0.0, None))
    axes[0, 0].set_ylabel(panels[0].unit)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper right", ncols=len(labels))
    return figure


@styled
def energy_conservation(
    time_ps: Float[np.ndarray, " frames"],
    potential: Float[np.ndarray, " frames"],
    total: Float[np.ndarray, " frames"],
    *,
    drift: float,
) -> Figure:
    """Left what is exchanged, right what is kept, per atom and relative to the mean.

    Args:
        time_ps: of the frames.
        potential: potential energy per atom, meV.
        total: total energy per atom, meV.
        drift: slope of the total energy, meV / atom / ps, for the title.
    """
    figure, axes = new_figure(1, 2, (8.6, 2.9))
    few = slice(None, None, max(1, len(time_ps) // 4000))
    time_ps, potential, kept = time_ps[few], potential[few], (total - total.mean())[few]
    axes[0, 0].plot(time_ps, potential - potential.mean(), color=COLORS[0], linewidth=0.6)
    axes[0, 0].plot(time_ps, kept, color=COLORS[2])
    axes[0, 0].set(title="Potential (gray) and total energy", ylabel="meV/atom")
    axes[0, 1].plot(time_ps, kept, color=COLORS[2], linewidth=0.6)
    middle = (float(time_ps.mean()), 0.0)
    axes[0, 1].axline(middle, slope=drift, color=INK, linewidth=0.9, linestyle=(0, (3, 2)))
    axes[0, 1].set(title=f"Total energy: drift {drift:+.1e} meV/atom/ps", ylabel="meV/atom")
    for axis in axes[0]:
        axis.set_xlabel("time, ps")
    return figure


def _bonds(start: Structure) -> dict[str, np.ndarray]:
    """Pairs of atoms closer than 1.2 times the sum of their covalent radii, by kind."""
    radii = covalent_radii[start.species]
    first, second = np.triu_indices(start.n_atoms, 1)
    distance = np.linalg.norm(start.positions[first] - start.positions[second], axis=1)
    bonded = distance < 1.2 * (radii[first] + radii[second])
    kinds: dict[str, list] = {}
    for i, j in zip(first[bonded], second[bonded], strict=True):
        kind = "-".join(sorted(chemical_symbols[start.species[k]] for k in (i, j)))
        kinds.setdefault(kind, []).append((i, j))
    return {kind: np.array(pairs) for kind, pairs in sorted(kinds.items())}


def _lengths(frames: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    return np.linalg.norm(frames[:, pairs[:, 0]] - frames[:, pairs[:, 1]], axis=-1).ravel()


def _middle(edges: np.ndarray) -> np.ndarray:
    return 0.5 * (edges[1:] + edges[:-1])
