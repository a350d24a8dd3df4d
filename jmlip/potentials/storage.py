"""Potentials on disk: one directory, no pickle, and nothing in it is believed before it is checked.

    config.json          format, kind and configuration of the model, species, units, cutoff,
                         reference energies, precision
    params.safetensors   parameters, each under its path in the tree
    statistics.json      what the data set was like
    provenance.json      data hash, config hash, versions, command, date

A directory from a stranger is safe to load: names and shapes of arrays are compared with what the
configuration asks for before either is allocated, and links are not followed.
"""

import datetime
import importlib.metadata
import math
import platform
import reprlib
import stat
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeGuard

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jmlip.core.checkpoint import load_arrays, read_json, save_arrays, whole_directory, write_json
from jmlip.core.errors import PotentialError
from jmlip.core.types import Params
from jmlip.graphs.graph import AtomGraph, Edges, Globals, Nodes

FORMAT = "jmlip-potential"
FORMAT_VERSION = 1
UNITS = {"energy": "eV", "length": "angstrom"}

_LARGEST_JSON = 16 * 2**20  # bytes
LARGEST_CUTOFF = 100.0  # angstrom; beyond it a neighbor list is an attack on memory
_PACKAGES = ("jmlip", "jax", "jaxlib", "flax", "numpy")


class PotentialFiles(NamedTuple):
    """What a potential directory says, checked, apart from the parameters."""

    kind: str
    model: dict[str, Any]
    species: tuple[int, ...]
    cutoff: float
    reference_energies: tuple[float, ...]
    dtype: str
    statistics: dict[str, Any]
    provenance: dict[str, Any]


def write_potential_files(path: str | Path, files: PotentialFiles, params: Params) -> None:
    """Write a potential directory, whole or not at all.

    Raises:
        JmlipError: the place cannot be written, or holds something else.
    """
    config = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "kind": files.kind,
        "model": files.model,
        "species": files.species,
        "units": UNITS,
        "cutoff": files.cutoff,
        "reference_energies": files.reference_energies,
        "dtype": files.dtype,
    }
    with whole_directory(path) as directory:
        write_json(directory / "config.json", config)
        save_arrays(directory / "params.safetensors", params)
        write_json(directory / "statistics.json", files.statistics)
        write_json(directory / "provenance.json", files.provenance)


def read_potential_files(path: str | Path) -> PotentialFiles:
    """Read and check everything but the parameters.

    Raises:
        PotentialError: a file is missing, damaged, of another format or in other units, or a value
            in it is impossible.
    """
    directory = Path(path)
    if not directory.is_dir():
        raise PotentialError(
            f"a potential must be a directory, and there is none at {path}; name the directory "
            "'potential' of a run."
        )
    config = _read_table(directory, "config.json")
    _check_format(config, directory)
    where = f"{directory / 'config.json'}"
    species = _species(config.get("species"), where)
    return PotentialFiles(
        kind=_typed(config, "kind", str, where),
        model=_typed(config, "model", dict, where),
        species=species,
        cutoff=_cutoff(config.get("cutoff"), where),
        reference_energies=_reference_energies(config.get("reference_energies"), species, where),
        dtype=_dtype(config.get("dtype"), where),
        statistics=_read_table(directory, "statistics.json"),
        provenance=_read_table(directory, "provenance.json"),
    )


def read_parameters(path: str | Path, model: nn.Module, *, dtype: str) -> Params:
    """The parameters of a potential directory, in the tree that `model` asks for.

    Raises:
        PotentialError: the file is damaged, does not fit the model, or holds NaN or infinity.
    """
    file = _regular_file(Path(path), "params.safetensors")
    try:
        shapes = parameter_shapes(model)
    except Exception as cause:  # a hostile size fails in whatever place it is first used
        raise PotentialError(
            f"{path}: no model has the sizes that config.json asks for."
        ) from cause
    params = load_arrays(file, like=shapes, error=PotentialError)
    for leaf in jax.tree.leaves(params):
        if leaf.dtype != dtype:
            raise PotentialError(f"{file}: arrays must be of type {dtype}, found {leaf.dtype}.")
        if not np.isfinite(leaf).all():
            raise PotentialError(
                f"{file}: parameters must be finite, found NaN or infinity; train again from an "
                "earlier checkpoint."
            )
    return params


def parameter_shapes(model: nn.Module) -> Params:
    """Names, shapes and types of a model's parameters; nothing is allocated."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about sizes that only a hostile configuration has
        shapes = jax.eval_shape(model.init, jax.random.key(0), smallest_graph())
    return shapes["params"]


def smallest_graph() -> AtomGraph:
    """Two padding atoms in two graphs: enough to learn the shapes of a model's parameters."""
    index = jnp.arange(2, dtype=jnp.int32)
    mask, zeros = jnp.zeros(2, bool), jnp.zeros(2, jnp.int32)
    return AtomGraph(
        nodes=Nodes(species=zeros, mask=mask, graph=index),
        edges=Edges(vector=jnp.full((2, 3), 1.0e3), reverse=index, mask=mask),
        receivers=index,
        senders=index,
        globals=Globals(mask=mask, volume=jnp.zeros(2), state=zeros),
        n_node=jnp.ones(2, jnp.int32),
        n_edge=jnp.ones(2, jnp.int32),
    )


