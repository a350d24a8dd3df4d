"""A directory is written by one process at a time."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from jmlip.core.errors import ConfigError


@contextlib.contextmanager
def only_writer(directory: Path) -> Iterator[None]:
    """Hold a directory for the length of a block; the system lets go of it when a process dies.

    Raises:
        ConfigError: another process holds it.
    """
    handle = os.open(directory, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigError(
                f"{directory} is being written by another process; wait for it, or choose "
                "another place."
            ) from error
        except OSError:  # some network file systems know no locks
            pass
        yield
    finally:
        os.close(handle)
