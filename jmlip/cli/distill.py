"""`jmlip distill`: teachers, labels by them, and a student, from one configuration."""

import argparse
import shlex

from jmlip.cli import train

DESCRIPTION = """\
Train a student from labels by teachers. The configuration is that of `jmlip train` for the student,
with two more sections: [teacher] names potentials, or how many are trained first, and [targets] the
labels that come from them. The run directory receives teachers/ (where they are trained), targets/
(structures with labels by the teachers), student/ (the run of the student, with its potential), and
report.html, which compares the student with its teachers on the test files. Paths in a
configuration start from its folder.
"""


def add_parser(subparsers) -> None:
    from jmlip.cli.distill_config import TeacherConfig
    from jmlip.cli.fields import describe_fields
    from jmlip.training.distill import TargetsConfig

    parser = subparsers.add_parser(
        "distill",
        help="train a student from labels by teachers",
        description=DESCRIPTION,
        epilog=describe_fields({"teacher": TeacherConfig, "targets": TargetsConfig}),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    train.add_run_options(parser)
    parser.set_defaults(run=run, resume_hint="continue with the same command and --resume")


def run(options: argparse.Namespace) -> None:
    from jmlip.cli import distill_workflow
    from jmlip.cli.cache import use_compilation_cache
    from jmlip.cli.distill_config import load_distill_config

    config = load_distill_config(options.config, options.assignments)
    use_compilation_cache()
    distill_workflow.distill(
        config,
        train.run_directory_of(options),
        command=shlex.join(["jmlip", "distill", *train.words_of(options)]),
        resume=options.resume,
    )
