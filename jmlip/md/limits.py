"""Limits: a run that passes one is no longer what was meant, and ends with a message.

Looked at are the frames of the trajectory. It ends with the frame that passed the limit, which is
worth a label where a potential is to become better; the checkpoint is one from before it.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float

from jmlip.analysis.distances import shortest_distance
from jmlip.core.errors import ConfigError, DivergenceError
from jmlip.core.structure import Structure
from jmlip.md.trajectory import Frames
from jmlip.potentials.potential import Potential


@dataclasses.dataclass(frozen=True, kw_only=True)
class Limits:
    """What ends a run; left out, nothing but numbers that are not finite and atoms that fly off.

    The spread of the forces on atom i among M potentials of an ensemble is

        sigma_i = sqrt(1/M sum_m |F_i^m - <F_i>|^2),

    and the largest of all atoms is compared with its limit.

    Args:
        max_temperature_K: largest temperature.
        max_force_eV_A: largest force on an atom, eV / angstrom.
        min_distance_A: shortest distance of two atoms, images included, angstrom.
        max_spread_eV_A: largest spread of forces, eV / angstrom; needs `committee`.
        committee: the potentials of an ensemble (`jmlip.load_ensemble`), two or more.

    Raises:
        ConfigError: a limit is not positive, or spread and committee are not given together.
    """

    max_temperature_K: float | None = None
    max_force_eV_A: float | None = None
    min_distance_A: float | None = None
    max_spread_eV_A: float | None = None
    committee: Sequence[Potential] = ()

    def __post_init__(self):
        for name, value in vars(self).items():
            if name != "committee" and value is not None and not 0.0 < value < math.inf:
                raise ConfigError(f"{name} must be positive, found {value}.")
        if (self.max_spread_eV_A is None) != (len(self.committee) == 0):
            raise ConfigError(
                "max_spread_eV_A (--max-spread) and committee (--committee) belong together: give "
                "both or neither."
            )
        if len(self.committee) == 1:
            raise ConfigError("a committee must have at least two potentials, found one.")


NO_LIMITS = Limits()


class Passed(NamedTuple):
    """The first frame beyond a limit."""

    frame: int
    what: str

    def error(self, where: str, out: str) -> DivergenceError:
        """What ends the run."""
        return DivergenceError(
            f"{where} {self.what}; {out} ends with this frame, and the checkpoint stands before "
            "it: train the potential on such structures, or go on with another limit (--restart)."
        )


def require_known(limits: Limits, structures: Sequence[Structure]) -> None:
    """Refuse a committee that does not know the elements of some structures.

    Raises:
        PotentialError: naming them.
    """
    for member in limits.committee:
        for structure in structures:
            member.require_known(structure)


def first_passed(frames: Frames, structure: Structure, limits: Limits) -> Passed | None:
    """The first of some frames that passes a limit, and which; None if none does.

    Args:
        frames: of a run of `structure`.
        structure: species, cell and periodicity.
        limits: what to look at.
    """
    tests = (
        (_temperature, limits.max_temperature_K),
        (_force, limits.max_force_eV_A),
        (_distance, limits.min_distance_A),
        (_spread, limits.max_spread_eV_A),
    )
    asked = [test for test, limit in tests if limit is not None]
    found = [passed for test in asked if (passed := test(frames, structure, limits))]
    return min(found, key=lambda passed: passed.frame, default=None)


def up_to(frames: Frames, passed: Passed | None) -> Frames:
    """The frames up to that which passed a limit."""
    end = len(frames.step) if passed is None else passed.frame + 1
    return jax.tree.map(lambda leaf: leaf[:end], frames)


def largest_spread(
    committee: Sequence[Potential], structures: Sequence[Structure]
) -> Float[np.ndarray, " structures"]:
    """Largest spread of the forces on an atom, of each structure, eV / angstrom."""
    predicted = zip(*(member.predict(structures) for member in committee), strict=True)
    largest = []
    for of_all in predicted:
        forces = np.stack([one.forces for one in of_all])
        square = np.sum((forces - forces.mean(axis=0)) ** 2, axis=-1)
        largest.append(np.sqrt(square.mean(axis=0)).max())
    return np.array(largest)


def _temperature(frames: Frames, structure: Structure, limits: Limits) -> Passed | None:
    limit = limits.max_temperature_K
    return _above("the temperature was {:.0f} K, above {:g} K", frames.temperature_K, limit)


def _force(frames: Frames, structure: Structure, limits: Limits) -> Passed | None:
    norms = np.linalg.norm(frames.forces, axis=-1).max(axis=-1)
    return _above(
        "the largest force was {:.3g} eV/angstrom, above {:g}", norms, limits.max_force_eV_A
    )


def _distance(frames: Frames, structure: Structure, limits: Limits) -> Passed | None:
    limit = limits.min_distance_A
    assert limit is not None
    for k, moved in enumerate(_structures(frames, structure)):
        distance = shortest_distance(moved, below=limit)
        if distance is not None:
            return Passed(k, f"two atoms were {distance:.3f} angstrom apart, below {limit:g}")
    return None


def _spread(frames: Frames, structure: Structure, limits: Limits) -> Passed | None:
    spread = largest_spread(limits.committee, _structures(frames, structure))
    text = "potentials of the committee differed by {:.3g} eV/angstrom in a force, above {:g}"
    return _above(text, spread, limits.max_spread_eV_A)


def _structures(frames: Frames, structure: Structure) -> list[Structure]:
    places = zip(frames.positions, frames.cell, strict=True)
    return [structure.replace(positions=x, cell=cell) for x, cell in places]


def _above(text: str, values: np.ndarray, limit: float | None) -> Passed | None:
    over = np.flatnonzero(values > limit)
    return Passed(int(over[0]), text.format(values[over[0]], limit)) if len(over) else None
