"""Do atoms come closer than any did in training? There a potential only guesses."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from jmlip.analysis.distances import shortest_distance
from jmlip.core.structure import Structure
from jmlip.md.trajectory import Frames

MARGIN = 0.95
"""Of the shortest distance in training: other samples of the same kind reach a little below it."""
MOST_FRAMES = 100
"""Frames of a chunk that are looked at, evenly spaced."""


class Approach(NamedTuple):
    """Two atoms closer than any in the training data."""

    distance: float  # angstrom
    step: int
    known: float  # shortest distance in the training data, angstrom

    def __str__(self) -> str:
        return (
            f"atoms came as close as {self.distance:.3f} angstrom (step {self.step}), closer than "
            f"any in the training data ({self.known:.3f}): energies and forces are guesses there"
        )


def closest_approach(
    frames: Frames, structure: Structure, statistics: Mapping[str, Any]
) -> Approach | None:
    """The closest approach in some frames; None if training knows such, or tells nothing.

    Args:
        frames: of a run of `structure`.
        structure: species, cell and periodicity.
        statistics: of the potential; `shortest_distance` is what is needed.
    """
    known = statistics.get("shortest_distance")
    if known is None:
        return None
    found = None
    for i in range(0, len(frames.step), 1 + (len(frames.step) - 1) // MOST_FRAMES):
        bound = found.distance if found else MARGIN * known
        moved = structure.replace(positions=frames.positions[i])
        distance = shortest_distance(moved, below=bound)
        if distance is not None:
            found = Approach(distance, int(frames.step[i]), known)
    return found
