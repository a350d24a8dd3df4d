"""A hash of what a potential computes: the same for the same numbers, whenever they were made."""

import hashlib
import json

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
        "model": to_dict(potential.model.config),  # type: ignore[attr-defined]
        "reference_energies": list(potential.reference_energies),
    }
    running = hashlib.sha256(json.dumps(what, sort_keys=True).encode())
    for path, leaf in jax.tree_util.tree_flatten_with_path(potential.params)[0]:
        array = np.asarray(leaf)
        name = f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape}"
        running.update(name.encode() + array.tobytes())
    return running.hexdigest()
