"""Kernels in C++ for CPU, called through XLA's foreign function interface.

They are built with the package where a C++ compiler is found. Where they are not there, everything
runs in plain JAX, slower and with the same numbers.
"""

import ctypes
import functools
from pathlib import Path

import jax

TARGETS = (
    "jmlip_angular",
    "jmlip_contraction",
    "jmlip_pair_product",
    "jmlip_radial_table",
    "jmlip_symmetric",
)
LIBRARY = Path(__file__).parent / "libjmlip.so"


@functools.cache
def why_not() -> str:
    """Why the kernels cannot be used; empty where they can. Loads and registers them once."""
    if not LIBRARY.exists():
        return "they were not built (was there a C++ compiler when jmlip was installed?)"
    try:
        library = ctypes.cdll.LoadLibrary(str(LIBRARY))
        if missing := _missing(library):
            needed = ", ".join(sorted(missing))
            return f"they need a processor with {needed}; install jmlip anew on this one"
        # with a CPU there, a library for another jaxlib is refused here and not by every program
        jax.local_devices(backend="cpu")
        for name in TARGETS:
            jax.ffi.register_ffi_target(
                name, jax.ffi.pycapsule(getattr(library, name)), platform="cpu"
            )
    except (OSError, AttributeError, ValueError, RuntimeError) as error:
        return f"they do not load ({str(error).splitlines()[0]}); install jmlip anew"
    return ""


def _missing(library: ctypes.CDLL) -> set[str]:
    """Instructions that the kernels may use and this processor lacks, where the system tells."""
    first = ctypes.c_char.in_dll(library, "jmlip_instructions")
    needed = ctypes.string_at(ctypes.addressof(first)).decode().split()
    cpuinfo = Path("/proc/cpuinfo")
    if not cpuinfo.exists():
        return set()
    with cpuinfo.open() as lines:
        for line in lines:
            name, _, words = line.partition(":")
            if name.strip() in ("flags", "Features"):
                return set(needed) - set(words.split())
    return set()


def available() -> bool:
    """Whether the kernels can be used."""
    return not why_not()
