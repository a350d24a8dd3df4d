"""The section `model` of a configuration: what is given, and what follows from the data.

The model, or a part of a pair, may be given as `potential`, a directory: then kind, fields and
first parameters are those of that potential. With `baseline`, a directory, the section is that of a
correction to that potential: together they are a pair, whose small part stays as it is. With
`heads`, names, the model gets readouts for each of several data sets.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

from ase.data import covalent_radii

from jmlip.cli.model_starts import (
    Table,
    as_pair,
    check_baseline,
    check_start,
    correction_of,
    head_names,
    parts_of,
    start_of,
    trunk_of,
)
from jmlip.core.config import to_dict
from jmlip.core.errors import ConfigError
from jmlip.data import Statistics
from jmlip.factory import HEADS, MODELS, load_potential, make_model

R_LOW, R_HIGH = 0.95, 0.85
"""Begin and end of the initial radial functions: in units of the shortest distance, the cutoff."""
SMALLEST = sorted(range(1, 97), key=lambda z: covalent_radii[z])
PER_ELEMENT = ("pair_cutoffs", "mean_neighbors", "energy_scale")
"""Fields that may have a value, or a row, for each element."""


def kind_of(section: Table) -> str:
    """Name of the model."""
    if "heads" in section:
        return HEADS
    if "baseline" in section:
        return "pair"
    if "potential" in section:
        return load_potential(section["potential"]).kind
    return str(section.get("kind", "hipnn"))


def check_model(section: Table) -> None:
    """Refuse what no data could make right.

    Raises:
        ConfigError: an unknown kind or field, or an impossible value.
    """
    if "species" in section:
        raise ConfigError("model.species comes from the data; remove it.")
    if "heads" in section:
        _check_heads(section)
        return
    if "baseline" in section:
        check_baseline(section)
        check_model(correction_of(section))
        return
    if "potential" in section:
        check_start("model", section)
        return
    if kind_of(section) != "pair":
        complete_model(section, _stand_ins(section), None)
        return
    tables = parts_of(section)
    for name, table in tables.items():
        if "potential" in table:
            check_start(f"model.{name}", table)
            tables = {**tables, name: {"kind": "hipnn"}}  # stands for the one that is read later
    complete_model({"kind": "pair", **tables}, _stand_ins(*tables.values()), None)


def _stand_ins(*sections: Table) -> tuple[int, ...]:
    """As many elements as the sections have values for, the smallest ones, before data are read."""
    given = [section.get(name) for section in sections for name in PER_ELEMENT]
    n = max((len(value) for value in given if isinstance(value, list | tuple)), default=1)
    return tuple(sorted(SMALLEST[: max(n, 1)]))


def complete_model(section: Table, species: tuple[int, ...], shortest: float | None) -> Any:
    """The model with what follows from the data.

    Args:
        section: as given.
        species: atomic numbers in the data.
        shortest: distance in the training set, angstrom; the initial radial functions of a model
            span from there to the cutoff, unless they are given.

    Raises:
        ConfigError: not a model, or none that can be trained; or it starts from a potential of
            other elements.
    """
    model = _completed(section, species, shortest)
    for part in (model, *(getattr(model, name, None) for name in ("small", "large", "trunk"))):
        if getattr(getattr(part, "config", None), "radial_table", 0):
            raise ConfigError(
                "a table in place of a radial network (radial_table) cannot be trained: train the "
                "network, then use jmlip tabulate."
            )
    return model


def _completed(section: Table, species: tuple[int, ...], shortest: float | None) -> Any:
    if "heads" in section:
        heads = {name: [0.0] * len(species) for name in head_names(section)}  # until the data say
        trunk = _part_fields(trunk_of(section), species, shortest)
        return make_model(HEADS, {"species": [*species], "heads": heads, "trunk": trunk})
    if "potential" in section:
        fields = _part_fields(section, species, shortest)
        return make_model(fields.pop("kind"), {"species": [*species], **fields})
    kind = kind_of(section)
    if kind != "pair":
        return make_model(kind, _single_fields(section, species, shortest))
    if "baseline" in section:
        section = as_pair(section)
    tables = {name: _part_fields(t, species, shortest) for name, t in parts_of(section).items()}
    return make_model(kind, {"species": [*species], **tables})


def resolve_model(
    section: Table,
    species: tuple[int, ...],
    statistics: Callable[[float], Statistics],
    *,
    shift_by_mean: bool,
) -> dict[str, Any]:
    """The section with everything filled in that follows from the data.

    Args:
        section: as given.
        species: atomic numbers in the data.
        statistics: of the training set, for a cutoff; with a baseline, of its differences from it.
        shift_by_mean: atomic energies begin at their mean, unless a shift is given.
    """
    if "heads" in section:
        own = resolve_model(trunk_of(section), species, statistics, shift_by_mean=shift_by_mean)
        return {"heads": [*head_names(section)], **own}
    if "baseline" in section:
        own = resolve_model(correction_of(section), species, statistics, shift_by_mean=False)
        return {"baseline": section["baseline"], **own}
    if "potential" in section:
        return dict(section)
    kind = kind_of(section)
    if kind == "pair":
        parts = {
            # the large part adds what is left: nothing, on the average
            name: resolve_model(
                table, species, statistics, shift_by_mean=shift_by_mean and name == "small"
            )
            if "potential" not in table
            else dict(table)
            for name, table in parts_of(section).items()
        }
        return {"kind": kind, **parts}
    found = statistics(complete_model(section, species, None).config.cutoff)
    plain = to_dict(complete_model(section, species, found.shortest_distance).config)
    del plain["species"]
    if shift_by_mean and "energy_shift" not in section:
        # the energy of binding is a constant that training need not find first
        plain["energy_shift"] = round(found.energy_per_atom_mean or 0.0, 4)
    if "mean_neighbors" in plain:
        measured = {
            "mean_neighbors": found.mean_neighbors or 1.0,
            "energy_scale": found.force_rms or 1.0,
        }
        plain |= {k: round(v, 4) for k, v in measured.items() if k not in section}
    return {"kind": kind, **plain}


def known_model(section: Table, *, shift_by_mean: bool) -> dict[str, Any]:
    """Kind and all fields of the model, except those that only the data can tell."""
    if "heads" in section:
        own = known_model(trunk_of(section), shift_by_mean=shift_by_mean)
        return {"heads": [*head_names(section)], **own}
    if "baseline" in section:
        own = known_model(correction_of(section), shift_by_mean=False)
        return {"baseline": section["baseline"], **own}
    if "potential" in section:
        return dict(section)
    kind = kind_of(section)
    if kind == "pair":
        parts = {
            name: dict(table)
            if "potential" in table
            else known_model(table, shift_by_mean=shift_by_mean and name == "small")
            for name, table in parts_of(section).items()
        }
        return {"kind": kind, **parts}
    near, far = (
        to_dict(complete_model(section, _stand_ins(section), shortest).config)
        for shortest in (None, 0.1)
    )
    known = {name: value for name, value in near.items() if far.get(name) == value}
    del known["species"]
    if shift_by_mean and "energy_shift" not in section:
        known.pop("energy_shift", None)
    if "mean_neighbors" in known:  # with it the scale is that of the forces
        for name in {"mean_neighbors", "energy_scale"} - set(section):
            known.pop(name)
    return {"kind": kind, **known}


def _check_heads(section: Table) -> None:
    names = section["heads"]
    if not (isinstance(names, list | tuple) and names and all(isinstance(n, str) for n in names)):
        raise ConfigError(f"model.heads must be an array of names, found {names!r}.")
    if len(set(names)) < len(names):
        raise ConfigError(f"model.heads must name each head once, found {[*names]}.")
    if "baseline" in section or section.get("kind") == "pair":
        found = "model.baseline" if "baseline" in section else "model.kind = 'pair'"
        raise ConfigError(f"a model with heads must be a single model, found {found}; remove it.")
    check_model(trunk_of(section))
    stands_for = {"heads": names} if "potential" in section else section
    complete_model(stands_for, _stand_ins(section), None)


def _single_fields(
    section: Table, species: tuple[int, ...], shortest: float | None
) -> dict[str, Any]:
    given = {name: value for name, value in section.items() if name != "kind"}
    fields: dict[str, Any] = {"species": [*species]}
    kind = kind_of(section)
    known = dataclasses.fields(MODELS[kind][1]) if kind in MODELS else ()
    defaults = {field.name: field.default for field in known}
    cutoff = given.get("cutoff", defaults.get("cutoff"))
    if {"r_low", "r_high"} <= set(defaults) and isinstance(cutoff, int | float):
        fields["r_high"] = round(R_HIGH * cutoff, 3)
        fields["r_low"] = round(R_LOW * (shortest or 0.5 * cutoff), 3)
    return fields | given


def _part_fields(table: Table, species: tuple[int, ...], shortest: float | None) -> dict[str, Any]:
    if "potential" in table:
        start = start_of(table, species)
        kind, fields = start.kind, to_dict(start.model.config)  # type: ignore[attr-defined]
    else:
        kind, fields = kind_of(table), _single_fields(table, species, shortest)
    del fields["species"]
    return {"kind": kind, **fields}
