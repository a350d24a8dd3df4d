"""Types of command-line values with messages of one sentence, and the options commands share."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jmlip.core.config import from_dict
from jmlip.core.errors import ConfigError
from jmlip.core.structure import Structure
from jmlip.data.units import Units


def positive(kind: type) -> Callable[[str], float]:
    """A number above zero."""
    return _bounded(kind, lambda value: value > 0, "positive")


def not_negative(kind: type) -> Callable[[str], float]:
    """A number of at least zero."""
    return _bounded(kind, lambda value: value >= 0, "not negative")


def at_least(least: int) -> Callable[[str], float]:
    """A whole number from `least` on."""
    return _bounded(int, lambda value: value >= least, f"at least {least}")


def finite(text: str) -> float:
    """A number of either sign."""
    return _bounded(float, lambda _: True, "a number")(text)


def _bounded(kind: type, holds: Callable, words: str) -> Callable[[str], float]:
    name = {int: "a whole number", float: "a number"}[kind]

    def convert(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"must be {name}, found {text!r}") from None
        if not holds(value) or value - value != 0:
            raise argparse.ArgumentTypeError(f"must be {words} and finite, found {text}")
        return value

    return convert


def add_potential(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("potential", type=Path, metavar="POTENTIAL", help="potential directory")


def add_start(parser: argparse.ArgumentParser) -> None:
    """START and --index; `read_start` reads what they name."""
    parser.add_argument("start", type=Path, metavar="START", help="structure to start from")
    parser.add_argument(
        "--index",
        type=int,
        metavar="N",
        help="which structure of START, from 0, or from the end if negative (default: the last)",
    )


def read_start(options: argparse.Namespace) -> Structure:
    """The structure to start from."""
    from jmlip.data import read

    index = -1 if options.index is None else options.index
    (start,) = read(options.start, index=index)
    return start


def add_dtype(parser: argparse.ArgumentParser, *, default: str) -> None:
    parser.add_argument(
        "--dtype",
        choices=("float32", "float64"),
        default=default,
        help="precision of the computation (default: %(default)s)",
    )


def add_labels(parser: argparse.ArgumentParser) -> None:
    """Options that say how labelled files are read; `label_options` makes keywords of them."""
    parser.add_argument(
        "--units",
        type=parse_units,
        metavar="QUANTITY=UNIT,...",
        help="units of the files where they are not those their format implies (mostly eV and "
        "angstrom), for example energy=kcal/mol,length=angstrom; also forces and stress",
    )
    for name in ("energy", "forces", "stress"):
        parser.add_argument(f"--{name}-key", metavar="NAME", help=f"column of the {name}")


def label_options(options: argparse.Namespace) -> dict[str, Any]:
    """Keywords of `jmlip.data.read`."""
    return {name: getattr(options, name) for name in LABEL_KEYS}


LABEL_KEYS = ("units", "energy_key", "forces_key", "stress_key")


def parse_units(text: str) -> Units:
    """Units from `quantity=unit` pairs with commas between them.

    >>> parse_units("energy=hartree,length=bohr").forces_factor == parse_units(
    ...     "forces=hartree/bohr"
    ... ).forces_factor
    True
    """
    values = {}
    for pair in text.split(","):
        quantity, separator, unit = (part.strip() for part in pair.partition("="))
        if not separator or quantity in values:
            raise argparse.ArgumentTypeError(
                f"must read energy=UNIT,length=UNIT, each at most once, found {text!r}"
            )
        values[quantity] = unit
    try:
        return from_dict(Units, values)
    except ConfigError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
