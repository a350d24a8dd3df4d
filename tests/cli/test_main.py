"""The frame of all commands: help, wrong use, exit codes, what is said when something breaks."""

import os
import subprocess
import sys

import pytest

import jmlip as package
from jmlip.cli import main as main_module
from jmlip.cli.parser import COMMANDS, make_parser


def test_version_and_help(jmlip):
    assert jmlip("--version").out.strip() == f"jmlip {package.__version__}"
    result = jmlip("--help")
    assert result.code == 0
    assert all(command in result.out for command in COMMANDS)
    assert "Exit codes" in result.out


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_each_command_explains_every_option(jmlip, command):
    result = jmlip(command, "--help")
    assert result.code == 0
    for action in make_parser()[1][command]._actions:
        assert action.help, action.dest
        assert all(name in result.out for name in action.option_strings)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "the following arguments are required: COMMAND; see jmlip --help."),
        (("trian",), "unknown command 'trian': did you mean 'train'?"),
        (("train",), "the following arguments are required: CONFIG.toml"),
        (
            ("train", "a.toml", "--resum"),
            "unknown option '--resum' of train: did you mean '--resume'?",
        ),
        (("md", "p", "s", "--step=3"), "arguments are required: --ensemble"),
        (("demo", "further"), "demo takes no argument 'further'"),
        (("info",), "the following arguments are required: PATH"),
        (("--debg", "info", "x"), "unknown option '--debg'"),
    ],
)
def test_wrong_use_is_one_sentence_with_the_nearest_right_one(jmlip, words, message):
    result = jmlip(*words)
    assert (result.code, result.out) == (2, "")
    assert message in result.err
    assert result.err.count("\n") == 1


class Broken:
    """A command that fails in a given way."""

    def __init__(self, error):
        self.error = error

    def add_parser(self, subparsers):
        subparsers.add_parser("broken").set_defaults(run=self.run, resume_hint="go on like this")

    def run(self, options):
        raise self.error


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (
            ZeroDivisionError("one\ntwo"),
            1,
            "ZeroDivisionError: one (run with --debug for the trace",
        ),
        (KeyboardInterrupt(), 130, "interrupted; go on like this."),
        (OSError(28, "No space left on device", "/x/y"), 1, "/x/y: No space left on device."),
        (MemoryError(), 1, "does not fit into memory"),
        (RuntimeError("RESOURCE_EXHAUSTED: 12 GB"), 1, "does not fit into memory"),
        (ImportError("needs the 'demo' extra: pip install 'jmlip[demo]'."), 1, "'jmlip[demo]'.\n"),
        (AssertionError(), 1, "AssertionError: no further message"),
    ],
)
def test_every_failure_is_one_sentence(jmlip, monkeypatch, error, code, message):
    monkeypatch.setitem(COMMANDS, "broken", Broken(error))
    result = jmlip("broken")
    assert result.code == code
    assert result.err.startswith("error: ")
    assert result.err.count("\n") == 1
    assert message in result.err


@pytest.mark.parametrize("words", [("--debug", "broken"), ("broken", "--debug")])
def test_debug_shows_the_traceback(jmlip, monkeypatch, words):
    monkeypatch.setitem(COMMANDS, "broken", Broken(ZeroDivisionError("one")))
    result = jmlip(*words)
    assert result.code == 1
    assert "Traceback (most recent call last)" in result.err
    assert result.err.splitlines()[-1].startswith("error: ZeroDivisionError: one")


def test_warnings_are_notices_of_one_line(jmlip, monkeypatch):
    import warnings

    class Warns(Broken):
        def run(self, options):
            warnings.simplefilter("always")
            warnings.warn("mind\nthis", stacklevel=1)

    monkeypatch.setitem(COMMANDS, "broken", Warns(None))
    assert jmlip("broken").err == "notice: mind this\n"


def test_full_disk_behind_standard_output(folder):
    with open("/dev/full", "w") as full:
        process = start("info", folder / "config.toml", stdout=full)
    _, err = process.communicate()
    assert process.returncode == 1
    assert err == "error: cannot use standard output: No space left on device.\n"


def test_reader_that_leaves_early_is_no_traceback(folder):
    read, write = os.pipe()
    os.close(read)
    process = start("info", folder / "config.toml", stdout=write)
    os.close(write)
    _, err = process.communicate()
    assert (process.returncode, err) == (1, "")


def start(*words, stdout):
    command = [sys.executable, "-m", "jmlip", *map(str, words)]
    return subprocess.Popen(command, stdout=stdout, stderr=subprocess.PIPE, text=True)


def test_command_line_never_raises():
    assert main_module.main(["info", "/nowhere/at/all"]) == 1
