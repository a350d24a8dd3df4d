"""XLA's persistent compilation cache, on for the command line: nothing is compiled twice."""

import hashlib
import platform
import sys
from pathlib import Path

import jax


def use_compilation_cache() -> None:
    """Keep compiled programs under the user's cache directory; a place the user set in JAX stays.

    Where the directory cannot be written, one notice says so and everything runs without the cache.
    """
    if jax.config.values.get("jax_compilation_cache_dir") is not None:
        return
    try:
        directory = Path.home() / ".cache" / "jmlip" / f"xla-{_processor()}"
        directory.mkdir(parents=True, exist_ok=True)
        (directory / ".writable").touch()
    except (OSError, RuntimeError) as error:
        print(f"notice: programs are compiled anew in every run ({error}).", file=sys.stderr)
        return
    jax.config.update("jax_compilation_cache_dir", str(directory))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)


def _processor() -> str:
    """Short name of this processor: machine code of another, in a shared home, may be illegal."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        features = next(line for line in lines if line.startswith(("flags", "Features")))
    except (OSError, StopIteration):
        features = platform.processor()
    return hashlib.sha256(f"{platform.machine()} {features}".encode()).hexdigest()[:12]
