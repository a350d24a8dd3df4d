"""The fields of a configuration in words, for `jmlip train --help`: names, defaults, meanings."""

import dataclasses
import inspect
import json
import re
import textwrap
import typing
from collections.abc import Iterator

from jmlip.cli.config import DataConfig
from jmlip.factory import MODELS
from jmlip.training.config import LoopConfig
from jmlip.training.losses import LossConfig, TermConfig
from jmlip.training.optimizers import OptimizerConfig

WIDTH = 96
RADIAL = " (the default); r_low and r_high follow from the data unless given"
LABELS = "] if absent: energy of weight 1 and forces of weight 10, as far as the data have them"


def describe_fields() -> str:
    """Every field of a configuration, a line or two each."""
    # what follows the name of a section stands behind its bracket
    sections: dict[str, type] = {
        "data": DataConfig,
        **{f"model] kind = {json.dumps(k)}{RADIAL}": config for k, (_, config) in MODELS.items()},
        f"loss{LABELS}": LossConfig,
        "loss.TERM": TermConfig,
        "optimizer": OptimizerConfig,
        "training": LoopConfig,
    }
    parts = ["fields of CONFIG.toml, each also an argument of --set:"]
    for name, config in sections.items():
        title = name if "]" in name else f"{name}]"
        parts += ["", f"[{title}", *_lines(config)]
    return "\n".join(parts)


def _lines(config: type) -> Iterator[str]:
    meanings, hints = _meanings(config), typing.get_type_hints(config)
    for field in dataclasses.fields(config):
        if field.name == "species":  # comes from the data
            continue
        text = f"{_default(field)}{meanings.get(field.name, '')}{_choices(hints[field.name])}"
        indent = " " * 26
        # the hyphens of a wrapped name would read as part of it
        yield from textwrap.wrap(
            f"  {field.name:<22}  {text}",
            WIDTH,
            subsequent_indent=indent,
            break_on_hyphens=False,
        )


def _default(field: dataclasses.Field) -> str:
    if field.default is dataclasses.MISSING:
        return "(required) " if field.default_factory is dataclasses.MISSING else ""
    return "" if field.default is None else f"({json.dumps(field.default)}) "


def _choices(hint: typing.Any) -> str:
    options = [hint, *typing.get_args(hint)]
    literal = next((o for o in options if typing.get_origin(o) is typing.Literal), None)
    return f" [{', '.join(map(str, typing.get_args(literal)))}]" if literal else ""


def _meanings(config: type) -> dict[str, str]:
    """What the docstring says under `Args:`."""
    arguments = re.search(r"^Args:\n(.*?)(?=^\S|\Z)", inspect.getdoc(config) or "", re.S | re.M)
    entry = re.compile(r"^    (\w+): (.*?)(?=^    \w+: |\Z)", re.S | re.M)
    found = entry.findall(arguments[1] if arguments else "")
    return {name: " ".join(meaning.split()) for name, meaning in found}
