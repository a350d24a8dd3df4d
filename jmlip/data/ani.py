"""ANI-style HDF5: groups of conformers of one molecule, in hartree and angstrom.

Two layouts are read. ANI-1x / ANI-1ccx: `atomic_numbers`, `coordinates`, and labels of several
levels of theory, `<level>.energy` and `<level>.forces`, NaN where a level was not computed. ANI-1,
ANI-2x and COMP6: `species`, `coordinates`, `energies`, `forces`; groups may nest. Conformers
without any of these labels are left out. Rows are read in blocks, so memory is bounded.
"""

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from ase.data import atomic_numbers

from jmlip.core.errors import DataError
from jmlip.data.labels import LabelOptions, RawFrame
from jmlip.data.units import Units

UNITS = Units(energy="hartree", length="angstrom")
_BLOCK = 1024
_PLAIN = {"energy": ("energies", "energy"), "forces": ("forces", "force")}


def frames(path: Path, options: LabelOptions) -> Iterator[Callable[[], RawFrame]]:
    """The labelled conformers of a file, group by group.

    Raises:
        DataError: no molecule, no level chosen among several, or shapes that disagree.
    """
    with _open(path) as file:
        if "h5md" in file:
            raise DataError(
                f"{path} is an H5MD trajectory, which MDAnalysis and h5py read; for jmlip, write "
                "trajectories to .xyz."
            )
        groups = _molecules(file)
        if not groups:
            raise DataError(f"{path} must hold groups with 'coordinates', found none.")
        names = _label_names(groups, options)
        for group in groups:
            yield from _conformers(group, names)


def _open(path: Path) -> h5py.File:
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise DataError(f"{path} is truncated or not an HDF5 file; obtain it again.") from error


def _molecules(file: h5py.File) -> list[Any]:
    found: list[Any] = []

    def visit(_: str, item: Any) -> None:
        if isinstance(item, h5py.Group) and "coordinates" in item:
            found.append(item)

    visit("", file)
    file.visititems(visit)
    return found


def _label_names(groups: list[Any], options: LabelOptions) -> dict[str, str]:
    """The data set that holds each label; a key of the user is a label of its own name."""
    present = sorted({name for group in groups for name in group})
    for key in options.asked:
        if key not in present:
            raise DataError(
                f"no group has the key {key!r}; keys that are there: {', '.join(present)}."
            )
    names = {key: key for key in options.asked}
    plain = {label: next((n for n in _PLAIN[label] if n in present), "") for label in _PLAIN}
    levels = [name.removesuffix(".energy") for name in present if name.endswith(".energy")]
    if options.level is not None:
        if options.level not in levels:
            raise DataError(
                f"level must be one of those in the file ({', '.join(levels) or 'none'}), "
                f"found {options.level!r}."
            )
        return {label: f"{options.level}.{label}" for label in _PLAIN} | names
    if levels and not names and not any(plain.values()):
        raise DataError(
            f"the file holds several levels of theory; choose one by level: {', '.join(levels)}."
        )
    return names or {label: name for label, name in plain.items() if name}


def _conformers(group: Any, names: dict[str, str]) -> Iterator[Callable[[], RawFrame]]:
    coordinates: Any = group["coordinates"]
    if coordinates.ndim != 3:
        raise DataError(f"{group.name}: coordinates must have shape (conformers, atoms, 3).")
    species = _species(group)
    columns: dict[str, Any] = {k: group[name] for k, name in names.items() if name in group}
    for name in ("species", "cell"):  # one for the group, or one for each conformer
        if name in group and len(group[name].shape) == {"species": 2, "cell": 3}[name]:
            columns[name] = species if name == "species" else group[name]
    for name, column in columns.items():
        if len(column) != len(coordinates):
            raise DataError(
                f"{group.name}: {name} must have {len(coordinates)} rows, found {len(column)}."
            )
    for start in range(0, len(coordinates), _BLOCK):
        rows = slice(start, start + _BLOCK)
        block = {name: column[rows] for name, column in columns.items()}
        for i, positions in enumerate(coordinates[rows]):
            row = {k: v[i] for k, v in block.items() if not np.isnan(v[i]).any()}
            if not names or any(label in row for label in names):
                row = {"species": species, "positions": positions} | row
                yield functools.partial(_frame, group.name, row)


def _frame(name: str, row: dict[str, Any]) -> RawFrame:
    species, positions, cell = row.pop("species"), row.pop("positions"), row.pop("cell", None)
    return RawFrame(
        species=species,
        positions=positions,
        cell=cell,
        pbc=np.full(3, cell is not None),
        results={key: value for key, value in row.items() if key in _PLAIN},
        arrays={},
        info={key: value for key, value in row.items() if key not in _PLAIN} | {"group": name},
    )


def _species(group: Any) -> np.ndarray:
    item: Any = group.get("atomic_numbers", group.get("species"))
    if item is None:
        raise DataError(f"{group.name} must hold atomic_numbers or species, found neither.")
    values = np.asarray(item[()])
    if values.dtype.kind in "iu":
        return values
    symbols = [s.decode() if isinstance(s, bytes) else str(s) for s in values.ravel().tolist()]
    try:
        return np.array([atomic_numbers[symbol] for symbol in symbols]).reshape(values.shape)
    except KeyError as error:
        raise DataError(
            f"{group.name}: species must be chemical symbols, found {error.args[0]!r}."
        ) from error
