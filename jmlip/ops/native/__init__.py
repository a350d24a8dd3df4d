"""Kernels in C++ for CPU, called through XLA's foreign function interface.

They are built with the package where a C++ compiler is found. Where they are not there, everything
runs in plain JAX, slower and with the same numbers.
"""

import ctypes
import functools
from pathlib import Path

import jax

TARGETS = ("jmlip_contraction",)
LIBRARY = Path(__file__).parent / "libjmlip.so"


@functools.cache
def why_not() -> str:
    """Why the kernels cannot be used; empty where they can. Loads and registers them once."""
    if not LIBRARY.exists():
        return "they were not built, for want of a C++ compiler when jmlip was installed"
    try:
        library = ctypes.cdll.LoadLibrary(str(LIBRARY))
        for name in TARGETS:
            jax.ffi.register_ffi_target(
                name, jax.ffi.pycapsule(getattr(library, name)), platform="cpu"
            )
    except (OSError, AttributeError) as error:
        return f"they do not load ({error}); install jmlip anew"
    return ""


def available() -> bool:
    """Whether the kernels can be used."""
    return not why_not()
