"""Free-form information of a structure as JSON, arrays included; what is not JSON is left out."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

_TAG = "__array__"


def dumps(info: Mapping[str, Any]) -> str:
    """One line of JSON; arrays of numbers come back from `loads` as arrays, bit for bit.

    >>> loads(dumps({"dipole": np.array([0.1, 0.2]), "name": "w", "handle": object()}))
    {'dipole': array([0.1, 0.2]), 'name': 'w'}
    """
    return json.dumps(plain(info, tag_arrays=True))


def loads(text: str) -> dict[str, Any]:
    """The information written by `dumps`."""
    return json.loads(text, object_hook=_untag)


def plain(value: Any, *, tag_arrays: bool) -> Any:
    """`value` as JSON holds it, entries that JSON cannot hold left out of their mapping.

    Args:
        value: anything.
        tag_arrays: keep dtype and shape of arrays in a tagged mapping, instead of nested lists.
    """
    if isinstance(value, Mapping):
        items = {str(key): plain(item, tag_arrays=tag_arrays) for key, item in value.items()}
        return {key: item for key, item in items.items() if item is not _NOT_JSON}
    if isinstance(value, np.ndarray):
        if value.dtype.kind not in "biufUS":
            return _NOT_JSON
        if value.dtype.kind == "S":
            value = np.char.decode(value, "utf-8")
        return {_TAG: value.tolist(), "dtype": value.dtype.str} if tag_arrays else value.tolist()
    if isinstance(value, list | tuple):
        items = [plain(item, tag_arrays=tag_arrays) for item in value]
        return _NOT_JSON if any(item is _NOT_JSON for item in items) else items
    if isinstance(value, np.generic):
        return plain(value.item(), tag_arrays=tag_arrays)
    return value if value is None or isinstance(value, bool | int | float | str) else _NOT_JSON


_NOT_JSON = object()


def _untag(value: dict) -> Any:
    if _TAG in value:
        return np.array(value[_TAG], dtype=value["dtype"])
    return value
