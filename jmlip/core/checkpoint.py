"""Artifacts on disk without pickle: JSON, safetensors, and directories that appear whole.

A file or directory is written under a temporary name beside its place, flushed to disk, and
renamed: what stands under its name is never half an artifact. A directory cannot be replaced in
one step, so whoever is killed in the instant between the two renames finds the older one beside
its place, under `.NAME.retired-PID`. Arrays are keyed by their path in the tree.
"""

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import safetensors
import safetensors.numpy

from jmlip.core.errors import JmlipError
from jmlip.core.types import PyTree

_HASH = "sha256"
"""Name of the arrays' hash in the metadata of a safetensors file."""


@contextlib.contextmanager
def whole_directory(path: str | Path) -> Iterator[Path]:
    """Yield an empty directory that becomes `path` when the block ends without an error.

    An older directory is replaced where everything in it is written anew; one that holds anything
    else is somebody's work and stays.

    Raises:
        JmlipError: the place cannot be written (read-only, full disk, a file or foreign files in
            the way).
    """
    path = Path(os.path.abspath(path))
    with _storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(
            tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent)
        )
        try:
            yield partial
            _require_replaceable(path, by=partial)
            partial.chmod(0o777 & ~_umask())
            _flush_tree(partial)
            _swap(partial, path)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


