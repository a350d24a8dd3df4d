"""Several potentials of the same elements: their mean, their spread, and their place on disk.

    F = (1/M) sum_m F_m,      s^2 = 1/(M - 1) sum_m (F_m - F)^2,

and the same for energies, atomic energies and stress. On disk an ensemble is a directory with one
potential for each member, `potential_0`, `potential_1` ..., and `ensemble.json`, which names them
with the hashes of what they compute.
"""

import reprlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from ase.data import chemical_symbols
from jaxtyping import Float

from jmlip.core.checkpoint import read_json, whole_directory, write_json
from jmlip.core.errors import PotentialError
from jmlip.core.structure import Structure
from jmlip.potentials.hashing import content_hash
from jmlip.potentials.potential import Potential, save_potential
from jmlip.potentials.predict import Prediction

FORMAT, FORMAT_VERSION = "jmlip-ensemble", 1
FILE = "ensemble.json"
_WINDOW = 1024  # structures for which the predictions of all members are in memory at once


class EnsemblePrediction(NamedTuple):
    """What several potentials say of one structure."""

    mean: Prediction
    energy_spread: float  # standard deviation over the members, eV; 0 of one
    forces_spread: Float[np.ndarray, "n 3"]  # of each component, eV / angstrom


def predict_ensemble(
    members: Sequence[Potential],
    structures: Sequence[Structure],
    *,
    dtype: Literal["float32", "float64"] = "float32",
    batch_size: int = 32,
) -> list[EnsemblePrediction]:
    """Mean and spread of the predictions of several potentials.

    Members with one configuration of their model share one compiled program.

    Args:
        members: one or more potentials.
        structures: at any mix of elements that all members know.
        dtype: precision of the models.
        batch_size: structures evaluated at once, at most.

    Raises:
        PotentialError: there is no member, or one does not know an element, or predicts what is
            not finite.
    """
    require_members(members)
    found: list[EnsemblePrediction] = []
    for start in range(0, len(structures), _WINDOW):
        window = structures[start : start + _WINDOW]
        said = [m.predict(window, dtype=dtype, batch_size=batch_size) for m in members]
        found += [combine(predictions) for predictions in zip(*said, strict=True)]
    return found


def combine(predictions: Sequence[Prediction]) -> EnsemblePrediction:
    """Mean and spread of what the members say of one structure."""
    energies = np.array([p.energy for p in predictions])
    forces = np.stack([p.forces for p in predictions])
    atomic = np.mean([p.atomic_energies for p in predictions], axis=0)
    stresses = [p.stress for p in predictions if p.stress is not None]
    mean = Prediction(
        energy=float(energies.mean()),
        forces=forces.mean(axis=0),
        stress=np.mean(stresses, axis=0) if stresses else None,
        atomic_energies=atomic,
    )
    degrees = max(len(predictions) - 1, 1)
    return EnsemblePrediction(
        mean=mean,
        energy_spread=float(np.sqrt(np.sum((energies - mean.energy) ** 2) / degrees)),
        forces_spread=np.sqrt(np.sum((forces - mean.forces) ** 2, axis=0) / degrees),
    )


def require_members(members: Sequence[Potential]) -> None:
    """Refuse an ensemble without members, or with members of different elements.

    Raises:
        PotentialError: naming the elements.
    """
    if not members:
        raise PotentialError("an ensemble must have at least one member, found none.")
    for number, member in enumerate(members):
        if set(member.species) != set(members[0].species):
            first, other = (_symbols(m.species) for m in (members[0], member))
            raise PotentialError(
                "all members of an ensemble must know the same elements, found "
                f"{first} in member 0 and {other} in member {number}; leave one out."
            )


def _symbols(species: Sequence[int]) -> str:
    return ", ".join(chemical_symbols[z] for z in sorted(species))


def write_ensemble(members: Sequence[Potential], path: str | Path) -> None:
    """Write an ensemble as one directory, whole or not at all; `jmlip.load_ensemble` reads it.

    Raises:
        PotentialError: there is no member, or the members know different elements.
        JmlipError: the place cannot be written, or holds something else.
    """
    require_members(members)
    names = _names(len(members))
    with whole_directory(path) as directory:
        for name, member in zip(names, members, strict=True):
            save_potential(member, directory / name)
        table = {"format": FORMAT, "format_version": FORMAT_VERSION}
        hashes = {n: content_hash(m) for n, m in zip(names, members, strict=True)}
        write_json(directory / FILE, {**table, "members": hashes})


def is_ensemble(path: str | Path) -> bool:
    """Whether `path` is a directory with the table of an ensemble."""
    return (Path(path) / FILE).is_file()


def read_members(path: str | Path) -> dict[str, str]:
    """Names of the members of an ensemble directory and their hashes, as its table has them.

    Raises:
        PotentialError: the table is missing, damaged, or of another format.
    """
    file = Path(path) / FILE
    if Path(path).is_dir() and not file.is_file():
        raise PotentialError(
            f"{path} must be an ensemble, as jmlip ensemble leaves it, and holds no {FILE}; name "
            "the directory of the ensemble."
        )
    table: Any = read_json(file, error=PotentialError)
    if not isinstance(table, dict) or table.get("format") != FORMAT:
        raise PotentialError(f"{file} must be the table of an ensemble, of format {FORMAT!r}.")
    if table.get("format_version") != FORMAT_VERSION:
        raise PotentialError(
            f"{file} has version {table.get('format_version')!r}, this jmlip reads "
            f"{FORMAT_VERSION}; upgrade jmlip."
        )
    members = table.get("members")
    if not isinstance(members, dict) or [*members] != _names(max(len(members), 1)):
        raise PotentialError(
            f"{file}: members must be potential_0, potential_1 ..., found {reprlib.repr(members)}."
        )
    return {name: str(known) for name, known in members.items()}


def _names(n_members: int) -> list[str]:
    return [f"potential_{number}" for number in range(n_members)]
