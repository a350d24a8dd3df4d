"""An indexed, memory-mapped store of structures, for sets larger than memory.

A directory of `.npy` arrays (all atoms of all structures end to end), `info.jsonl` and
`header.json`; no pickle. `first_atom[i]` is where structure i begins, `first_byte[i]` where its
line of `info.jsonl` does. A missing label is NaN on disk (labels themselves are always finite) and
None in memory; an array that no structure has is empty. A store is written as it streams, in
bounded memory, and appears whole or not at all.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, overload

import numpy as np

from jmlip.core.checkpoint import read_json, whole_directory, write_json
from jmlip.core.errors import DataError
from jmlip.core.structure import Structure
from jmlip.data import info as info_json
from jmlip.data.hashing import update_hash

FORMAT = "jmlip-store"
VERSION = 1

_PER_ATOM = {
    "species": ("|u1", ()),
    "positions": ("<f8", (3,)),
    "forces": ("<f8", (3,)),
    "atomic_energies": ("<f8", ()),
    "velocities": ("<f8", (3,)),
}
_PER_STRUCTURE = {
    "cell": ("<f8", (3, 3)),
    "pbc": ("|b1", (3,)),
    "energy": ("<f8", ()),
    "stress": ("<f8", (3, 3)),
}
_INDEX = {"first_atom": ("<i8", ()), "first_byte": ("<i8", ())}
_ARRAYS = _PER_ATOM | _PER_STRUCTURE | _INDEX
_OPTIONAL = ("forces", "atomic_energies", "velocities", "energy", "stress")


class StructureStore(Sequence[Structure]):
    """The structures of a store; only those that are asked for are read.

    Args:
        path: directory written by `write_store`.

    Attributes:
        n_atoms: number of atoms of each structure.
        species: atomic numbers that occur, sorted.
        data_hash: hash of the content, equal to `jmlip.data.data_hash` of the structures.

    Raises:
        DataError: not a store, of another version, or truncated.

    Example:
        >>> import tempfile
        >>> atoms = [Structure(species=[z], positions=[[0, 0, 0]]) for z in (2, 10, 18)]
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     store = write_store(atoms, f"{folder}/noble")
        ...     len(store), store[-1].formula, [s.formula for s in store[:2]]
        (3, 'Ar', ['He', 'Ne'])
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        header = _read_header(self.path)
        self.data_hash: str = header["data_hash"]
        self.species: tuple[int, ...] = tuple(header["species"])
        sizes = (header["n_structures"], header["n_atoms"])
        self._arrays = {name: _open_array(self.path, name, sizes) for name in header["arrays"]}
        self._first = np.array(self._arrays["first_atom"])
        self.n_atoms: np.ndarray = np.diff(self._first)
        info = self.path / "info.jsonl"
        info_size = info.stat().st_size if info.is_file() else -1
        if self._first[-1] != sizes[1] or (self.n_atoms < 1).any() or info_size != header["info"]:
            raise _damaged(self.path, "its index")
        self._info = np.memmap(info, mode="r") if info_size else b""

    def __len__(self) -> int:
        return len(self.n_atoms)

    @overload
    def __getitem__(self, index: int) -> Structure: ...
    @overload
    def __getitem__(self, index: slice) -> "Subset": ...

    def __getitem__(self, index):
        """One structure, or a lazy `Subset` for a slice."""
        if isinstance(index, slice):
            return Subset(self, range(len(self))[index])
        i = range(len(self))[index]
        atoms = slice(self._first[i], self._first[i + 1])
        values: dict[str, Any] = {}
        for name, array in self._arrays.items():
            if name not in _INDEX:
                value = array[atoms] if name in _PER_ATOM else array[i]
                missing = name in _OPTIONAL and np.isnan(value.flat[0])
                values[name] = None if missing else value
        return Structure(**values, info=self._read_info(i))

    def chunks(self, size: int) -> Iterator[list[Structure]]:
        """All structures in order, `size` at a time."""
        for start in range(0, len(self), size):
            yield list(self[start : start + size])

    def _read_info(self, i: int) -> dict[str, Any]:
        start, stop = self._arrays["first_byte"][i : i + 2]
        return info_json.loads(bytes(self._info[start:stop]).decode()) if stop > start else {}


class Subset(Sequence[Structure]):
    """Some structures of a sequence, by index, read when they are asked for.

    Args:
        structures: the whole sequence, for example a `StructureStore`.
        indices: which of them, in the order wanted.

    Raises:
        DataError: an index is out of range.

    Example:
        >>> atoms = [Structure(species=[z], positions=[[0, 0, 0]]) for z in (2, 10, 18)]
        >>> [s.formula for s in Subset(atoms, [2, 0])]
        ['Ar', 'He']
    """

    def __init__(self, structures: Sequence[Structure], indices: Sequence[int] | np.ndarray):
        self.structures = structures
        self.indices = np.asarray(indices, np.int64).reshape(-1)
        if len(self.indices) and not (
            self.indices.min() >= 0 and self.indices.max() < len(structures)
        ):
            raise DataError(
                f"indices must lie in 0..{len(structures) - 1}, found {self.indices.min()}.."
                f"{self.indices.max()}."
            )

    def __len__(self) -> int:
        return len(self.indices)

    @overload
    def __getitem__(self, index: int) -> Structure: ...
    @overload
    def __getitem__(self, index: slice) -> "Subset": ...

    def __getitem__(self, index):
        if isinstance(index, slice):
            return Subset(self.structures, self.indices[index])
        return self.structures[int(self.indices[index])]


