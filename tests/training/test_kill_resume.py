"""Runs killed with SIGKILL and resumed end with the bits of the run that nobody killed."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "kill_resume.py"


@pytest.mark.slow
def test_three_kills_leave_no_trace(tmp_path):
    command = [sys.executable, SCRIPT, "--kills", "3", "--epochs", "8", "--directory", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "same bits" in done.stdout
    assert done.stdout.count("kill after") == 3
