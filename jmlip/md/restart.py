"""Checkpoints of a run: the state bit for bit, where the trajectory ends, and what run it is.

They stand in the directory `TRAJECTORY.restart`: one file of arrays per checkpoint, and
`restart.json`, replaced in one step, which names the file that counts. Older files go last, so at
any moment one whole checkpoint is there.
"""

import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jmlip.core.checkpoint import load_arrays, read_json, save_arrays, write_json
from jmlip.core.config import config_hash, to_dict
from jmlip.core.errors import ConfigError, JmlipError
from jmlip.core.structure import Structure
from jmlip.md.config import MDConfig
from jmlip.md.velocities import inertia
from jmlip.potentials.hashing import content_hash
from jmlip.potentials.potential import Potential

FORMAT = 4
_FREE_TO_CHANGE = ("n_steps", "chunk_seconds")
_SETTINGS = tuple(field.name for field in dataclasses.fields(MDConfig))


class Checkpoint(NamedTuple):
    """A moment of a run from which it can go on.

    Args:
        state: an `MDState` or `BatchState`.
        mark: where the trajectory ends; None where it has not been begun; of a batch, a list.
        statistics: running sums over the frames so far.
    """

    state: Any
    mark: Any
    statistics: tuple[float, ...]


def restart_directory(trajectory: Path) -> Path:
    """Where the checkpoints of a trajectory stand."""
    return trajectory.with_name(trajectory.name + ".restart")


def identify(
    potentials: Sequence[Potential],
    structures: Sequence[Structure],
    configs: Sequence[MDConfig],
    **others: Any,
) -> dict[str, str]:
    """What a run is made of, by the names a user knows it under: hashes, and settings as text."""
    settings = [
        {k: value for k, value in to_dict(config).items() if k not in _FREE_TO_CHANGE}
        for config in configs
    ]
    first = settings[0]
    shared = [k for k in first if all(each[k] == first[k] for each in settings)]
    own = [{k: value for k, value in each.items() if k not in shared} for each in settings]
    return {
        "potential": " ".join(content_hash(potential)[:16] for potential in potentials),
        "start structure": _hash([array for each in structures for array in _arrays(each)]),
        **{name: str(first[name]) for name in shared},
        "temperatures, seeds and exchanges": config_hash({"systems": own} | others),
    }


def save_checkpoint(trajectory: Path, checkpoint: Checkpoint, identity: dict[str, str]) -> None:
    """Make this the checkpoint of the trajectory, in one step."""
    directory = restart_directory(trajectory)
    directory.mkdir(parents=True, exist_ok=True)
    plain = _without_keys(checkpoint.state)
    name = f"state-{int(checkpoint.state.step)}.safetensors"
    save_arrays(directory / name, plain)
    content = {
        "format": FORMAT,
        "state": name,
        "shapes": [list(np.shape(leaf)) for leaf in jax.tree.leaves(plain)],
        "mark": checkpoint.mark,
        "statistics": list(checkpoint.statistics),
        "identity": identity,
    }
    write_json(directory / "restart.json", content | {"digest": config_hash(content)})
    for old in directory.iterdir():
        if old.name not in (name, "restart.json"):
            old.unlink()


def load_checkpoint(trajectory: Path, identity: dict[str, str], *, like: Any) -> Checkpoint:
    """The checkpoint of a trajectory.

    Args:
        trajectory: the file it belongs to.
        identity: of the run that wants to go on.
        like: a state of the same run, or its shapes; sizes of the neighbor list may differ.

    Raises:
        ConfigError: it is of another run.
        JmlipError: it is damaged, or of another format.
    """
    directory = restart_directory(trajectory)
    content = read_json(directory / "restart.json")
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise JmlipError(
            f"{directory} must hold a checkpoint of format {FORMAT}; start again under another "
            "name."
        )
    if content.pop("digest", None) != config_hash(content):
        raise JmlipError(
            f"{directory / 'restart.json'} is damaged: it is not as it was written; start again "
            "under another name."
        )
    for name, value in identity.items():
        if (begun := content["identity"].get(name)) != value:
            differs = f"{begun}, found {value}" if name in _SETTINGS else "and this is another"
            raise ConfigError(
                f"a restart must use the {name} that {trajectory} was begun with, {differs}; use "
                "the same, or write to another file."
            )
    shapes = iter(content["shapes"])
    plain = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(tuple(next(shapes)), leaf.dtype),
        jax.eval_shape(_without_keys, like),
    )
    arrays = load_arrays(directory / content["state"], like=plain)
    state = _with_keys(jax.tree.map(jnp.asarray, arrays), like)
    return Checkpoint(state, content["mark"], tuple(content["statistics"]))


def has_checkpoint(trajectory: Path) -> bool:
    """Whether a run can be taken up."""
    return (restart_directory(trajectory) / "restart.json").exists()


def _without_keys(state: Any) -> Any:
    return jax.tree.map(lambda leaf: jax.random.key_data(leaf) if _is_key(leaf) else leaf, state)


def _with_keys(state: Any, like: Any) -> Any:
    wrap = lambda leaf, old: jax.random.wrap_key_data(leaf) if _is_key(old) else leaf
    return jax.tree.map(wrap, state, like)


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _arrays(structure: Structure) -> list:
    brought = [] if structure.velocities is None else [structure.velocities]
    kept = [structure.species, structure.positions, structure.cell, structure.pbc]
    return [*kept, inertia(structure), *brought]


def _hash(arrays: list) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        array = np.ascontiguousarray(array)
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()[:16]
