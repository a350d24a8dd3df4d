"""Parts of the section `model`, and the trained potentials that a model may start from."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from jmlip.core.config import unknown
from jmlip.core.errors import ConfigError
from jmlip.core.types import Params
from jmlip.factory import HEADS, KINDS, load_potential
from jmlip.models.heads import TRUNK, split_readouts
from jmlip.models.pair import PARTS
from jmlip.potentials.potential import Potential

Table = Mapping[str, Any]


def started(section: Table, potential: Potential) -> Potential:
    """The potential with the parameters of those that it, or its parts, start from."""
    if "baseline" in section:
        small = baseline_of(section, potential.species)
        assert small is not None
        return dataclasses.replace(potential, params={**potential.params, "small": small.params})
    if "potential" in section:
        start = start_of(section, potential.species)
        params = start.params
        if "heads" in section:  # the trunk, and for every head the same readouts
            trunk, own = split_readouts(start.model, params)
            params = {TRUNK: trunk, **dict.fromkeys(head_names(section), own)}
        return dataclasses.replace(potential, params=params)
    starts: dict[str, Params] = {}
    if section.get("kind") == "pair":
        for name, table in parts_of(section).items():
            if "potential" in table:
                start = start_of(table, potential.species)
                _require_same_references(name, table, start, potential)
                starts[name] = start.params
    return dataclasses.replace(potential, params={**potential.params, **starts})


def baseline_of(section: Table, species: tuple[int, ...]) -> Potential | None:
    """The potential that a correction is learned to, if there is one.

    Raises:
        ConfigError: it knows other elements than the training set has, or is a pair.
        PotentialError: it cannot be read.
    """
    if "baseline" not in section:
        return None
    found = start_of({"potential": section["baseline"]}, species)
    if found.kind == "pair":
        raise ConfigError(
            f"model.baseline must be a single model, found a pair in {section['baseline']}; a pair "
            "goes on learning with model.potential."
        )
    return found


def head_names(section: Table) -> tuple[str, ...]:
    """Names of the heads, none without."""
    return tuple(section.get("heads", ()))


def parts_of(section: Table) -> dict[str, Table]:
    fields = [name for name in section if name != "kind"]
    for name in (*PARTS, *fields):
        if name not in PARTS:
            raise ConfigError(unknown(name, PARTS, what=f"key 'model.{name}' of a pair"))
        if not isinstance(section.get(name), Mapping):
            raise ConfigError(
                f"model.{name} of a pair must be a table with kind, one of "
                f"{', '.join(KINDS[:-1])}, and fields of that model, or with potential, found "
                f"{section.get(name)}."
            )
        if "kind" not in section[name] and "potential" not in section[name]:
            raise ConfigError(f"model.{name} must have kind, or potential, found neither.")
        if "species" in section[name]:
            raise ConfigError(f"model.{name}.species comes from the data; remove it.")
    return {name: section[name] for name in PARTS}


def trunk_of(section: Table) -> dict[str, Any]:
    return {name: value for name, value in section.items() if name != "heads"}


def correction_of(section: Table) -> dict[str, Any]:
    own = {name: value for name, value in section.items() if name != "baseline"}
    return {"kind": "hipnn", **own}


def as_pair(section: Table) -> dict[str, Any]:
    small = {"potential": section["baseline"]}
    return {"kind": "pair", "small": small, "large": correction_of(section)}


def check_baseline(section: Table) -> None:
    if not (isinstance(section["baseline"], str) and section["baseline"]):
        raise ConfigError(
            "model.baseline must be the directory of a potential, found "
            f"{section['baseline']!r}; all other fields are those of the correction."
        )
    if "potential" in section or section.get("kind") == "pair":
        found = "model.potential" if "potential" in section else "model.kind = 'pair'"
        raise ConfigError(
            "the correction to model.baseline must be a single model with fields of its own, found "
            f"{found}; remove it, or learn without a baseline."
        )


def check_start(name: str, table: Table) -> None:
    place = table["potential"]
    if not (isinstance(place, str) and place):
        raise ConfigError(
            f"{name}.potential must be the directory of a potential, found {place!r}; name the "
            "directory 'potential' of a run, or remove the key to begin with random parameters."
        )
    if set(table) != {"potential"}:
        others = ", ".join(name for name in table if name != "potential")
        raise ConfigError(
            f"{name}.potential must stand alone, kind and fields being those of that potential, "
            f"found {others} beside it; remove one or the other."
        )


def start_of(table: Table, species: tuple[int, ...]) -> Potential:
    start = load_potential(table["potential"])
    if start.kind == HEADS:
        raise ConfigError(
            f"training must start from one head, found the {len(start.heads or ())} of "
            f"{table['potential']}; name one of {', '.join(start.heads or ())} in the directory "
            "'heads' of its run."
        )
    if start.species != species:
        raise ConfigError(
            f"{table['potential']} must know the elements of the training set, {species}, and no "
            f"others, found {start.species}; choose a potential trained on such data."
        )
    return start


def _require_same_references(
    name: str, table: Table, start: Potential, potential: Potential
) -> None:
    pairs = zip(start.reference_energies, potential.reference_energies, strict=True)
    if any(abs(a - b) > 1.0e-6 * max(1.0, abs(b)) for a, b in pairs):
        raise ConfigError(
            f"the reference energies of {table['potential']}, from which model.{name} starts, must "
            f"be those of this training set, {potential.reference_energies} eV, found "
            f"{start.reference_energies}; train it with the same section [data]."
        )
