"""A command run in this process, and a potential fitted to hydrogen molecules by `jmlip train`."""

from pathlib import Path
from typing import NamedTuple

import pytest

from jmlip.cli.main import main
from jmlip.data import write
from tests.cli.molecules import CONFIG, hydrogen


class Result(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def jmlip(capsys):
    def run(*arguments) -> Result:
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Result(code, captured.out, captured.err)

    return run


@pytest.fixture(scope="session")
def folder(tmp_path_factory) -> Path:
    """Data, a configuration, and what `jmlip train` made of them in `run`."""
    folder = tmp_path_factory.mktemp("cli")
    write(folder / "hydrogen.xyz", hydrogen(50, 0))
    write(folder / "held-out.xyz", hydrogen(20, 1))
    (folder / "config.toml").write_text(CONFIG)
    assert main(["train", str(folder / "config.toml"), "--run", str(folder / "run")]) == 0
    return folder


@pytest.fixture(scope="session")
def potential(folder) -> Path:
    return folder / "run" / "potential"


@pytest.fixture
def without_report(monkeypatch):
    """Drawing takes longer than training here, and is tested where reports are."""
    monkeypatch.setattr("jmlip.cli.run_report.write_run_report", lambda *_: [])
