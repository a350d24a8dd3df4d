"""The directory of a run: checked before anything is done, and without a trace where it fails."""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from jmlip.core.checkpoint import read_json
from jmlip.core.errors import ConfigError, JmlipError

CONFIG, PLAN = "config.toml", "plan.json"

LEAST_FREE_BYTES = 100 * 2**20


@contextlib.contextmanager
def run_directory(path: Path, *, resume: bool) -> Iterator[None]:
    """Make sure that the directory can be used; where the block fails, leave no trace of it."""
    if path.exists() and not path.is_dir():
        raise ConfigError(f"--run must name a directory, and {path} is a file; choose another.")
    if not resume and path.is_dir() and any(path.iterdir()):
        raise ConfigError(
            f"the run directory {path} must be empty, and it is not; continue that run with "
            "--resume, or choose another directory with --run."
        )
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
        free = shutil.disk_usage(path).free
    except OSError as error:
        raise JmlipError(
            f"cannot write the run directory {path}: {error.strerror or error}; choose another "
            "with --run."
        ) from error
    try:
        if free < LEAST_FREE_BYTES:
            raise JmlipError(
                f"a run needs at least {LEAST_FREE_BYTES >> 20} MiB of disk, found "
                f"{free >> 20} MiB free at {path}; free space, or choose another with --run."
            )
        yield
    except BaseException:
        with contextlib.suppress(OSError):
            if {file.name for file in path.iterdir()} == {CONFIG}:
                (path / CONFIG).unlink()  # nothing was begun
            path.rmdir()  # only if empty
        raise


Command = Literal["train", "ensemble", "distill"]


def require_run_of(command: Command, run_dir: Path) -> None:
    """Refuse to go on with what another command began.

    Raises:
        ConfigError: naming that command.
    """
    found = _command_of(run_dir)
    if found not in (None, command):
        raise ConfigError(
            f"jmlip {command} goes on with runs of its own only, found one of jmlip {found} in "
            f"{run_dir}; choose another directory with --run."
        )


def _command_of(run_dir: Path) -> Command | None:
    if (run_dir / "checkpoints").is_dir():
        return "train"
    if (run_dir / PLAN).is_file():
        return "distill" if "teacher" in read_json(run_dir / PLAN) else "ensemble"
    return None
