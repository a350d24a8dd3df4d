"""A hash of what a potential computes: the same for the same numbers, whenever they were made."""

import dataclasses
import hashlib
import json
from typing import Any

import jax
import numpy as np

from jmlip.core.config import to_dict
from jmlip.potentials.potential import Potential


def content_hash(potential: Potential) -> str:
    """SHA-256 of model, parameters and reference energies, in hex.

    Statistics and provenance, which has a date, do not count.
    """
    what = {
        "kind": potential.kind,
        "model": _chosen(potential.model.config),  # type: ignore[attr-defined]
        "reference_energies": list(potential.reference_energies),
    }
    running = hashlib.sha256(json.dumps(what, sort_keys=True).encode())
    for path, leaf in jax.tree_util.tree_flatten_with_path(potential.params)[0]:
        array = np.asarray(leaf)
        name = f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape}"
        running.update(name.encode() + array.tobytes())
    return running.hexdigest()


def _chosen(config: Any) -> dict[str, Any]:
    """What is not as by default, so that options added later do not change old hashes."""
    default = {field.name: field.default for field in dataclasses.fields(config)}
    changed = {name for name, value in default.items() if getattr(config, name) != value}
    return {name: value for name, value in to_dict(config).items() if name in changed}
