"""`jmlip analyse`: trajectories to distributions, diffusion, spectra and mean energies."""

import argparse
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from jmlip.cli import options as kinds

if TYPE_CHECKING:
    from jmlip.analysis.angles import Triple

DESCRIPTION = """\
Observables of trajectories, of `jmlip md` or any extended XYZ with the fields they need. Each
analysis writes a table (CSV, with errors) and a picture (SVG) of all trajectories into DIR, and
prints the numbers that matter.
"""
BELONGS_TO = {
    "r_max": ("rdf",),
    "bins": ("rdf", "adf"),
    "max_lag_ps": ("msd", "vacf", "spectrum", "heat_flux"),
    "viscosity_mPa_s": ("msd",),
}
"""Options that mean something for some analyses only."""
ANALYSES = ("rdf", "adf", "msd", "vacf", "spectrum", "energies", "heat_flux")


def add_parser(subparsers) -> None:
    parser = subparsers.add_parser(
        "analyse",
        help="distributions, diffusion, spectra, energies of trajectories",
        description=DESCRIPTION,
    )
    parser.add_argument(
        "trajectories", nargs="+", type=Path, metavar="TRAJ", help="trajectories, one or more"
    )
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="directory to write into"
    )
    _add_analyses(parser)
    _add_settings(parser)
    parser.set_defaults(run=run)


def _add_analyses(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--rdf",
        nargs="*",
        type=parse_pair,
        metavar="PAIR",
        help="radial distribution functions, for example of O-O O-H (left out: of all pairs)",
    )
    parser.add_argument(
        "--adf",
        nargs="*",
        type=parse_triple,
        metavar="TRIPLE",
        help="angular distributions, for example of H-O-H between bonds, or of O-O-O:3.5 between "
        "neighbors up to 3.5 angstrom (left out: of all bonds)",
    )
    for name, words in (
        ("msd", "mean squared displacements and diffusion constants"),
        ("vacf", "velocity autocorrelation functions"),
        ("spectrum", "vibrational densities of states"),
        ("energies", "temperature, pressure, density, energies, drift, heat capacity"),
    ):
        parser.add_argument(f"--{name}", action="store_true", help=words)
    parser.add_argument(
        "--heat-flux",
        type=Path,
        metavar="POTENTIAL",
        help="thermal conductivity by Green and Kubo, from the heat flux by this potential",
    )


def _add_settings(parser: argparse.ArgumentParser) -> None:
    positive = kinds.positive(float)
    parser.add_argument(
        "--skip-ps",
        type=kinds.not_negative(float),
        default=0.0,
        metavar="PS",
        help="time at the start that is left out as equilibration (default: 0)",
    )
    parser.add_argument(
        "--every",
        type=kinds.positive(int),
        default=1,
        metavar="N",
        help="take every N-th frame (default: 1)",
    )
    parser.add_argument(
        "--r-max", type=positive, metavar="A", help="of g(r), angstrom (default: 6)"
    )
    parser.add_argument(
        "--bins",
        type=kinds.at_least(2),
        metavar="N",
        help="of distances or angles (default: 200, 180)",
    )
    parser.add_argument(
        "--max-lag-ps",
        type=positive,
        metavar="PS",
        help="longest time of correlations (default: a twentieth of the trajectory)",
    )
    parser.add_argument(
        "--viscosity-mPa-s",
        type=positive,
        metavar="X",
        help="viscosity of the liquid: correct diffusion constants for the size of a cubic cell",
    )


def run(options: argparse.Namespace) -> None:
    from jmlip.cli.analyse_output import print_result, write_result
    from jmlip.data.trajectory_reading import read_trajectory

    _require_sense(options)
    trajectories = {
        str(path): read_trajectory(path).select(skip_ps=options.skip_ps, every=options.every)
        for path in options.trajectories
    }
    # all results before the first file, so that a mistake in one leaves no half of them
    results = [result for step in _steps(options) for result in step(trajectories, options)]
    for result in results:
        write_result(options.out, result)
        print_result(result)
        for notice in result.notices:
            print(f"notice: {notice}", file=sys.stderr)
    print(f"tables and pictures: {options.out}")


def _steps(options: argparse.Namespace) -> Iterator[Callable]:
    """What was asked for, each from trajectories by name and options to results."""
    from jmlip.cli import analyse_energies, analyse_motion, analyse_structure

    if options.rdf is not None:
        yield analyse_structure.radial
    if options.adf is not None:
        yield analyse_structure.angular
    if options.msd:
        yield analyse_motion.displacement
    if options.vacf or options.spectrum:
        yield analyse_motion.vibration
    if options.energies:
        yield analyse_energies.energies
    if options.heat_flux is not None:
        from jmlip.cli import analyse_heat  # which brings models

        yield analyse_heat.conductivity


def _require_sense(options: argparse.Namespace) -> None:
    from jmlip.core.errors import ConfigError

    asked = [name for name in ANALYSES if getattr(options, name) not in (None, False)]
    if not asked:
        names = ", ".join(map(_option, ANALYSES))
        raise ConfigError(f"analyse needs at least one of {names}, found none; add one.")
    for name, owners in BELONGS_TO.items():
        if getattr(options, name) is not None and not set(owners) & set(asked):
            raise ConfigError(
                f"{_option(name)} means nothing without "
                f"{' or '.join(_option(owner) for owner in owners)}; remove it, or add one."
            )
    paths = [path.resolve() for path in options.trajectories]
    twice = [str(path) for i, path in enumerate(options.trajectories) if paths[i] in paths[:i]]
    if twice:
        raise ConfigError(f"TRAJ must name each file once, found {twice[0]} twice; remove one.")
    if options.out.exists() and not options.out.is_dir():
        raise ConfigError(f"--out must be a directory, and {options.out} is a file; rename it.")


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def parse_pair(text: str) -> tuple[int, int]:
    """Atomic numbers of two symbols with a dash between them.

    >>> parse_pair("O-H")
    (8, 1)
    """
    a, b = _elements(text, 2, "two chemical symbols, as in O-H")
    return a, b


def parse_triple(text: str) -> "Triple":
    """Three symbols with dashes between them, the middle atom in the middle, perhaps a radius.

    >>> parse_triple("H-O-H:1.3")
    Triple(a=1, b=8, c=1, radius=1.3)
    """
    from jmlip.analysis.angles import Triple

    words, separator, radius = text.partition(":")
    a, b, c = _elements(words, 3, "three chemical symbols, as in H-O-H")
    return Triple(a, b, c, kinds.positive(float)(radius) if separator else None)


def _elements(text: str, n: int, what: str) -> list[int]:
    from ase.data import atomic_numbers

    symbols = text.split("-")
    unknown = [symbol for symbol in symbols if not atomic_numbers.get(symbol)]
    if len(symbols) != n or unknown:
        found = f"{text!r}, with no element {unknown[0]!r}" if len(symbols) == n else repr(text)
        raise argparse.ArgumentTypeError(
            f"must be {what}, found {found} (trajectories come before options)"
        )
    return [atomic_numbers[symbol] for symbol in symbols]
