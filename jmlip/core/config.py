"""Frozen dataclasses from plain dictionaries (TOML, JSON), strictly.

Unknown keys, wrong types and missing values are errors. A configuration validates and never edits.
Each section is a frozen dataclass with keyword-only fields; sections nest. `from_dict` checks names
and types against the annotations, `to_dict` gives back plain values, `override` applies
`section.key=value` from a command line.
"""

import copy
import dataclasses
import difflib
import hashlib
import json
import math
import reprlib
import sys
import tomllib
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from jmlip.core.errors import ConfigError

T = TypeVar("T")

_short = reprlib.Repr()
_short.maxstring = _short.maxother = 80
_show = _short.repr


def load_toml(path: str | Path) -> dict[str, Any]:
    """The content of a TOML file.

    Raises:
        ConfigError: the file is missing, unreadable, or not TOML.
    """
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            f"cannot read configuration {path}: {error.strerror or error}."
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}.") from error


def override(config: Mapping[str, Any], assignments: Sequence[str]) -> dict[str, Any]:
    """Apply `section.key=value` assignments; a value that is not TOML is taken as a string.

    Example:
        >>> override({"model": {"cutoff": 5.0}}, ["model.cutoff=6.0", "data.train=set.xyz"])
        {'model': {'cutoff': 6.0}, 'data': {'train': 'set.xyz'}}
    """
    result = copy.deepcopy(dict(config))
    for assignment in assignments:
        name, separator, text = assignment.partition("=")
        keys = [key.strip() for key in name.split(".")]
        if not separator or not all(keys):
            raise ConfigError(f"an override must read section.key=value, found {assignment!r}.")
        target = result
        for key in keys[:-1]:
            target = target.setdefault(key, {})
            if not isinstance(target, dict):
                raise ConfigError(f"cannot set {name.strip()}: {key} is a value, not a section.")
        target[keys[-1]] = _parse_value(text.strip())
    return result


def _parse_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def from_dict(cls: type[T], values: Any, *, where: str = "") -> T:
    """Build dataclass `cls` from a mapping, checking every key and type.

    Args:
        cls: a dataclass whose fields are scalars, tuples, enumerations by `Literal`, optional
            values or dataclasses.
        values: plain values as TOML or JSON give them; integers are accepted for floats, arrays
            for tuples.
        where: dotted path for messages.

    Raises:
        ConfigError: unknown key (the nearest valid one is named), missing key, or value of the
            wrong type.
    """
    if not isinstance(values, Mapping):
        raise ConfigError(
            f"{where or 'the configuration'} must be a section, found {_show(values)}."
        )
    fields = {field.name: field for field in dataclasses.fields(cls) if field.init}  # type: ignore[arg-type]
    for key in values:
        if key not in fields:
            raise ConfigError(unknown(str(key), fields, what=f"key {_join(where, str(key))!r}"))
    hints = typing.get_type_hints(cls)
    arguments = {}
    for name, field in fields.items():
        if name in values:
            arguments[name] = _convert(hints[name], values[name], _join(where, name))
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise ConfigError(f"{_join(where, name)} is required and was not given.")
    try:
        return cls(**arguments)
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError(str(error)) from error


def to_dict(config: Any) -> dict[str, Any]:
    """Plain values of a dataclass, from which `from_dict` builds an equal one.

    `None` is left out, as TOML has none.
    """
    return {
        field.name: _plain(getattr(config, field.name))
        for field in dataclasses.fields(config)
        if field.init and getattr(config, field.name) is not None
    }


def config_hash(config: Any) -> str:
    """First 16 hexadecimal digits of the SHA-256 of a configuration's canonical JSON."""
    values = _plain(config)
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


def unknown(name: str, valid: Iterable[str], *, what: str) -> str:
    """Message for a name that does not exist, with the nearest that does.

    >>> unknown("cutof", ["cutoff", "kind"], what="key 'model.cutof'")
    "unknown key 'model.cutof': did you mean 'cutoff'? Valid: cutoff, kind."
    """
    valid = list(valid)
    near = difflib.get_close_matches(name, valid, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"unknown {what}: {hint}Valid: {', '.join(valid) or 'none'}."


def _join(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return to_dict(value)
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, tuple | list) else value


def _convert(hint: Any, value: Any, where: str) -> Any:
    origin, options = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return _convert_union(options, value, where)
    if origin is typing.Literal:
        if value not in options or isinstance(value, bool) != isinstance(options[0], bool):
            raise ConfigError(
                f"{where} must be one of {', '.join(map(repr, options))}, found {_show(value)}."
            )
        return value
    if origin is tuple:
        return _convert_tuple(options, value, where)
    if origin is not None and issubclass(origin, Mapping):
        if not isinstance(value, Mapping):
            raise ConfigError(f"{where} must be a table, found {_show(value)}.")
        return {str(k): _convert(options[1], v, _join(where, str(k))) for k, v in value.items()}
    if dataclasses.is_dataclass(hint):
        return from_dict(typing.cast(type, hint), value, where=where)
    return _convert_scalar(hint, value, where)


def _convert_union(options: tuple, value: Any, where: str) -> Any:
    if value is None and type(None) in options:
        return None
    errors = []
    for option in options:
        if option is not type(None):
            try:
                return _convert(option, value, where)
            except ConfigError as error:
                errors.append(error)
    raise errors[0 if isinstance(value, str | int | float) else -1]


def _convert_tuple(options: tuple, value: Any, where: str) -> tuple:
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise ConfigError(f"{where} must be an array, found {_show(value)}.")
    if len(options) == 2 and options[1] is Ellipsis:
        return tuple(_convert(options[0], item, f"{where}[{i}]") for i, item in enumerate(value))
    if len(value) != len(options):
        raise ConfigError(f"{where} must have {len(options)} entries, found {len(value)}.")
    return tuple(
        _convert(o, item, f"{where}[{i}]")
        for i, (o, item) in enumerate(zip(options, value, strict=True))
    )


def _convert_scalar(hint: Any, value: Any, where: str) -> Any:
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        if abs(value) > sys.float_info.max:
            raise ConfigError(f"{where} must be a finite number, found a number too large.")
        return float(value)
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"{where} must be a finite number, found {value}.")
    if hint is Any:
        return value
    if isinstance(value, int) and abs(value) > sys.maxsize:
        raise ConfigError(f"{where} must be a number of at most 64 bits, found a larger one.")
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        found = type(value).__name__
        raise ConfigError(
            f"{where} must be of type {hint.__name__}, found {_show(value)} of type {found}."
        )
    return value
