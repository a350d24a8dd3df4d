"""Tables of configuration fields in the pages of this folder, written from the dataclasses.

    python docs/config_tables.py

rewrites what stands between `<!-- fields of X -->` and `<!-- end -->`.

The tests compare, and fail where a page is behind the code.
"""

import dataclasses
import importlib
import inspect
import json
import re
import typing
from pathlib import Path

BLOCK = re.compile(r"(<!-- fields of (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)
FIELD = re.compile(r"^    (\w+): (.*?)(?=^    \w+: |\Z)", re.DOTALL | re.MULTILINE)


def render(text: str) -> str:
    """A page with all its tables up to date."""
    return BLOCK.sub(lambda found: found[1] + table(load(found[2])) + found[3], text)


def load(name: str) -> type:
    module, _, attribute = name.rpartition(".")
    return getattr(importlib.import_module(module), attribute)


def table(config: type) -> str:
    """Markdown table of the fields of a frozen dataclass: name, default, meaning."""
    meanings, hints = descriptions(config), typing.get_type_hints(config)
    rows = ["| field | default | meaning |", "|---|---|---|"]
    for field in dataclasses.fields(config):
        meaning = with_choices(meanings[field.name], hints[field.name]).replace("|", r"\|")
        rows.append(f"| `{field.name}` | {default(field)} | {meaning} |")
    return "\n".join(rows) + "\n"


def descriptions(config: type) -> dict[str, str]:
    """What the docstring says under `Args:`."""
    arguments = re.search(r"^Args:\n(.*?)(?=^\S|\Z)", inspect.getdoc(config) or "", re.S | re.M)
    found = FIELD.findall(arguments[1] if arguments else "")
    return {name: " ".join(meaning.split()) for name, meaning in found}


def with_choices(meaning: str, hint: typing.Any) -> str:
    """The meaning, and the values of a Literal unless it names them all itself."""
    options = [hint, *typing.get_args(hint)]
    literal = next((o for o in options if typing.get_origin(o) is typing.Literal), None)
    values = [json.dumps(value) for value in typing.get_args(literal)]
    if all(value in meaning for value in values):
        return meaning
    return f"{meaning} One of {', '.join(f'`{value}`' for value in values)}."


def default(field: dataclasses.Field) -> str:
    if field.default is dataclasses.MISSING:
        return "required" if field.default_factory is dataclasses.MISSING else "all defaults"
    return "" if field.default is None else f"`{json.dumps(field.default)}`"


if __name__ == "__main__":
    for page in Path(__file__).parent.glob("*.md"):
        page.write_text(render(page.read_text(encoding="utf-8")), encoding="utf-8")
