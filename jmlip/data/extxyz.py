"""Extended XYZ: a strict streaming parser; one frame is held at a time.

The meaning of the comment line is ASE's (its own parser reads whatever is not plain `key=value`);
the frames are cut and converted here, because ASE stops without a word at a blank line, ignores
surplus columns, and spends most of its time in single characters.
"""

import functools
import re
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from ase.calculators.calculator import all_properties
from ase.data import atomic_numbers
from ase.io.extxyz import key_val_str_to_dict
from ase.io.formats import get_compression, open_with_compression

from jmlip.core.errors import DataError
from jmlip.data.labels import PER_ATOM_RESULTS, RawFrame

_PLAIN_COMMENT = re.compile(
    r'(?:\s*[^\s="\'\\{}\[\]]+=(?:"[^"\'\\{}\[\]]*"|[^\s="\'\\{}\[\],]+))*\s*'
)
_PAIR = re.compile(r'([^\s="]+)=(?:"([^"]*)"|(\S+))')
_SEPARATOR = re.compile(r"[\s,]+")
_BOOLEANS = {"T": True, "F": False, "true": True, "false": False, "True": True, "False": False}
_BOOLEANS |= {"TRUE": True, "FALSE": False}
_TENSORS = frozenset({"Lattice", "virial", "stress"})
_GEOMETRY = ("Lattice", "pbc", "Properties")
_LOWER = {key.lower(): key for key in _GEOMETRY}
_ASE_NAMES = {"pos": "positions", "Z": "numbers", "species": "symbols", "charge": "charges"}
_ATOM_RESULTS = PER_ATOM_RESULTS | {"forces", "energies"}
_FRAME_RESULTS = frozenset(all_properties) - _ATOM_RESULTS
_DTYPES = {"R": float, "I": int, "S": str, "L": bool}


def frames(path: Path) -> Iterator[Callable[[], RawFrame]]:
    """The frames of a file, each still to be parsed by calling it.

    Raises:
        DataError: a frame does not begin with the number of its atoms, or the file ends within one.
    """
    with _open(path) as file:
        for line in file:
            if line.strip():  # blank lines may separate frames and end the file
                yield functools.partial(_parse, *_cut(line, file))


def _open(path: Path) -> Any:
    if get_compression(str(path))[1] is None:
        return path.open(encoding="utf-8-sig")
    return open_with_compression(str(path), "rt")


def _cut(line: str, file: Iterator[str]) -> tuple[str, list[str]]:
    if not _is_count(line.strip()):
        raise DataError(
            f"a frame must begin with the number of its atoms, found {line.strip()[:40]!r}; "
            "check the count of the frame before."
        )
    n = int(line[:20])
    lines = list(islice(file, n + 1))
    if len(lines) <= n:
        raise DataError(
            f"the file ends after {max(len(lines) - 1, 0)} of {n} atoms; it is truncated: "
            "obtain it again, cut the last frame off, or finish the run that writes it (--restart)."
        )
    return lines[0], lines[1:]


def _is_count(text: str) -> bool:
    return text.isascii() and text.isdecimal()


def _parse(comment: str, rows: list[str]) -> RawFrame:
    info = parse_comment(comment)
    for key in info:
        if key not in _GEOMETRY and key.lower() in _LOWER:
            raise DataError(f"{_LOWER[key.lower()]} must be written so, found {key}.")
    lattice, pbc = info.pop("Lattice", None), info.pop("pbc", None)
    columns = _columns(rows, info.pop("Properties", None))
    species = _species(columns)
    positions = columns.pop("positions", None)
    if positions is None:
        raise DataError("the columns must hold positions (pos:R:3), found none.")
    results = {key: info.pop(key) for key in [k for k in info if k in _FRAME_RESULTS]}
    results |= {key: columns.pop(key) for key in [k for k in columns if k in _ATOM_RESULTS]}
    pbc = np.asarray(lattice is not None if pbc is None else pbc)
    right = pbc.dtype.kind in "bi" and pbc.shape in ((), (3,))
    if not right or not np.isin(pbc, (0, 1)).all():
        raise DataError(f"pbc must be one or three of T and F, found {pbc.tolist()!r}.")
    return RawFrame(
        species=species,
        positions=positions,
        cell=None if lattice is None else _lattice(lattice),
        pbc=np.broadcast_to(pbc, 3),
        results=results,
        arrays=columns,
        info=info,
    )


def parse_comment(line: str) -> dict[str, Any]:
    """The key-value pairs of a comment line, with the meaning that ASE gives them.

    >>> parse_comment('energy=-1.5 pbc="T T F" name=water')
    {'energy': -1.5, 'pbc': [True, True, False], 'name': 'water'}
    """
    if not _PLAIN_COMMENT.fullmatch(line):
        return key_val_str_to_dict(line.strip())
    pairs = _PAIR.findall(line)
    keys = [key for key, _, _ in pairs]
    if len(set(keys)) < len(keys):
        twice = next(key for key in keys if keys.count(key) > 1)
        raise DataError(f"a key may be given once in a comment line, found {twice} twice.")
    return {key: _value(key, quoted or bare) for key, quoted, bare in pairs}


