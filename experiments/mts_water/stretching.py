"""Kinetic temperature of the O-H bonds of water along themselves, and the spread of their lengths.

    python -m experiments.mts_water.stretching runs/mts_water/dynamics-seed0/*nvt.h5md

For each bond, with m the reduced mass and w the relative velocity along it, T = m <w^2> / k.
"""

import sys
from pathlib import Path

import numpy as np

from experiments.mts_water.dynamics import COURSE, HYDROGEN, OXYGEN
from jmlip.analysis.estimates import mean_of_series
from jmlip.core import units
from jmlip.data.trajectory import Trajectory
from jmlip.data.trajectory_reading import read_trajectory


def stretching(trajectory: Trajectory) -> tuple[np.ndarray, np.ndarray]:
    """Temperature of each frame, K, and lengths of the bonds, angstrom, in every frame."""
    assert trajectory.velocities is not None
    everything = slice(None), slice(None)
    positions, velocities = (
        each.read(*everything) for each in (trajectory.positions, trajectory.velocities)
    )
    hydrogen = np.flatnonzero(trajectory.species == HYDROGEN)
    oxygen = _bound(trajectory, positions[0], hydrogen)
    bond = _nearest(positions[:, hydrogen] - positions[:, oxygen], trajectory.cell)
    length = np.linalg.norm(bond, axis=-1)
    along = np.sum((velocities[:, hydrogen] - velocities[:, oxygen]) * bond, axis=-1) / length
    light, heavy = trajectory.mass[hydrogen], trajectory.mass[oxygen]
    twice_kinetic = light * heavy / (light + heavy) * along**2
    return twice_kinetic.mean(axis=1) / units.KELVIN, length


def _bound(trajectory: Trajectory, positions: np.ndarray, hydrogen: np.ndarray) -> np.ndarray:
    oxygen = np.flatnonzero(trajectory.species == OXYGEN)
    between = positions[hydrogen][:, None] - positions[oxygen][None]
    distance = np.linalg.norm(_nearest(between, trajectory.cell), axis=-1)
    return oxygen[distance.argmin(axis=1)]


def _nearest(vectors: np.ndarray, cell: np.ndarray) -> np.ndarray:
    """Vectors to the nearest image, in a cell that is nearly cubic."""
    fractions = vectors @ np.linalg.inv(cell)
    return (fractions - np.round(fractions)) @ cell


if __name__ == "__main__":
    for path in map(Path, sys.argv[1:]):
        late = read_trajectory(path).select(skip_ps=COURSE.equilibration_ps)
        kelvin, length = stretching(late)
        mean = mean_of_series(kelvin).mean
        print(
            f"{path.name}: {late.n_frames} frames, O-H bonds {mean.value:.0f} ± {mean.error:.0f} K"
            f", length {length.mean():.4f} Å, spread {length.std():.4f} Å"
        )