@contextlib.contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path that becomes `path` when the block ends without an error.

    Raises:
        JmlipError: the place cannot be written, or holds what is no file.
    """
    path = Path(os.path.abspath(path))
    if path.exists() and not path.is_file():  # a device would be replaced
        raise JmlipError(f"cannot write {path}: it is there, and is not a file.")
    with _storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        # the suffix stays, because writers choose their format by it
        handle, name = tempfile.mkstemp(
            prefix=f".{path.stem}.partial.", suffix=path.suffix, dir=path.parent
        )
        os.close(handle)
        partial = Path(name)
        try:
            yield partial
            partial.chmod(0o666 & ~_umask())
            _flush(partial)
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)


def remove_partial(*places: Path) -> None:
    """Remove what a killed program left half written; nobody may be writing in these places."""
    for place in places:
        for pattern in (".*.partial", ".*.partial.*", ".*.retired-*"):
            for item in place.glob(pattern):
                if item.is_dir():
                    shutil.rmtree(item, ignore_errors=True)
                else:
                    item.unlink(missing_ok=True)


def write_json(path: str | Path, value: Any) -> None:
    """Write JSON whole or not at all; NaN and infinity are refused, as they are not JSON."""
    with whole_file(path) as partial:
        partial.write_text(json.dumps(value, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def read_json(path: str | Path, *, error: Callable[[str], Exception] = JmlipError) -> Any:
    """Content of a JSON file; a missing or damaged file raises `error` with one sentence."""
    try:
        text = Path(path).read_text(encoding="utf-8")
        return json.loads(text, parse_constant=_refuse_constant)
    except OSError as cause:
        raise error(f"cannot read {path}: {cause.strerror or cause}.") from cause
    except (ValueError, RecursionError) as cause:
        raise error(f"{path} is damaged: not valid JSON; restore it or make it anew.") from cause


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def save_arrays(path: str | Path, tree: PyTree) -> None:
    """Write the arrays of a pytree as one safetensors file, each under its path in the tree.

    The file knows the hash of its arrays, so that damage of a single bit does not go unnoticed.
    """
    arrays = {
        _name(key): _to_numpy(leaf) for key, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]
    }
    with whole_file(path) as partial:
        safetensors.numpy.save_file(arrays, str(partial), {_HASH: _hash_of(arrays)})


def load_arrays(
    path: str | Path, *, like: PyTree, error: Callable[[str], Exception] = JmlipError
) -> PyTree:
    """Read a safetensors file into the structure of `like`.

    Args:
        path: file written by `save_arrays`.
        like: pytree of arrays or `jax.ShapeDtypeStruct` that fixes structure and shapes; dtypes
            are those stored.
        error: exception type raised with one sentence.

    Raises:
        error: file missing or damaged, names and shapes are not those of `like`, or the arrays are
            not those that were written. (A file that another program wrote has no hash.)
    """
    paths, treedef = jax.tree_util.tree_flatten_with_path(like)
    shapes = {_name(key): tuple(np.shape(leaf)) for key, leaf in paths}
    with _reading(path, error), safetensors.safe_open(str(path), framework="numpy") as file:
        # the header is compared before anything of the size it claims is allocated
        odd = sorted(set(shapes) ^ set(file.keys()))
        if odd:
            raise error(
                f"{path} does not fit its configuration: {len(odd)} arrays differ, "
                f"first {odd[0]!r}."
            )
        for name, expected in shapes.items():
            found = tuple(file.get_slice(name).get_shape())
            if found != expected:
                raise error(f"{path}: array {name!r} must have shape {expected}, found {found}.")
        arrays = {name: file.get_tensor(name) for name in shapes}
        known = (file.metadata() or {}).get(_HASH)
    if known is not None and known != _hash_of(arrays):
        raise error(
            f"{path} is damaged: its arrays are not those that were written; restore it or make it "
            "anew."
        )
    return treedef.unflatten([arrays[name] for name in shapes])


def read_arrays(
    path: str | Path, *, error: Callable[[str], Exception] = JmlipError
) -> dict[str, np.ndarray]:
    """All arrays of a safetensors file by name; a missing or damaged file raises `error`."""
    with _reading(path, error):
        return safetensors.numpy.load_file(str(path))


@contextlib.contextmanager
def _reading(path: str | Path, error: Callable[[str], Exception]) -> Iterator[None]:
    try:
        yield
    except OSError as cause:
        raise error(f"cannot read {path}: {cause.strerror or 'no such file'}.") from cause
    except (safetensors.SafetensorError, KeyError, TypeError) as cause:
        raise error(
            f"{path} is damaged: not a safetensors file of numbers; restore it or make it anew."
        ) from cause


def _hash_of(arrays: Mapping[str, np.ndarray]) -> str:
    running = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        running.update(f"{name} {array.dtype} {array.shape} ".encode() + array.tobytes())
    return running.hexdigest()


def _name(key_path: tuple) -> str:
    return jax.tree_util.keystr(key_path, simple=True, separator="/") or "value"


def _to_numpy(leaf: Any) -> np.ndarray:
    if isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.random.key_data(leaf)
    return np.asarray(leaf, order="C")  # unlike ascontiguousarray, a scalar stays a scalar


def _require_replaceable(path: Path, *, by: Path) -> None:
    if not os.path.lexists(path):
        return
    if path.is_symlink() or not path.is_dir():
        raise JmlipError(f"cannot write the directory {path}: a file is in the way; move it.")
    foreign = sorted({item.name for item in path.iterdir()} - {item.name for item in by.iterdir()})
    if foreign:
        raise JmlipError(
            f"cannot replace {path}: it holds other files, such as {foreign[0]!r}; "
            "choose another place."
        )


def _swap(partial: Path, path: Path) -> None:
    if not path.exists():
        os.rename(partial, path)
    else:
        retired = path.with_name(f".{path.name}.retired-{os.getpid()}")
        os.rename(path, retired)
        try:
            os.rename(partial, path)
        except OSError:
            os.rename(retired, path)
            raise
        shutil.rmtree(retired, ignore_errors=True)
    _flush(path.parent)


def _flush_tree(directory: Path) -> None:
    for item in directory.rglob("*"):
        if item.is_file():
            _flush(item)
    _flush(directory)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@contextlib.contextmanager
def _storage_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except safetensors.SafetensorError as cause:
        raise JmlipError(f"cannot write {path}: {cause}.") from cause
    except OSError as cause:
        raise JmlipError(
            f"cannot write {path}: {cause.strerror or cause}; free space or choose another place."
        ) from cause
