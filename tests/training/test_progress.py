import signal

import pytest
from rich.console import Console

from jmlip.core.interrupts import deferred_interrupts
from jmlip.training.progress import Bar, Lines, Status, make_display


@pytest.fixture
def status():
    status = Status()
    status.epoch, status.max_epochs, status.done = 3, 10, 0.25
    status.loss, status.structures_per_s = 0.125, 512.3
    status.errors = {"energy_mae_meV": 3.1, "forces_rmse_meV_A": 42.04}
    status.eta_s = 3725.0
    return status


TEXT = "epoch 3/10  loss 0.125  validation force RMSE 42.0 meV/Å  512 structures/s  ETA 1:02:05"


def test_without_a_terminal_epochs_are_plain_lines_now_and_then(status, capsys):
    with make_display(True) as display:
        for _ in range(3):
            display.update(status, end_of_epoch=True)
        status.epoch = 10
        display.update(status, end_of_epoch=True)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.splitlines() == [TEXT, TEXT.replace("3/10", "10/10")]


def test_silence_where_no_progress_is_wanted(status, capsys):
    with make_display(False) as display:
        display.update(status, end_of_epoch=True)
        display.note("resumed")
    assert capsys.readouterr() == ("", "")


def test_on_a_terminal_a_bar_shows_the_same_numbers(status):
    console = Console(force_terminal=True, record=True, width=140, quiet=False)
    with Bar(console) as display:
        display.update(status)
        display.note("resumed at epoch 2.")
    text = console.export_text()
    assert TEXT in text
    assert "resumed at epoch 2." in text


def test_only_what_is_known_is_shown(capsys):
    Lines(Console(stderr=True, soft_wrap=True)).update(Status())
    assert capsys.readouterr().err == "epoch 0/0\n"


def test_without_forces_the_error_of_energies_is_shown():
    status = Status()
    status.errors = {"energy_mae_meV": 3.1}
    assert status.line() == "epoch 0/0  validation energy MAE 3.10 meV"


@pytest.fixture
def heeded():
    """SIGINT as Python sets it; a shell's background jobs inherit that it is ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heeded")
def test_the_first_interrupt_waits_and_the_second_does_not():
    before = signal.getsignal(signal.SIGINT)
    with deferred_interrupts() as interrupt:
        signal.raise_signal(signal.SIGINT)
        assert interrupt.requested
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before
