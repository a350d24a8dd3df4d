"""What jaxlib needs before it is loaded: no release with wrong numbers, no noise, kept memory."""

import ctypes
import importlib.metadata
import os
import sys
from pathlib import Path

WRONG_ON_CPU = frozenset({"0.10.2"})
"""Silent miscompilation of vmapped matrix-vector products on CPU (jax issue 39103)."""

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_MMAP_MAX = -1, -3, -4  # of malloc.h


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


def keep_freed_memory() -> None:
    """Have the C library keep what is freed instead of giving it back to the system.

    XLA allocates the temporary arrays of a program anew in each call. Above 32 MB glibc takes them
    from the system and gives them back, so every call touches fresh pages, 4 kB at a time: up to
    two fifths of a force call on CPU. Threads keep their arenas, which hold blocks up to
    64 MB: one arena for all would keep larger ones too, but its lock makes small training steps
    half as long again. Where the user tunes the C library, nothing is done.
    """
    tuned = any(name.startswith("MALLOC_") for name in os.environ)
    if sys.platform != "linux" or tuned or "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", ""):
        return
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "mallopt"):  # another C library
        return
    most = 2**31 - 1
    if not libc.mallopt(_M_MMAP_THRESHOLD, most):  # glibc before 2.35 knows no such sizes
        libc.mallopt(_M_MMAP_MAX, 0)
    libc.mallopt(_M_TRIM_THRESHOLD, most)
