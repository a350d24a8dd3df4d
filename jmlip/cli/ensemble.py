"""`jmlip ensemble`: several potentials of one configuration, each with its own seed and split."""

import argparse
import shlex

from jmlip.cli import train
from jmlip.cli.fields import describe_fields

DESCRIPTION = """\
Train several potentials that differ in seed and in the split of the data, one after the other, or
with --together at once, by one compiled program, in the memory of one device. The run directory
receives a run directory for each, member_0 ..., the directory ensemble/ with all potentials, and
report.html, which compares the members and their mean on the test files. Members that are trained
are only read when a run is resumed; a larger --members adds to them.
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
    parser.set_defaults(run=run, resume_hint="continue with the same command and --resume")


def run(options: argparse.Namespace) -> None:
    from jmlip.cli.cache import use_compilation_cache
    from jmlip.cli.config import load_config
    from jmlip.cli.ensemble_workflow import train_ensemble

    config = load_config(options.config, options.assignments)
    use_compilation_cache()
    words = ["jmlip", "ensemble", *train.words_of(options), "--members", str(options.members)]
    words += ["--together"] * options.together
    train_ensemble(
        config,
        train.run_directory_of(options),
        members=options.members,
        together=options.together,
        command=shlex.join(words),
        resume=options.resume,
    )
