"""`jmlip tabulate`: a potential with tables in place of its radial networks, for fast dynamics."""

import argparse
from pathlib import Path

from jmlip.cli import options as kinds

DESCRIPTION = """\
Write a copy of a potential that reads its radial functions from tables instead of computing
networks: about twice as fast, for dynamics and evaluation, not for training. For MACE, NequIP and
pairs with such a part.
"""


def add_parser(subparsers) -> None:
    parser = subparsers.add_parser(
        "tabulate", help="make a potential faster for dynamics", description=DESCRIPTION
    )
    kinds.add_potential(parser)
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="directory of the new potential"
    )
    parser.add_argument(
        "--intervals",
        type=kinds.positive(int),
        default=1024,
        metavar="N",
        help="of each table, from 0 to the cutoff: errors of forces fall with its third power "
        "(default: %(default)s)",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    from jmlip.core.errors import ConfigError
    from jmlip.factory import load_potential
    from jmlip.md.tabulation import FEWEST, tabulate
    from jmlip.potentials.potential import save_potential

    if options.out.exists():
        raise ConfigError(f"--out must not exist yet, and {options.out} does; choose another name.")
    if options.intervals < FEWEST:
        raise ConfigError(f"--intervals must be {FEWEST} or more, found {options.intervals}.")
    potential, error = tabulate(load_potential(options.potential), options.intervals)
    save_potential(potential, options.out)
    print(
        f"{options.out}: slopes of the radial functions are off by at most {error:.1e} of the "
        "largest"
    )
