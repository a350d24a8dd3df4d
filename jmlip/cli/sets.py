"""The structures of a training run: files to training, validation and test sets."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from jmlip.cli.config import FILE_FIELDS, DataConfig
from jmlip.core.errors import ConfigError, DataError
from jmlip.core.structure import Structure
from jmlip.data import (
    Hidden,
    StructureStore,
    Subset,
    check_force_sign,
    is_store,
    read,
    split_by_blocks,
    split_by_composition,
    split_random,
)
from jmlip.data.hiding import LabelName
from jmlip.graphs.frames import head_name


class Sets(NamedTuple):
    """The structures of a run; the test sets go by the names of their files."""

    train: Sequence[Structure]
    validation: Sequence[Structure]
    tests: Mapping[str, Sequence[Structure]]


def read_sets(config: DataConfig, *, heads: Sequence[str] = ()) -> Sets:
    """Training, validation and test structures.

    Args:
        config: the section.
        heads: of the model; with any, every structure must name one of them.

    Raises:
        ConfigError: a file does not exist or is named twice, or a part is larger than what there
            is.
        DataError: a file is damaged, or holds gradients in place of forces; a weight or a head is
            wrong.
    """
    for name in FILE_FIELDS:
        for path in config.files(name):
            if not path.exists():
                raise ConfigError(f"data.{name} must name files that exist, found none at {path}.")
    _require_no_copies(config)
    structures = read_files(config, "train", heads)
    if config.validation is not None:
        rest, validation = structures, read_files(config, "validation", heads)
    else:
        rest, validation = _split(config, structures)
    if config.n_train is not None:
        if config.n_train > len(rest):
            raise ConfigError(
                f"data.n_train must be at most the {len(rest)} structures there are to train on, "
                f"found {config.n_train}."
            )
        kept = split_random(len(rest), {"train": config.n_train}, seed=config.split_seed)
        rest = Subset(rest, kept["train"])
    return Sets(rest, validation, _read_tests(config, heads))


def read_files(config: DataConfig, name: str, heads: Sequence[str] = ()) -> Sequence[Structure]:
    """The structures of all files of a field; of one of the heads each, if there are any."""
    paths = config.files(name)
    hide = config.hide if name in ("train", "validation") else ()
    if len(paths) == 1:
        return _read_file(config, paths[0], heads, hide)
    return [structure for path in paths for structure in _read_file(config, path, heads, hide)]


def _require_no_copies(config: DataConfig) -> None:
    """What is learned from twice counts twice, and validates nothing where it is split off."""
    for names in (("train", "validation"), ("test",)):
        paths = [path for name in names for path in config.files(name)]
        resolved = [path.resolve() for path in paths]
        if twice := [path for i, path in enumerate(paths) if resolved[i] in resolved[:i]]:
            fields = " and ".join(f"data.{name}" for name in names)
            raise ConfigError(
                f"{fields} must name every file once, found {twice[0]} twice; remove one."
            )


def _read_file(
    config: DataConfig, path: Path, heads: Sequence[str], hide: Sequence[LabelName] = ()
) -> Sequence[Structure]:
    structures = _open_file(config, path)
    _require_weights_and_heads(structures, path, heads)
    if hide:
        structures = Hidden(structures, hide)
    if config.forces_are_gradients is None:
        _require_forces(structures, path)
    return structures


def _open_file(config: DataConfig, path: Path) -> Sequence[Structure]:
    labels = (config.energy_key, config.forces_key, config.stress_key, config.units)
    if is_store(path) and labels == (None,) * 4 and not config.forces_are_gradients:
        return StructureStore(path)  # may be larger than memory
    return read(
        path,
        energy_key=config.energy_key,
        forces_key=config.forces_key,
        stress_key=config.stress_key,
        units=config.units,
        forces_are_gradients=bool(config.forces_are_gradients),
    )


def _read_tests(config: DataConfig, heads: Sequence[str]) -> dict[str, Sequence[Structure]]:
    paths = config.files("test")
    names = [path.stem for path in paths]
    if len(set(names)) < len(names):
        names = [str(path) for path in paths]
    return {name: _read_file(config, path, heads) for name, path in zip(names, paths, strict=True)}


def _split(config: DataConfig, structures: Sequence[Structure]) -> tuple[Subset, Subset]:
    fraction = 0.1 if config.validation_fraction is None else config.validation_fraction
    parts = {"train": 1.0 - fraction, "validation": fraction}
    n, seed = len(structures), config.split_seed
    try:
        if config.split == "blocks":
            split = split_by_blocks(n, parts, n_blocks=min(n, 20), seed=seed)
        elif config.split == "composition":
            split = split_by_composition(structures, parts, seed=seed)
        else:
            split = split_random(n, parts, seed=seed)
    except DataError as error:
        raise DataError(
            f"{str(error).removesuffix('.')} (data.validation_fraction, now {fraction:g}), give "
            "more structures, or files of their own in data.validation."
        ) from error
    return Subset(structures, split["train"]), Subset(structures, split["validation"])


def _require_weights_and_heads(
    structures: Sequence[Structure], path: Path, heads: Sequence[str]
) -> None:
    """Refuse what training reads from `info` while file and frame are still known."""
    for number, structure in enumerate(structures):
        try:
            _ = structure.energy_weight, structure.forces_weight
            if heads:
                head_name(structure, heads)
        except DataError as error:
            raise DataError(f"{path}, frame {number}: {error}") from error


def _require_forces(structures: Sequence[Structure], path: Path) -> None:
    """Refuse forces that are gradients by the evidence of the data; mention odd units."""
    if not any(s.forces is not None for s in structures):
        return
    found = check_force_sign(structures)
    if found.verdict == "gradients":
        raise DataError(
            f"forces must be -dE/dR, but those of {path} look like +dE/dR (slope of energy "
            f"differences on their work {found.energy_slope:+.2f}); set "
            "data.forces_are_gradients = true, or false if they are forces all the same."
        )
    if found.unit_hint:
        print(f"notice: the forces of {path} {found.unit_hint}.", file=sys.stderr)
