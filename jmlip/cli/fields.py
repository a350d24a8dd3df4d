"""The fields of a configuration in words, for `jmlip train --help`: names, defaults, meanings."""

import dataclasses
import inspect
import json
import re
import textwrap
import typing
from collections.abc import Iterator, Mapping
from types import MappingProxyType

from jmlip.cli.config import DataConfig
from jmlip.factory import MODELS, PRESETS
from jmlip.models.sizes import SIZES
from jmlip.training.config import LoopConfig
from jmlip.training.loss_config import LossConfig, TermConfig
from jmlip.training.optimizers import OptimizerConfig

WIDTH = 96
HINTS = {"hipnn": " (the default); r_low and r_high follow from the data unless given"}
LABELS = "] if absent: energy of weight 1 and forces of weight 10, as far as the data have them"


def describe_fields(further: Mapping[str, type] = MappingProxyType({})) -> str:
    """Every field of a configuration, and of further sections, a line or two each."""
    # what follows the name of a section stands behind its bracket
    sections: dict[str, type] = {
        "data": DataConfig,
        **{
            f"model] kind = {json.dumps(kind)}{HINTS.get(kind, '')}": config
            for kind, (_, config) in MODELS.items()
        },
        f"loss{LABELS}": LossConfig,
        "loss.TERM": TermConfig,
        "optimizer": OptimizerConfig,
        "training": LoopConfig,
        **further,
    }
    parts = ["fields of CONFIG.toml, each also an argument of --set:"]
    for name, config in sections.items():
        title = name if "]" in name else f"{name}]"
        kind = name.split('"')[1] if "kind =" in name else ""
        parts += ["", f"[{title}", *_size(kind), *_lines(config, PRESETS.get(kind, {}))]
    return "\n".join(parts)


def _size(kind: str) -> Iterator[str]:
    """What the sizes of a kind of model stand for."""
    if kind not in SIZES:
        return
    each = (f"{n}: {', '.join(f'{k} {v}' for k, v in f.items())}" for n, f in SIZES[kind].items())
    yield from _wrapped("size", f"stands for what is not given. {'; '.join(each)}")


def _lines(config: type, preset: Mapping[str, typing.Any]) -> Iterator[str]:
    meanings, hints = _meanings(config), typing.get_type_hints(config)
    for field in dataclasses.fields(config):
        if field.name == "species":  # comes from the data
            continue
        given = f"({json.dumps(preset[field.name])}) " if field.name in preset else _default(field)
        text = f"{given}{meanings.get(field.name, '')}{_choices(hints[field.name])}"
        yield from _wrapped(field.name, text)


def _wrapped(name: str, text: str) -> list[str]:
    # the hyphens of a wrapped name would read as part of it
    return textwrap.wrap(
        f"  {name:<22}  {text}", WIDTH, subsequent_indent=" " * 26, break_on_hyphens=False
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
