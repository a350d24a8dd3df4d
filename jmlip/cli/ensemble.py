"""`jmlip ensemble`: several potentials of one configuration, each with its own seed and split."""

import argparse
import shlex

from jmlip.cli import train
from jmlip.cli.fields import describe_fields
from jmlip.core.errors import ConfigError

DESCRIPTION = """\
Train several potentials that differ in seed and in the split of the data, one after the other, or
with --together at once, by one compiled program, spread over training.devices; what does not fit
into their memory so is trained --at-once K. The run directory receives a run directory for each,
member_0 ..., the directory ensemble/ with all potentials, and report.html, which compares the
members and their mean on the test files. Members that are trained are only read when a run is
resumed; a larger --members adds to them.
"""


def add_parser(subparsers) -> None:
    parser = subparsers.add_parser(
        "ensemble",
        help="train several potentials that differ in seed and split",
        description=DESCRIPTION,
        epilog=describe_fields(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    train.add_run_options(parser)
    parser.add_argument(
        "--members", type=int, required=True, metavar="M", help="how many potentials"
    )
    parser.add_argument(
        "--together", action="store_true", help="train all members at once, by one compiled program"
    )
    parser.add_argument(
        "--at-once",
        type=int,
        metavar="K",
        help="with --together: K members at a time, one group after the other",
    )
    parser.set_defaults(run=run, resume_hint="continue with the same command and --resume")


def run(options: argparse.Namespace) -> None:
    from jmlip.cli.cache import use_compilation_cache
    from jmlip.cli.config import load_config
    from jmlip.cli.ensemble_workflow import train_ensemble

    together = _together(options)
    config = load_config(options.config, options.assignments)
    use_compilation_cache()
    words = ["jmlip", "ensemble", *train.words_of(options), "--members", str(options.members)]
    words += ["--together"] * options.together
    words += ["--at-once", str(options.at_once)] if options.at_once else []
    train_ensemble(
        config,
        train.run_directory_of(options),
        members=options.members,
        together=together,
        command=shlex.join(words),
        resume=options.resume,
    )


def _together(options: argparse.Namespace) -> int | None:
    """How many members are trained at once; `None`: one after the other."""
    if options.at_once is None:
        return max(options.members, 1) if options.together else None
    if not options.together:
        raise ConfigError("--at-once means nothing without --together; add that, or remove it.")
    if options.at_once < 1:
        raise ConfigError(f"--at-once must be at least 1, found {options.at_once}.")
    return options.at_once
