"""Options that make a run one of several processes, on one machine or on many."""

import argparse

from jmlip.core.errors import ConfigError, JmlipError


def add_process_options(parser: argparse.ArgumentParser) -> None:
    """--coordinator, --processes and --process-id."""
    group = parser.add_argument_group(
        "several processes",
        "The same command for each of them, with the number of its own; training.devices are those "
        "of all. Process 0 writes the run directory, which all must see.",
    )
    group.add_argument(
        "--coordinator", metavar="HOST:PORT", help="where process 0 can be reached by the others"
    )
    group.add_argument("--processes", type=int, metavar="N", help="how many processes there are")
    group.add_argument("--process-id", type=int, metavar="K", help="number of this one, from 0")


def join_processes(options: argparse.Namespace) -> None:
    """Wait for the other processes, where there are any; before anything is computed.

    Raises:
        ConfigError: the options contradict each other.
        JmlipError: the others do not come.
    """
    given = (options.coordinator, options.processes, options.process_id)
    if given == (None, None, None):
        return
    coordinator, n, number = given
    if None in given:
        raise ConfigError(
            "--coordinator, --processes and --process-id belong together, found only some of them; "
            "give all three, or none."
        )
    if ":" not in coordinator:
        raise ConfigError(f"--coordinator must be HOST:PORT, found {coordinator!r}.")
    if not 0 <= number < n:
        raise ConfigError(
            f"--process-id must be from 0 to {n - 1} with --processes {n}, found {number}."
        )
    import jax

    try:
        jax.distributed.initialize(coordinator, num_processes=n, process_id=number)
    except RuntimeError as error:
        raise JmlipError(
            f"{n} processes must meet at {coordinator}, and did not: {str(error).splitlines()[0]}"
        ) from error