def is_store(path: str | Path) -> bool:
    """Whether `path` is a directory that calls itself a store."""
    header = Path(path) / "header.json"
    try:
        return f'"{FORMAT}"' in header.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return False


def write_store(structures: Iterable[Structure], path: str | Path) -> StructureStore:
    """Write a store while the structures stream by, and open it.

    Of `info`, whatever is JSON or an array of numbers is kept.

    Args:
        structures: one or more; an iterator is written as it comes.
        path: directory to make; an older store there is replaced, anything else is refused.

    Raises:
        DataError: there is no structure, or `path` exists and is no store.
        JmlipError: the place cannot be written.
    """
    path = Path(path)
    if path.exists() and not is_store(path):
        raise DataError(f"{path} exists and is no store; choose another place or remove it.")
    with whole_directory(path) as folder:
        with _Writer(folder) as writer:
            for structure in structures:
                writer.add(structure)
        if not writer.first_atom:
            raise DataError(f"{path} must hold at least one structure, found none to write.")
        writer.finish()
    return StructureStore(path)


class _Writer:
    """Appends structures to the files of a store."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.n_structures = self.first_atom = self.first_byte = 0
        self.seen: set[str] = set()
        self.species: set[int] = set()
        self.hash = hashlib.sha256()

    def __enter__(self) -> "_Writer":
        self.info = (self.folder / "info.jsonl").open("wb")
        self.files = {name: (self.folder / f"{name}.npy").open("wb") for name in _ARRAYS}
        for name, file in self.files.items():
            _write_npy_header(file, name, 0)
        self._append({"first_atom": 0, "first_byte": 0}, n_atoms=0)
        return self

    def __exit__(self, *_) -> None:
        for file in (self.info, *self.files.values()):
            file.close()

    def add(self, structure: Structure) -> None:
        """Append one structure."""
        n = structure.n_atoms
        self._append({k: getattr(structure, k) for k in _PER_ATOM | _PER_STRUCTURE}, n_atoms=n)
        if structure.info:
            line = info_json.dumps(structure.info).encode() + b"\n"
            self.info.write(line)
            self.first_byte += len(line)
        self.n_structures += 1
        self.first_atom += n
        self._append({"first_atom": self.first_atom, "first_byte": self.first_byte}, n_atoms=n)
        self.species.update(np.unique(structure.species).tolist())
        update_hash(self.hash, structure)

    def _append(self, values: dict[str, Any], *, n_atoms: int) -> None:
        for name, value in values.items():
            dtype, item = _ARRAYS[name]
            if value is None:
                value = np.full((n_atoms, *item) if name in _PER_ATOM else item, np.nan)
            else:
                self.seen.add(name)
            self.files[name].write(np.asarray(value, dtype).tobytes())

    def finish(self) -> None:
        """Set the lengths in all headers, empty what no structure has, write the header."""
        sizes = (self.n_structures, self.first_atom)
        for name in _ARRAYS:
            file = self.folder / f"{name}.npy"
            with file.open("r+b") as stream:
                _write_npy_header(stream, name, _rows(name, sizes) if name in self.seen else 0)
                if name not in self.seen:
                    stream.truncate()
        header = {
            "format": FORMAT,
            "version": VERSION,
            "n_structures": sizes[0],
            "n_atoms": sizes[1],
            "info": self.first_byte,
            "species": sorted(self.species),
            "arrays": [name for name in _ARRAYS if name in self.seen],
            "data_hash": self.hash.hexdigest(),
        }
        write_json(self.folder / "header.json", header)


def _write_npy_header(file: IO[bytes], name: str, rows: int) -> None:
    # NumPy pads the header so that the first dimension may grow in place
    dtype, item = _ARRAYS[name]
    header = {"descr": dtype, "fortran_order": False, "shape": (rows, *item)}
    np.lib.format.write_array_header_1_0(file, header)


def _rows(name: str, sizes: tuple[int, int]) -> int:
    if name in _INDEX:
        return sizes[0] + 1
    return sizes[1] if name in _PER_ATOM else sizes[0]


def _read_header(path: Path) -> dict[str, Any]:
    if not is_store(path):
        raise DataError(f"{path} is no store of structures; make one with write_store.")
    header = read_json(path / "header.json", error=DataError)
    if header.get("version") != VERSION:
        raise DataError(
            f"{path} has store version {header.get('version')}, this release reads {VERSION}; "
            "write the store again."
        )
    kinds = {"n_structures": int, "n_atoms": int, "info": int, "data_hash": str}
    right = all(isinstance(header.get(key), kind) for key, kind in kinds.items())
    right &= all(isinstance(header.get(key), list) for key in ("species", "arrays"))
    needed = {name for name in _ARRAYS if name not in _OPTIONAL}
    if not right or not needed <= set(map(str, header["arrays"])) <= set(_ARRAYS):
        raise _damaged(path, "header.json")
    return header


def _open_array(path: Path, name: str, sizes: tuple[int, int]) -> np.ndarray:
    dtype, item = _ARRAYS[name]
    try:
        array = np.load(path / f"{name}.npy", mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise _damaged(path, f"{name}.npy") from error
    if array.shape != (_rows(name, sizes), *item) or array.dtype != np.dtype(dtype):
        raise _damaged(path, f"{name}.npy")
    return np.asarray(array)  # a plain view: slices of np.memmap cost a microsecond each


def _damaged(path: Path, what: str) -> DataError:
    return DataError(f"the store {path} is damaged ({what}); write it again.")