def _value(key: str, text: str) -> Any:
    if key.lower() == "uid":  # ASE keeps it as text
        return text
    words = [word for word in _SEPARATOR.split(text) if word]
    value = _convert(words) if words else None
    if key in _TENSORS:
        # a file may hold the six Voigt components of a stress; all nine are in Fortran order
        if not isinstance(value, np.ndarray) or value.size not in (9, 6):
            raise DataError(f"{key} must be nine numbers, found {text!r}.")
        return value.reshape(3, 3, order="F") if value.size == 9 else value
    if value is not None:
        return value
    if all(word in _BOOLEANS for word in words) and words:
        values = [_BOOLEANS[word] for word in words]
        return values[0] if len(values) == 1 else values
    return key_val_str_to_dict(f'x="{text}"')["x"] if text.startswith("_JSON ") else text


def _convert(words: list[str]) -> Any:
    if not _plain(words):
        return None
    for kind in (int, float):
        try:
            numbers = [kind(word) for word in words]
            return numbers[0] if len(numbers) == 1 else np.array(numbers, dtype=kind)
        except (ValueError, OverflowError):
            continue
    return None


def _plain(words: Iterable[str]) -> bool:
    """Whether words can be numbers: Python alone also takes 1_000 and digits of other scripts."""
    text = "".join(words)
    return text.isascii() and "_" not in text


def _lattice(value: Any) -> np.ndarray:
    if np.shape(value) != (3, 3):
        raise DataError(f"Lattice must be nine numbers, found {value!r}.")
    return np.transpose(value)


def _columns(rows: list[str], properties: Any) -> dict[str, np.ndarray]:
    layout = _layout("species:S:1:pos:R:3" if properties is None else str(properties))
    width = sum(n for _, _, n in layout)
    words = [row.split() for row in rows]
    if properties is None:  # plain XYZ: whatever follows the position has no name
        words = [row[:width] for row in words]
    for i, row in enumerate(words):
        if len(row) != width:
            raise DataError(f"atom {i} must have {width} columns, found {len(row)}.")
    by_column = list(zip(*words, strict=True)) or [()] * width
    columns, first = {}, 0
    for name, kind, n in layout:
        values = [_column(name, kind, column) for column in by_column[first : first + n]]
        columns[name] = values[0] if n == 1 else np.stack(values, axis=1)
        first += n
    return columns


@functools.lru_cache(maxsize=64)
def _layout(properties: str) -> tuple[tuple[str, str, int], ...]:
    fields = properties.split(":")
    layout = []
    for name, kind, n in zip(fields[::3], fields[1::3], fields[2::3], strict=False):
        if kind not in _DTYPES or not _is_count(n) or int(n) < 1:
            break
        layout.append((_ASE_NAMES.get(name, name), kind, int(n)))
    if len(fields) != 3 * len(layout) or len({name for name, _, _ in layout}) < len(layout):
        raise DataError(
            f"Properties must read name:type:columns with types R, I, S, L, found {properties!r}."
        )
    return tuple(layout)


def _column(name: str, kind: str, words: Iterable[str]) -> np.ndarray:
    try:
        if kind == "L":
            return np.array([_BOOLEANS[word] for word in words], dtype=bool)
        if kind != "S" and not _plain(words):
            raise ValueError(name)
        return np.array([_DTYPES[kind](word) for word in words], dtype=_DTYPES[kind])
    except (KeyError, ValueError, OverflowError) as error:
        what = {"R": "real numbers", "I": "whole numbers", "L": "T or F"}[kind]
        bad = next(word for word in words if not _readable(kind, word))
        raise DataError(f"{name} must be {what}, found {bad!r}.") from error


def _readable(kind: str, word: str) -> bool:
    try:
        if kind == "L":
            return word in _BOOLEANS
        return _plain([word]) and _DTYPES[kind](word) is not None
    except (ValueError, OverflowError):
        return False


def _species(columns: dict[str, np.ndarray]) -> np.ndarray:
    symbols, numbers = columns.pop("symbols", None), columns.pop("numbers", None)
    if numbers is not None:
        _require_same(numbers, symbols)
        return numbers
    if symbols is None:
        raise DataError("the columns must hold species:S:1 or Z:I:1, found neither.")
    try:
        return np.array([atomic_numbers[symbol.capitalize()] for symbol in symbols.tolist()], int)
    except KeyError as error:
        raise DataError(
            f"species must be chemical symbols, found {error.args[0]!r}; rename it in the file."
        ) from error


def _require_same(numbers: np.ndarray, symbols: np.ndarray | None) -> None:
    """Refuse symbols of other elements than the numbers; labels that name no element may stand."""
    for z, symbol in zip(numbers, () if symbols is None else symbols.tolist(), strict=False):
        if atomic_numbers.get(symbol.capitalize(), z) != z:
            raise DataError(
                f"species and Z must name the same elements, found {symbol} with Z {z}; remove one."
            )
