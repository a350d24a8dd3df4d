"""MD17 (sGDML) and rMD17 `.npz` files: one molecule, many frames, kcal/mol and angstrom."""

import contextlib
import functools
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np

from jmlip.core.errors import DataError
from jmlip.data.labels import RawFrame
from jmlip.data.units import Units

LAYOUTS: tuple[Mapping[str, str], ...] = (
    {"species": "z", "positions": "R", "energy": "E", "forces": "F"},
    {
        "species": "nuclear_charges",
        "positions": "coords",
        "energy": "energies",
        "forces": "forces",
    },
)
"""Names of the arrays in MD17 and in rMD17."""

_UNITS = {"Ang": "angstrom", "a0": "bohr", "kcal/mol": "kcal/mol", "eV": "eV", "Ha": "hartree"}


def frames(path: Path, keys: tuple[str, ...]) -> Iterator[Callable[[], RawFrame]]:
    """The frames of a file.

    Args:
        path: an npz file in one of `LAYOUTS`.
        keys: names of further per-frame arrays that hold labels.

    Raises:
        DataError: arrays are missing, hold objects, or have the wrong shape.
    """
    with _load(path) as file:
        layout = next((item for item in LAYOUTS if item["positions"] in file), None)
        if layout is None or layout["species"] not in file:
            raise DataError(
                "the file must hold R and z (MD17) or coords and nuclear_charges (rMD17), found "
                f"{', '.join(file.files) or 'nothing'}."
            )
        arrays = {name: _array(file, key) for name, key in layout.items() if key in file}
        for key in keys:
            if key not in file:
                raise DataError(
                    f"the file has no key {key!r}; keys that are there: {', '.join(file.files)}."
                )
        others = {key: _array(file, key) for key in keys}
    positions, species = arrays.pop("positions"), arrays.pop("species").reshape(-1)
    if positions.ndim != 3 or positions.shape[1:] != (len(species), 3):
        raise DataError(
            f"positions must have shape (frames, {len(species)}, 3), found {positions.shape}."
        )
    for name, array in {**arrays, **others}.items():
        if len(array) != len(positions):
            raise DataError(f"{name} must have {len(positions)} frames, found {len(array)}.")
    for i in range(len(positions)):
        yield functools.partial(_frame, i, species, positions, arrays, others)


def declared_units(path: Path) -> Units:
    """The units that the file names (`e_unit`, `r_unit`), else those of MD17.

    Raises:
        DataError: the file names a unit that is not known.
    """
    with _load(path) as file:
        names = [
            str(_array(file, key)) if key in file else default
            for key, default in (("e_unit", "kcal/mol"), ("r_unit", "Ang"))
        ]
    for name in names:
        if name not in _UNITS:
            raise DataError(
                f"the unit {name!r} that {path} names is not known (known: "
                f"{', '.join(_UNITS)}); give units=Units(...)."
            )
    return Units(energy=_UNITS[names[0]], length=_UNITS[names[1]])


def _frame(i, species, positions, arrays, others) -> RawFrame:
    return RawFrame(
        species=species,
        positions=positions[i],
        cell=None,
        pbc=np.zeros(3, bool),
        results={name: array[i] for name, array in arrays.items()},
        arrays={},
        info={name: array[i] for name, array in others.items()},
    )


@contextlib.contextmanager
def _load(path: Path) -> Iterator[np.lib.npyio.NpzFile]:
    with path.open("rb") as stream:
        try:
            file = np.load(stream, allow_pickle=False)
        except (ValueError, EOFError, zipfile.BadZipFile) as error:
            raise DataError(f"{path} is damaged or not an npz file; obtain it again.") from error
        if not isinstance(file, np.lib.npyio.NpzFile):
            raise DataError(f"{path} holds one array, not the several of an npz file.")
        yield file


def _array(file: np.lib.npyio.NpzFile, key: str) -> np.ndarray:
    try:
        return file[key]
    except ValueError as error:
        raise DataError(
            f"array {key!r} holds Python objects, which are never unpickled; "
            "store it as an array of numbers."
        ) from error
    except (EOFError, OSError, zipfile.BadZipFile) as error:
        raise DataError(f"array {key!r} is damaged; obtain the file again.") from error
