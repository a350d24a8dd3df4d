import dataclasses
import json
from collections.abc import Mapping
from typing import Literal

import pytest

from jmlip.core.config import config_hash, from_dict, load_toml, override, to_dict
from jmlip.core.errors import ConfigError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Inner:
    width: float = 1.0
    kind: Literal["a", "b"] = "a"

    def __post_init__(self):
        if not self.width > 0.0:
            raise ValueError(f"width must be positive, got {self.width}.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outer:
    name: str
    count: int = 1
    flag: bool = False
    sizes: tuple[int, ...] = ()
    box: tuple[float, float] = (1.0, 2.0)
    seed: int | None = None
    source: str | tuple[str, ...] = ""
    weights: Mapping[str, float] = dataclasses.field(default_factory=dict)
    inner: Inner = Inner()


FULL = {
    "name": "x",
    "count": 3,
    "flag": True,
    "sizes": [1, 2],
    "box": [3, 4.5],
    "seed": 7,
    "source": ["a", "b"],
    "weights": {"energy": 1},
    "inner": {"width": 2, "kind": "b"},
}


def test_values_are_converted_and_come_back():
    config = from_dict(Outer, FULL)
    assert config.box == (3.0, 4.5)
    assert config.sizes == (1, 2)
    assert config.source == ("a", "b")
    assert config.inner == Inner(width=2.0, kind="b")
    assert isinstance(config.weights["energy"], float)
    assert from_dict(Outer, to_dict(config)) == config
    assert from_dict(Outer, json.loads(json.dumps(to_dict(config)))) == config


def test_none_is_left_out():
    assert "seed" not in to_dict(Outer(name="x"))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "name is required"),
        ({"name": "x", "cuont": 3}, "unknown key 'cuont': did you mean 'count'"),
        ({"name": "x", "inner": {"wdith": 3}}, "'inner.wdith': did you mean 'width'"),
        ({"name": 3}, "name must be of type str, found 3 of type int"),
        ({"name": "x", "count": 1.5}, "count must be of type int"),
        ({"name": "x", "count": True}, "count must be of type int"),
        ({"name": "x", "flag": 1}, "flag must be of type bool"),
        ({"name": "x", "sizes": "12"}, "sizes must be an array"),
        ({"name": "x", "sizes": [1, "2"]}, r"sizes\[1\] must be of type int"),
        ({"name": "x", "box": [1.0]}, "box must have 2 entries, found 1"),
        ({"name": "x", "box": [10**400, 1.0]}, "must be a finite number"),
        ({"name": "x", "inner": 3}, "inner must be a section"),
        ({"name": "x", "inner": {"kind": "c"}}, "inner.kind must be one of 'a', 'b', found 'c'"),
        ({"name": "x", "inner": {"kind": ["a"]}}, "inner.kind must be one of"),
        ({"name": "x", "inner": {"width": -1.0}}, "width must be positive"),
        ({"name": "x", "inner": {"width": float("nan")}}, "width must be a finite number"),
        ({"name": "x", "weights": [1.0]}, "weights must be a table"),
        ({"name": "x", "weights": {"energy": "big"}}, "weights.energy must be of type float"),
        ([], "must be a section"),
    ],
)
def test_wrong_values_are_named(values, message):
    with pytest.raises(ConfigError, match=message):
        from_dict(Outer, values)


def test_override_changes_a_copy_at_any_depth():
    original = {"a": {"b": {"c": 1}}, "d": 2}
    changed = override(original, ["a.b.c=[1, 2]", "d=text", "e.f = 1.5e-3", "g="])
    assert changed == {"a": {"b": {"c": [1, 2]}}, "d": "text", "e": {"f": 1.5e-3}, "g": ""}
    assert original == {"a": {"b": {"c": 1}}, "d": 2}


@pytest.mark.parametrize("text", ["a", "=1", "a..b=1", "d.x=1"])
def test_override_refuses(text):
    with pytest.raises(ConfigError):
        override({"d": 2}, [text])


def test_hash_knows_values_and_not_order():
    assert config_hash({"a": 1, "b": (2,)}) == config_hash({"b": [2], "a": 1})
    assert config_hash(Outer(name="x")) != config_hash(Outer(name="y"))
    assert config_hash({"inner": Inner()}) == config_hash({"inner": to_dict(Inner())})


def test_toml_errors_name_the_file(tmp_path):
    with pytest.raises(ConfigError, match=r"cannot read configuration .*missing.toml"):
        load_toml(tmp_path / "missing.toml")
    file = tmp_path / "bad.toml"
    file.write_bytes(b"a = \xff\n")
    with pytest.raises(ConfigError, match=r"bad.toml is not valid TOML"):
        load_toml(file)
