"""Splits that stand in files: published index lists, checked before they are believed."""

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from jmlip.core.errors import DataError
from jmlip.data.splits import Split, require_members


def split_by_index_file(files: str | Path | Mapping[str, str | Path], n: int) -> Split:
    """Read a split from files of indices, counted from 0.

    Args:
        files: one `.json` or `.npz` file that holds named lists; or, for each part, a text file
            (whitespace or commas, `#` begins a comment) or a `.json` file with one list.
        n: number of structures.

    Raises:
        DataError: a file is missing or damaged, or an index is out of range, repeated, or in two
            parts.
    """
    if isinstance(files, Mapping):
        lists = {name: _read_list(Path(path)) for name, path in files.items()}
    else:
        lists = _read_lists(Path(files))
    source = ", ".join(map(str, files.values())) if isinstance(files, Mapping) else str(files)
    split = {name: _indices(values, f"{source}, part {name!r}") for name, values in lists.items()}
    require_members(split)
    _require_disjoint(split, n, source)
    return split


def _read_lists(path: Path) -> dict[str, object]:
    if path.suffix == ".npz":
        try:
            with np.load(path, allow_pickle=False) as file:
                return {name: file[name] for name in file.files}
        except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
            raise DataError(f"cannot read {path}: missing or not an npz of arrays.") from error
    if path.suffix != ".json":
        raise DataError(
            f"one index file for all parts must be .json or .npz, found {path}; give text files "
            "as a mapping from part to file."
        )
    value = _read_json(path)
    if not isinstance(value, dict):
        raise DataError(f"{path} must map names of parts to lists of indices.")
    return value


def _read_list(path: Path) -> object:
    if path.suffix == ".json":
        return _read_json(path)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}.") from error
    return [word for line in lines for word in line.partition("#")[0].replace(",", " ").split()]


def _read_json(path: Path) -> object:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}.") from error
    except ValueError as error:
        raise DataError(f"{path} is not valid JSON.") from error


def _indices(values: object, where: str) -> np.ndarray:
    try:
        array = np.asarray(values)
        if array.dtype.kind == "U":
            array = np.array([int(word) for word in array.tolist()], int)
    except (TypeError, ValueError) as error:
        raise DataError(f"{where} must hold whole numbers.") from error
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise DataError(f"{where} must hold one list of whole numbers.")
    return np.sort(array.astype(np.int64))


def _require_disjoint(split: Split, n: int, source: str) -> None:
    owner: dict[int, str] = {}
    for name, indices in split.items():
        for index in indices.tolist():
            if not 0 <= index < n:
                raise DataError(f"{source}: index {index} of part {name!r} must lie in 0..{n - 1}.")
            if index in owner:
                raise DataError(
                    f"{source}: index {index} stands in {owner[index]!r} and again in {name!r}."
                )
            owner[index] = name
