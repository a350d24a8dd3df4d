"""What is taken off the labels before a model learns them: energies of elements, a baseline."""

from collections.abc import Sequence
from typing import NamedTuple

from jmlip.cli.config import DataConfig, RunConfig
from jmlip.cli.model_starts import baseline_of, head_names
from jmlip.cli.sets import read_files
from jmlip.core.errors import ConfigError
from jmlip.core.structure import Structure
from jmlip.data import (
    Subset,
    reference_energies_from_isolated,
    reference_energies_least_squares,
    species_of,
)
from jmlip.graphs.frames import Heads, head_name, named_head
from jmlip.training.delta import aligned, differences


class Learned(NamedTuple):
    """The training set as the model itself sees it.

    Args:
        structures: with labels less those of a baseline, or with the energies of all heads on the
            scale of the first one.
        own: reference energies of these, eV.
        whole: reference energies of the potential, eV.
        heads: names of the heads and their reference energies, if there are several.
    """

    structures: Sequence[Structure]
    own: tuple[float, ...]
    whole: tuple[float, ...]
    heads: Heads | None


def learned(config: RunConfig, train: Sequence[Structure], species: tuple[int, ...]) -> Learned:
    """Take off the baseline, if there is one, or what tells the heads' references apart.

    Raises:
        ConfigError: a head has no structures, or not all elements.
        DataError: a structure names no head.
    """
    if names := head_names(config.model):
        heads = _heads(config.data, train, species, names)
        first = heads[names[0]]
        return Learned(aligned(train, heads, species), first, first, heads)
    baseline = baseline_of(config.model, species)
    if baseline is None:
        found = reference_energies(config.data, train, species)
        return Learned(train, found, found, None)
    left = differences(train, baseline, dtype=config.training.dtype)
    before = baseline.reference_energies
    whole = reference_energies(config.data, left, species, before=before)
    own = tuple(e - b for e, b in zip(whole, before, strict=True))
    return Learned(left, own, whole, None)


def _heads(
    config: DataConfig, train: Sequence[Structure], species: tuple[int, ...], names: tuple[str, ...]
) -> dict[str, tuple[float, ...]]:
    places: dict[str, list[int]] = {name: [] for name in names}
    for place, structure in enumerate(train):
        places[head_name(structure, names)].append(place)
    found = {}
    for name, own in places.items():
        part = Subset(train, own)
        if missing := set(species) - set(species_of(part)):
            raise ConfigError(
                f"the training set must have structures of every head with every element, found "
                f"none of head {name!r} with atomic numbers {sorted(missing)}; add some, or remove "
                "the head from model.heads."
            )
        found[name] = reference_energies(config, part, species, head=name)
    return found


def reference_energies(
    config: DataConfig,
    structures: Sequence[Structure],
    species: tuple[int, ...],
    *,
    before: tuple[float, ...] | None = None,
    head: str | None = None,
) -> tuple[float, ...]:
    """Energies of the elements, eV, in the way that section `data` names; 0 without energies.

    Args:
        config: the section.
        structures: training set; with a baseline, its differences from that.
        species: atomic numbers.
        before: reference energies of the baseline, if there is one.
        head: only isolated atoms of this head count, if there are several.
    """
    if config.reference == "isolated-atoms":
        atoms = read_files(config, "isolated_atoms")
        if head is not None:
            atoms = [atom for atom in atoms if named_head(atom) == head]
        return reference_energies_from_isolated(atoms, species)
    before = before or (0.0,) * len(species)
    if config.reference == "none" or not any(s.energy is not None for s in structures):
        return before
    found = reference_energies_least_squares(structures, species)
    return tuple(b + e for b, e in zip(before, found, strict=True))
