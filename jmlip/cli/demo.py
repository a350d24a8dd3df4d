"""`jmlip demo`: data from a quantum engine, training, dynamics and a report, in minutes."""

import argparse
from pathlib import Path

DESCRIPTION = """\
Everything in a few minutes on two cores: makes data with GFN2-xTB (ethanol; aluminium with ASE's
EMT where tblite is not installed), trains HIP-NN-TS, evaluates it on a hotter trajectory, runs
molecular dynamics and writes a report with pictures. Data and training of an earlier call in the
same directory are taken up where they ended.
"""


def add_parser(subparsers) -> None:
    parser = subparsers.add_parser(
        "demo", help="from data to dynamics in minutes", description=DESCRIPTION
    )
    parser.add_argument(
        "--out", type=Path, default=Path("demo"), metavar="DIR", help="default: %(default)s"
    )
    parser.set_defaults(run=run, resume_hint="continue with the same command")


def run(options: argparse.Namespace) -> None:
    from jmlip.cli.cache import use_compilation_cache
    from jmlip.cli.demo_data import choose_system
    from jmlip.cli.demo_steps import run_demo

    use_compilation_cache()
    run_demo(choose_system(), options.out)
