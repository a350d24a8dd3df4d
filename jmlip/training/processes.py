"""Several processes that take one run together: who writes, and how they agree.

Processes are started and joined by `jax.distributed.initialize`, before anything is computed. All
of them read the same data and take the same steps; what depends on the clock, or on a signal that
only one has received, they tell each other.
"""

import json
import zlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jaxtyping import Int

from jmlip.core.errors import ConfigError


def writes() -> bool:
    """Whether this process is the one that writes."""
    return jax.process_index() == 0


def gathered(*values: int) -> Int[np.ndarray, "processes values"]:
    """The values of all processes, 32 bits each; a process waits until all have called it."""
    mine = np.array(values, np.int32)
    if jax.process_count() == 1:
        return mine[None]
    from jax.experimental import multihost_utils

    return np.asarray(multihost_utils.process_allgather(mine))


def require_same_run(identity: Mapping[str, Any], step: int) -> None:
    """Refuse processes that were given different runs.

    Args:
        identity: configuration, model and data.
        step: where the run stands; -1 for a new one.

    Raises:
        ConfigError: they differ.
    """
    text = json.dumps(identity, sort_keys=True).encode()
    found = gathered(zlib.crc32(text) & 0x7FFFFFFF, step)
    if (found != found[0]).any():
        what = (
            "configuration, model or data" if (found[:, 0] != found[0, 0]).any() else "checkpoint"
        )
        raise ConfigError(
            f"all processes must take the same run, found different {what} (steps "
            f"{found[:, 1].tolist()}); give them the same files, in a file system they share."
        )
