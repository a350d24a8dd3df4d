"""The argument parser: one file per command; wrong use is one sentence naming the nearest right."""

import argparse
import re
from collections.abc import Sequence
from typing import NoReturn

import jmlip
from jmlip.cli import analyse, demo, distill, ensemble, evaluate, info, md, relax, tabulate, train
from jmlip.core.config import unknown
from jmlip.core.errors import ConfigError

COMMANDS = {
    "train": train,
    "ensemble": ensemble,
    "distill": distill,
    "evaluate": evaluate,
    "md": md,
    "tabulate": tabulate,
    "relax": relax,
    "analyse": analyse,
    "info": info,
    "demo": demo,
}


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are exceptions of one sentence."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{_tidy(message)}; see {self.prog} --help.")


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Options of one command; `options.run(options)` does the work.

    Raises:
        ConfigError: unknown command or option (the nearest valid one is named), impossible value.
    """
    command = next((word for word in arguments if not word.startswith("-")), None)
    if command is not None and command not in COMMANDS:
        raise ConfigError(unknown(command, COMMANDS, what=f"command {command!r}"))
    parser, subparsers = make_parser()
    options, rest = parser.parse_known_args(arguments)
    if rest:
        valid = [
            name
            for action in subparsers[options.command]._actions
            for name in action.option_strings
            if name.startswith("--")
        ]
        word = rest[0].partition("=")[0]
        if word.startswith("-"):
            raise ConfigError(unknown(word, valid, what=f"option {word!r} of {options.command}"))
        raise ConfigError(
            f"{options.command} takes no argument {word!r}; see jmlip {options.command} --help."
        )
    return options


def make_parser() -> tuple[Parser, dict[str, argparse.ArgumentParser]]:
    """The whole parser, and that of each command by name."""
    parser = Parser(
        prog="jmlip",
        description="Machine-learning interatomic potentials: train, evaluate, run.",
        epilog="Exit codes: 0 done, 1 failed, 2 wrong use, 130 interrupted.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"jmlip {jmlip.__version__}")
    _add_debug(parser, default=False)
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for module in COMMANDS.values():
        module.add_parser(subparsers)
    for subparser in subparsers.choices.values():
        subparser.allow_abbrev = False
        # SUPPRESS, so that the subparser's default does not undo `jmlip --debug COMMAND`
        _add_debug(subparser, default=argparse.SUPPRESS)
    return parser, dict(subparsers.choices)


def _add_debug(parser: argparse.ArgumentParser, *, default: bool | str) -> None:
    parser.add_argument(
        "--debug", action="store_true", default=default, help="show the traceback of an error"
    )


def _tidy(message: str) -> str:
    message = re.sub(r"invalid choice: (\S+) \(choose from (.*)\)", r"\1 is not one of \2", message)
    message = re.sub(r"invalid (int|float) value: (.*)", r"\2 is not a number", message)
    return message.removeprefix("argument ").rstrip(".")
