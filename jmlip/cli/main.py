"""`jmlip`: runs one command and turns whatever goes wrong into one sentence and an exit code.

Exit codes: 0 done, 1 failed, 2 wrong use (nothing was started), 130 interrupted.
"""

import argparse
import contextlib
import os
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence

from jmlip.cli import parser
from jmlip.core.errors import ConfigError, JmlipError

INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code; never raises."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments
    options = None
    try:
        with _warnings_in_one_line():
            options = parser.parse(arguments)
            options.run(options)
            sys.stdout.flush()
        return 0
    except SystemExit as stop:  # argparse after --help and --version
        return stop.code if isinstance(stop.code, int) else 1
    except KeyboardInterrupt:
        hint = getattr(options, "resume_hint", "")
        _complain(f"interrupted{'; ' + hint if hint else ''}.", debug)
        return INTERRUPTED
    except BrokenPipeError:  # the reader (`head`) has seen enough
        _silence_stdout()
        return 1
    except Exception as error:
        message, code = _explain(error)
        _complain(message, debug)
        return code


def _explain(error: Exception) -> tuple[str, int]:
    if isinstance(error, JmlipError):
        return str(error), error.exit_code
    if isinstance(error, argparse.ArgumentTypeError):
        return str(error), ConfigError.exit_code
    if isinstance(error, OSError) and error.strerror:
        if error.filename is None:  # the only stream without a name is standard output
            _silence_stdout()
        return f"cannot use {error.filename or 'standard output'}: {error.strerror}.", 1
    if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error):
        return "the computation does not fit into memory; use a smaller batch or system.", 1
    if isinstance(error, ImportError):
        return f"{_one_line(error)}.".replace("..", "."), 1
    return f"{type(error).__name__}: {_one_line(error)} (run with --debug for the traceback).", 1


def _one_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else "no further message"


def _complain(message: str, debug: bool) -> None:
    if debug:
        traceback.print_exc(file=sys.stderr)
    print(f"error: {' '.join(message.split())}", file=sys.stderr)


def _silence_stdout() -> None:
    """Send what is still buffered to the null device, so that Python's exit does not complain."""
    with contextlib.suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)


@contextlib.contextmanager
def _warnings_in_one_line() -> Iterator[None]:
    def show(message, category, filename, lineno, file=None, line=None):
        print(f"notice: {' '.join(str(message).split())}", file=sys.stderr)

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield
