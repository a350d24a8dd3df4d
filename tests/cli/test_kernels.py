"""What is said of the C++ kernels: nothing where they serve, one line where they are missed."""

import pytest

from jmlip.cli import kernels
from jmlip.factory import make_model
from jmlip.ops import native

MACE, PLAIN, HIPNN = (
    make_model("mace", {"species": [1, 8]}),
    make_model("mace", {"species": [1, 8], "kernels": "plain"}),
    make_model("hipnn", {"species": [1, 8]}),
)


@pytest.fixture
def absent(monkeypatch):
    monkeypatch.setattr(native, "why_not", lambda: "they were not built")
    kernels._mention.cache_clear()


def test_one_notice_per_process_where_kernels_would_serve(absent, capsys):
    for model in (HIPNN, PLAIN, MACE, MACE):
        kernels.mention_kernels(model)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("notice: ")
    assert "they were not built" in lines[0]


def test_no_notice_where_the_kernels_are_there(monkeypatch, capsys):
    monkeypatch.setattr(native, "why_not", lambda: "")
    kernels.mention_kernels(MACE)
    assert capsys.readouterr().err == ""
    assert kernels.kernels_of(MACE) == "C++"


def test_info_names_the_reason(absent):
    assert "they were not built" in kernels.kernels_of(MACE)
    assert kernels.kernels_of(PLAIN) == "plain JAX, as configured"
    assert kernels.kernels_of(HIPNN) == ""


def test_a_damaged_library_is_a_reason_and_no_crash(monkeypatch, tmp_path):
    library = tmp_path / "libjmlip.so"
    library.write_bytes(b"not a library")
    monkeypatch.setattr(native, "LIBRARY", library)
    assert "do not load" in native.why_not.__wrapped__()
    library.unlink()
    assert "not built" in native.why_not.__wrapped__()
