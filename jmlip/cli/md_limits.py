"""Options of `jmlip md` for limits that end a run."""

import argparse
from pathlib import Path
from typing import Any

from jmlip.cli import options as kinds


def add_limits(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("limits, looked at in every frame, that end the run")
    group.add_argument(
        "--max-temperature-K", type=kinds.positive(float), metavar="K", help="of all atoms"
    )
    group.add_argument(
        "--max-force", type=kinds.positive(float), metavar="EV_A", help="on an atom, eV/angstrom"
    )
    group.add_argument(
        "--min-distance", type=kinds.positive(float), metavar="A", help="of two atoms, angstrom"
    )
    group.add_argument(
        "--max-spread",
        type=kinds.positive(float),
        metavar="EV_A",
        help="of the force on an atom among the potentials of --committee, eV/angstrom",
    )
    group.add_argument(
        "--committee", type=Path, metavar="DIR", help="an ensemble (of jmlip ensemble)"
    )


def limits_of(options: argparse.Namespace) -> Any:
    from jmlip.factory import load_ensemble
    from jmlip.md.limits import Limits

    return Limits(
        max_temperature_K=options.max_temperature_K,
        max_force_eV_A=options.max_force,
        min_distance_A=options.min_distance,
        max_spread_eV_A=options.max_spread,
        committee=() if options.committee is None else load_ensemble(options.committee),
    )
