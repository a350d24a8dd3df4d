"""Structures to extended XYZ, every digit kept, the whole file or none."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ase.data import atomic_masses, chemical_symbols
from ase.io.extxyz import key_val_dict_to_str

from jmlip.core.checkpoint import whole_file
from jmlip.core.errors import ConfigError, DataError
from jmlip.core.structure import Structure
from jmlip.data.info import plain

_SYMBOLS = np.array(chemical_symbols)
_RESERVED = frozenset(
    {"Lattice", "Properties", "pbc", "energy", "forces", "stress", "virial", "energies", "arrays"}
)
_COLUMN_NAMES = {"charges": "charge"}  # as ASE writes it


def write(path: str | Path, structures: Iterable[Structure]) -> None:
    """Write an extended XYZ file; `jmlip.data.read` gives back the same numbers, bit for bit.

    Energies stand as `energy` (eV), forces as `forces` (eV / angstrom), stress as `stress` (nine
    numbers, eV / angstrom^3, tension positive), atomic energies as `energies`, velocities as
    `momenta` (ASE's units; equal to rounding), per-atom arrays of `info["arrays"]` as columns, the
    rest of `info` where text can hold it. Other programs read the file through ASE or QUIP.

    Args:
        path: file to write, named `.xyz` or `.extxyz`; an older one is replaced.
        structures: one or more; an iterator is written as it comes.

    Raises:
        ConfigError: the name has another ending.
        DataError: there is no structure, or an array cannot be a column.
        JmlipError: the place cannot be written.

    Example:
        >>> import tempfile
        >>> helium = Structure(species=[2], positions=[[0.0, 0.0, 1 / 3]], energy=-0.1)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write(f"{folder}/he.xyz", [helium])
        ...     print(Path(f"{folder}/he.xyz").read_text(), end="")
        1
        Properties=species:S:1:pos:R:3 energy=-0.1 pbc="F F F"
        He 0.0 0.0 0.3333333333333333
    """
    if Path(path).suffix not in (".xyz", ".extxyz"):
        raise ConfigError(f"structures are written as .xyz or .extxyz, found {str(path)!r}.")
    with whole_file(path) as partial:
        with partial.open("w", encoding="utf-8") as file:
            number = -1
            for number, structure in enumerate(structures):
                try:
                    file.write(extended_xyz(structure))
                except DataError as error:
                    raise DataError(f"{path}, frame {number}: {error}") from error
        if number < 0:
            raise DataError(f"{path} must hold at least one structure, found none to write.")


def extended_xyz(structure: Structure) -> str:
    """The text of one frame, as `write` puts it into a file.

    Raises:
        DataError: an array cannot be a column.
    """
    columns = _columns(structure)
    words = [_SYMBOLS[structure.species].tolist()]
    for array in list(columns.values())[1:]:
        table = array.reshape(len(array), -1)
        words += [_words(table[:, i]) for i in range(table.shape[1])]
    rows = "\n".join(map(" ".join, zip(*words, strict=True)))
    return f"{structure.n_atoms}\n{_comment(structure, columns)}\n{rows}\n"


def _columns(structure: Structure) -> dict[str, np.ndarray]:
    columns = {"species": _SYMBOLS[structure.species], "pos": structure.positions}
    if structure.forces is not None:
        columns["forces"] = structure.forces
    if structure.atomic_energies is not None:
        columns["energies"] = structure.atomic_energies
    arrays = structure.info.get("arrays", {})
    if structure.velocities is not None:
        masses = np.asarray(arrays.get("masses", atomic_masses[structure.species]))
        columns["momenta"] = structure.velocities * masses[:, None]
    for key, value in arrays.items():
        columns[_COLUMN_NAMES.get(str(key), str(key))] = _checked(
            key, np.asarray(value), structure.n_atoms
        )
    return columns


def _checked(key: str, array: np.ndarray, n: int) -> np.ndarray:
    if array.ndim not in (1, 2) or len(array) != n or array.dtype.kind not in "fiubU":
        raise DataError(
            f"per-atom array {key!r} must be numbers or words, one row for each of {n} atoms, "
            f"found shape {array.shape} of {array.dtype}; remove it from info."
        )
    if array.dtype.kind == "U" and any(len(word.split()) != 1 for word in array.ravel().tolist()):
        raise DataError(f"per-atom array {key!r} must hold words without spaces.")
    return array


def _words(column: np.ndarray) -> list[str]:
    if column.dtype.kind == "b":
        return ["T" if value else "F" for value in column.tolist()]
    # repr is the shortest text that reads back to the same float64
    return list(map(str if column.dtype.kind in "iuU" else repr, column.tolist()))


def _comment(structure: Structure, columns: Mapping[str, np.ndarray]) -> str:
    parts = []
    if structure.cell.any():
        parts.append(f'Lattice="{_join(structure.cell)}"')
    parts.append(f"Properties={layout_string(columns)}")
    if structure.energy is not None:
        parts.append(f"energy={structure.energy!r}")
    if structure.stress is not None:
        parts.append(f'stress="{_join(structure.stress.T)}"')
    parts.append('pbc="' + " ".join("T" if p else "F" for p in structure.pbc.tolist()) + '"')
    info = {key: value for key, value in structure.info.items() if key not in _RESERVED}
    return " ".join([*parts, key_val_dict_to_str(_text(info))]).rstrip()


def _text(info: Mapping[str, Any]) -> dict[str, Any]:
    result = {}
    for key, value in plain(info, tag_arrays=False).items():
        original = info[key]
        if isinstance(original, np.ndarray) and original.ndim == 1 and original.dtype.kind in "fib":
            value = original
        elif isinstance(value, str):
            # a line break would end the comment, and ASE reads a backslash as an escape
            value = " ".join(value.replace("\\", "/").split())
        if value is not None and len(str(value)):
            result[key] = value
    return result


def _join(matrix: np.ndarray) -> str:
    return " ".join(map(repr, matrix.ravel().tolist()))


def layout_string(columns: Mapping[str, np.ndarray]) -> str:
    """The value of `Properties` for columns given under their names in the file.

    >>> layout_string({"species": np.array(["H"]), "pos": np.zeros((1, 3))})
    'species:S:1:pos:R:3'
    """
    kinds = {"f": "R", "i": "I", "u": "I", "U": "S", "b": "L"}
    return ":".join(
        f"{name}:{kinds[array.dtype.kind]}:{array.shape[1] if array.ndim == 2 else 1}"
        for name, array in columns.items()
    )