def make_provenance(*, data_hash: str, config_hash: str, command: str) -> dict[str, Any]:
    """Where a potential comes from: nothing in it names a machine or a person.

    Args:
        data_hash: hash of the training structures.
        config_hash: hash of the configuration of the run.
        command: the command line, or the call, that made it.
    """
    return {
        "data_hash": data_hash,
        "config_hash": config_hash,
        "command": command,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "versions": {"python": platform.python_version()}
        | {name: importlib.metadata.version(name) for name in _PACKAGES},
    }


def _regular_file(directory: Path, name: str) -> Path:
    path = directory / name
    try:
        status = path.lstat()
    except OSError as cause:
        inside = [directory / each for each in ("potential", "ensemble")]
        found = [str(each) for each in inside if each.is_dir()]
        hint = f" Did you mean {' or '.join(found)}?" if found else ""
        raise PotentialError(
            f"{directory} is not a whole potential: {name} is missing.{hint}"
        ) from cause
    if not stat.S_ISREG(status.st_mode):
        raise PotentialError(f"{path} must be a regular file; links are not followed.")
    return path


def _read_table(directory: Path, name: str) -> dict[str, Any]:
    path = _regular_file(directory, name)
    if path.stat().st_size > _LARGEST_JSON:
        raise PotentialError(f"{path} must be at most {_LARGEST_JSON // 2**20} MiB.")
    value = read_json(path, error=PotentialError)
    if not isinstance(value, dict):
        raise PotentialError(f"{path} must hold a JSON object, found {reprlib.repr(value)}.")
    return value


def _check_format(config: Mapping[str, Any], directory: Path) -> None:
    found, version = config.get("format"), config.get("format_version")
    if found != FORMAT:
        raise PotentialError(
            f"{directory} must hold format {FORMAT!r}, found {reprlib.repr(found)}."
        )
    if not _is_integer(version) or version < 1:
        raise PotentialError(
            f"{directory}: format_version must be a positive integer, found "
            f"{reprlib.repr(version)}."
        )
    if version > FORMAT_VERSION:
        raise PotentialError(
            f"{directory} was made by a newer jmlip: its format has version {version}, this jmlip "
            f"reads up to {FORMAT_VERSION}; upgrade jmlip."
        )
    if config.get("units") != UNITS:
        raise PotentialError(
            f"{directory} must be in eV and angstrom, found units "
            f"{reprlib.repr(config.get('units'))}; convert it."
        )


def _typed(config: Mapping[str, Any], name: str, kind: type, where: str) -> Any:
    value = config.get(name)
    if not isinstance(value, kind):
        what = {str: "a string", dict: "an object", list: "an array"}[kind]
        raise PotentialError(f"{where}: {name} must be {what}, found {reprlib.repr(value)}.")
    return value


def _species(value: Any, where: str) -> tuple[int, ...]:
    numbers = value if isinstance(value, list) else []
    possible = all(_is_integer(number) and 1 <= number <= 118 for number in numbers)
    if not numbers or not possible or len(set(numbers)) != len(numbers):
        raise PotentialError(
            f"{where}: species must be distinct atomic numbers in 1..118, found "
            f"{reprlib.repr(value)}."
        )
    return tuple(numbers)


def _reference_energies(value: Any, species: tuple[int, ...], where: str) -> tuple[float, ...]:
    numbers = value if isinstance(value, list) else []
    if len(numbers) != len(species) or not all(_is_finite(number) for number in numbers):
        raise PotentialError(
            f"{where}: reference_energies must be {len(species)} finite numbers, one for each "
            f"element, found {reprlib.repr(value)}."
        )
    return tuple(float(number) for number in numbers)


def _cutoff(value: Any, where: str) -> float:
    if not _is_finite(value) or not 0.0 < value <= LARGEST_CUTOFF:
        raise PotentialError(
            f"{where}: cutoff must lie between 0 and {LARGEST_CUTOFF:g} angstrom, found "
            f"{reprlib.repr(value)}."
        )
    return float(value)


def _dtype(value: Any, where: str) -> str:
    if value not in ("float32", "float64"):
        raise PotentialError(
            f"{where}: dtype must be float32 or float64, found {reprlib.repr(value)}."
        )
    return value


def _is_integer(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_finite(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) < 1.0e300 and math.isfinite(value)
