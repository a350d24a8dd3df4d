import os
import struct

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jmlip.core.checkpoint import (
    load_arrays,
    read_arrays,
    read_json,
    save_arrays,
    whole_directory,
    whole_file,
    write_json,
)
from jmlip.core.errors import DataError, JmlipError

TREE = {"layer": {"kernel": np.arange(6.0).reshape(2, 3), "scale": np.float32(2.0)}, "n": [1, 2]}


def fill(path, **files):
    with whole_directory(path) as directory:
        for name, text in files.items():
            (directory / name).write_text(text)


def leftovers(path):
    return [item.name for item in path.parent.iterdir() if item.name != path.name]


def test_directory_appears_whole(tmp_path):
    fill(tmp_path / "deep" / "a", one="1")
    assert (tmp_path / "deep" / "a" / "one").read_text() == "1"
    assert not leftovers(tmp_path / "deep" / "a")


def test_directory_has_ordinary_permissions(tmp_path):
    fill(tmp_path / "a", one="1")
    (tmp_path / "b").mkdir()
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "b").stat().st_mode


def test_failure_leaves_the_older_directory(tmp_path):
    fill(tmp_path / "a", one="1")
    with pytest.raises(TypeError, match="data must be str"):
        fill(tmp_path / "a", one="2", two=3)
    assert (tmp_path / "a" / "one").read_text() == "1"
    assert not leftovers(tmp_path / "a")


def test_directory_is_replaced(tmp_path):
    fill(tmp_path / "a", one="1")
    fill(tmp_path / "a", one="2", two="2")
    assert (tmp_path / "a" / "one").read_text() == "2"
    assert not leftovers(tmp_path / "a")


def test_foreign_files_are_never_replaced(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "thesis.tex").write_text("years")
    with pytest.raises(JmlipError, match=r"holds other files, such as 'thesis.tex'"):
        fill(tmp_path / "a", one="1")
    (tmp_path / "b").write_text("a file")
    with pytest.raises(JmlipError, match="in the way"):
        fill(tmp_path / "b", one="1")
    assert (tmp_path / "b").read_text() == "a file"
    assert (tmp_path / "a" / "thesis.tex").read_text() == "years"


def test_file_in_place_of_a_parent_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(JmlipError, match="cannot write"):
        fill(tmp_path / "file" / "a", one="1")


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_read_only_place_is_one_sentence(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(JmlipError, match=r"cannot write .*choose another place"):
        fill(tmp_path / "a", one="1")


def test_full_disk_is_one_sentence(tmp_path):
    with (
        pytest.raises(JmlipError, match=r"No space left on device; free space"),
        whole_file(tmp_path / "a.json"),
    ):
        raise OSError(28, os.strerror(28))
    assert not list(tmp_path.iterdir())


def test_a_device_is_never_replaced(tmp_path):
    pipe = tmp_path / "a.json"
    os.mkfifo(pipe)
    with pytest.raises(JmlipError, match=r"a\.json: it is there, and is not a file"):
        write_json(pipe, {})
    assert pipe.is_fifo()
    assert list(tmp_path.iterdir()) == [pipe]


def test_json_comes_back_and_refuses_nan(tmp_path):
    write_json(tmp_path / "a.json", {"x": [1, 2.5, None, "ä"]})
    assert read_json(tmp_path / "a.json") == {"x": [1, 2.5, None, "ä"]}
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", float("nan"))
    assert read_json(tmp_path / "a.json") == {"x": [1, 2.5, None, "ä"]}


@pytest.mark.parametrize(
    "content", [b"", b"{", b"\xff\xfe", b"[NaN]", b"[-Infinity]", b"[" * 100_000]
)
def test_damaged_json_is_one_sentence(tmp_path, content):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(DataError, match=r"a.json is damaged: not valid JSON"):
        read_json(tmp_path / "a.json", error=DataError)


def test_arrays_come_back_bit_for_bit(tmp_path):
    save_arrays(tmp_path / "a.safetensors", TREE)
    loaded = load_arrays(tmp_path / "a.safetensors", like=TREE)
    assert jax.tree.structure(loaded) == jax.tree.structure(TREE)
    for found, expected in zip(jax.tree.leaves(loaded), jax.tree.leaves(TREE), strict=True):
        assert found.dtype == np.asarray(expected).dtype
        np.testing.assert_array_equal(found, expected)
    assert set(read_arrays(tmp_path / "a.safetensors")) == {
        "layer/kernel",
        "layer/scale",
        "n/0",
        "n/1",
    }


def test_random_keys_are_stored_as_data(tmp_path, key):
    save_arrays(tmp_path / "a.safetensors", {"key": key})
    np.testing.assert_array_equal(
        read_arrays(tmp_path / "a.safetensors")["key"], jax.random.key_data(key)
    )


@pytest.mark.parametrize(
    ("like", "message"),
    [
        ({"a": jnp.zeros(3)}, "2 arrays differ, first 'a'"),
        ({"b": jnp.zeros(4)}, r"must have shape \(4,\), found \(3,\)"),
        ({"b": jax.ShapeDtypeStruct((10**12,), np.float32)}, "must have shape"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(tmp_path, like, message):
    save_arrays(tmp_path / "a.safetensors", {"b": np.zeros(3)})
    with pytest.raises(DataError, match=message):
        load_arrays(tmp_path / "a.safetensors", like=like, error=DataError)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not arrays at all",
        struct.pack("<Q", 2**62) + b"{}",
        struct.pack("<Q", 2) + b"[]",
        struct.pack("<Q", 64)
        + b'{"b":{"dtype":"F64","shape":[1000000000000],"data_offsets":[0,8]}}'.ljust(64)
        + bytes(8),
    ],
)
def test_damaged_arrays_are_one_sentence(tmp_path, content):
    (tmp_path / "a.safetensors").write_bytes(content)
    for read in (read_arrays, lambda path, error: load_arrays(path, like={}, error=error)):
        with pytest.raises(DataError, match=r"a\.safetensors is damaged"):
            read(tmp_path / "a.safetensors", error=DataError)


def test_truncated_and_missing_arrays_are_one_sentence(tmp_path):
    save_arrays(tmp_path / "a.safetensors", TREE)
    content = (tmp_path / "a.safetensors").read_bytes()
    (tmp_path / "a.safetensors").write_bytes(content[:-8])
    with pytest.raises(JmlipError, match="damaged"):
        load_arrays(tmp_path / "a.safetensors", like=TREE)
    with pytest.raises(JmlipError, match="cannot read"):
        load_arrays(tmp_path / "b.safetensors", like=TREE)


def test_one_wrong_bit_is_noticed(tmp_path):
    path = tmp_path / "a.safetensors"
    save_arrays(path, TREE)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(JmlipError, match="not those that were written"):
        load_arrays(path, like=TREE)
