"""What must be known of jaxlib before it is loaded: releases that compute wrong numbers, noise."""

import importlib.metadata
import os
from pathlib import Path

WRONG_ON_CPU = frozenset({"0.10.2"})
"""Silent miscompilation of vmapped matrix-vector products on CPU (jax issue 39103)."""


def refuse_broken_jaxlib() -> None:
    """Raise ImportError if the installed jaxlib is known to compute wrong numbers.

    Raises:
        ImportError: with the remedy in one sentence.
    """
    version = importlib.metadata.version("jaxlib")
    if version in WRONG_ON_CPU:
        raise ImportError(
            f"jaxlib {version} silently computes wrong numbers on CPU, so jmlip refuses it; "
            "install another release, for example: pip install 'jax==0.10.1' 'jaxlib==0.10.1'."
        )


def quiet_cached_programs() -> None:
    """Keep XLA from reporting each program that it takes from its cache as an error.

    It takes preferences of processors with AVX-512 (`prefer-no-gather`) for instructions that are
    missing, says so at length, and goes on (openxla/xla issue 44565). Messages of that level are
    only silenced where there is such a processor, no GPU that might have something to say, and no
    level that the user chose.
    """
    processor = Path("/proc/cpuinfo")
    if any(Path(device).exists() for device in ("/dev/nvidia0", "/dev/kfd")):
        return
    if processor.exists() and "avx512" in processor.read_text(encoding="utf-8", errors="replace"):
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
