"""Checkpoints of a run: numbered directories that appear whole, the last two of which are kept.

One holds the training state, the best parameters, the course on the host, the lengths of the
metric files, and the identity of the run: configuration, model and data. A run resumed from it
takes exactly the steps the first one would have taken.
"""

import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jmlip.core.checkpoint import load_arrays, read_json, save_arrays, whole_directory, write_json
from jmlip.core.config import from_dict, to_dict
from jmlip.core.errors import ConfigError, JmlipError
from jmlip.core.types import Params
from jmlip.training.course import Course
from jmlip.training.step import TrainState

DIRECTORY = "checkpoints"
FORMAT = 1
KEPT = 2

STRUCTURES = "structures"
"""Where the hashes of structures stand in an identity, by what the structures are for."""
FREE_TO_CHANGE = frozenset(
    f"training.{name}"
    for name in (
        *("max_epochs", "max_minutes", "checkpoint_every_minutes"),
        *("devices", "parallel", "accumulate"),
    )
)
"""What a resumed run may set anew: how long it goes on, how often it is saved, and on what."""


class Checkpoint(NamedTuple):
    """What is saved and comes back."""

    state: TrainState
    best: Params | None  # None before the first validation
    course: Course
    sizes: Mapping[str, int]  # bytes of the metric files


def save_checkpoint(run_dir: Path, checkpoint: Checkpoint, *, identity: Mapping[str, Any]) -> None:
    """Save under the number of the step, then remove all but the last two."""
    state, best, course, sizes = checkpoint
    with whole_directory(run_dir / DIRECTORY / f"{course.step:09d}") as place:
        save_arrays(place / "state.safetensors", state)
        if best is not None:
            save_arrays(place / "best.safetensors", best)
        write_json(place / "course.json", to_dict(course))
        write_json(
            place / "run.json",
            {"format": FORMAT, "has_best": best is not None, "sizes": sizes, **identity},
        )
    for old in _numbered(run_dir)[:-KEPT]:
        shutil.rmtree(old, ignore_errors=True)


def load_checkpoint(
    run_dir: Path, *, like: TrainState, identity: Mapping[str, Any]
) -> Checkpoint | None:
    """The last checkpoint of a run, or `None` if it was killed before there was one.

    Args:
        run_dir: directory of the run.
        like: a state of the right structure and shapes.
        identity: that of the run which wants to go on.

    Raises:
        ConfigError: the identities differ; the sentence names the key.
        JmlipError: the checkpoint is damaged or of another format.
    """
    places = _numbered(run_dir)
    if not places:
        return None
    place = places[-1]
    damaged = lambda message: JmlipError(
        f"{message} Remove {place} to resume from an earlier checkpoint."
    )
    run = read_json(place / "run.json", error=damaged)
    if run.pop("format", None) != FORMAT:
        raise JmlipError(
            f"{place} must be a checkpoint of format {FORMAT}; start a new run in another place."
        )
    has_best, sizes = run.pop("has_best"), run.pop("sizes")
    require_same(run, json.loads(json.dumps(identity)))
    return Checkpoint(
        state=load_arrays(place / "state.safetensors", like=like, error=damaged),
        best=load_arrays(place / "best.safetensors", like=like.params, error=damaged)
        if has_best
        else None,
        course=from_dict(Course, read_json(place / "course.json", error=damaged)),
        sizes=sizes,
    )


def _numbered(run_dir: Path) -> list[Path]:
    return sorted(path for path in (run_dir / DIRECTORY).glob("*") if path.name.isdigit())


def require_same(saved: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Refuse to go on with a run that differs in more than its length.

    Raises:
        ConfigError: naming the first key that differs.
    """
    before, after = dict(_flat(saved)), dict(_flat(now))
    for name in sorted({*before, *after} - FREE_TO_CHANGE):
        if before.get(name) != after.get(name):
            old, new = (values.get(name, "not set") for values in (before, after))
            if name.startswith(f"{STRUCTURES}."):
                raise ConfigError(
                    "a resumed run must have the structures it was started with, found others to "
                    f"{name.removeprefix(f'{STRUCTURES}.')}; give the same files and split, or "
                    "start a new run in another directory."
                )
            if name == "reference_energies":
                raise ConfigError(
                    "a resumed run must have the reference energies it was started with, found "
                    f"{new} for {old}; they follow from the structures, and from the potential "
                    "model.baseline: give the same, or start a new run in another directory."
                )
            raise ConfigError(
                f"a resumed run must be the one that was started: {name} was {old}, found {new}; "
                "set it back, or start a new run in another directory."
            )


def _flat(values: Mapping[str, Any], where: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{where}{key}.")
        else:
            yield f"{where}{key}", value


def on_host(params: Params) -> Params:
    """A copy in host memory, safe from steps that reuse device memory."""
    return jax.tree.map(lambda leaf: np.array(leaf), params)
