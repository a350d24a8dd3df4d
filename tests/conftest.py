"""Settings and fixtures of all tests: NaNs raise where they arise, programs are compiled once."""

import gc
import os
from pathlib import Path

# Compiling costs more than computing here: without LLVM's optimizations, with the older emitters of
# loops, and by one thread in one piece, it takes half as long. Processes that tests start have the
# same.
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false "
    "--xla_cpu_parallel_codegen_split_count=1",
)

import jax
import pytest

# tracing makes millions of objects that live long; looking for cycles among them took a seventh of
# the time
gc.set_threshold(200_000, 20, 50)

jax.config.update("jax_debug_nans", True)
jax.config.update("jax_debug_key_reuse", True)
jax.config.update("jax_numpy_rank_promotion", "raise")
CACHE = {
    "jax_compilation_cache_dir": str(Path(__file__).parents[1] / ".jax_cache"),
    "jax_persistent_cache_min_compile_time_secs": 0.1,
}
for name, value in CACHE.items():
    jax.config.update(name, value)
    os.environ[name.upper()] = str(value)  # for processes that tests start


@pytest.fixture
def x64():
    with jax.enable_x64(True):
        yield


@pytest.fixture
def key():
    return jax.random.key(0)
