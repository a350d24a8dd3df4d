"""Releases of jaxlib that compute wrong numbers: refused by version, and caught by computing."""

import ctypes
import importlib.metadata
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jmlip.core.platform import (
    keep_freed_memory,
    quiet_cached_programs,
    refuse_broken_jaxlib,
)


def test_broken_release_is_refused(monkeypatch):
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "0.10.2")
    with pytest.raises(ImportError, match=r"jaxlib 0\.10\.2 .* install another release"):
        refuse_broken_jaxlib()


def test_sound_release_is_accepted(monkeypatch):
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "0.10.1")
    refuse_broken_jaxlib()


def test_a_level_of_messages_that_the_user_chose_stays(monkeypatch):
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "0")
    quiet_cached_programs()
    assert os.environ["TF_CPP_MIN_LOG_LEVEL"] == "0"


@pytest.mark.parametrize("n_rows", [16_385, 40_000])
def test_compiled_matrix_vector_products_are_right(n_rows):
    # the miscompilation: vmapped products reduced over more than 16k rows
    generator = np.random.default_rng(0)
    matrix = generator.normal(size=(n_rows, 3, 3)).astype(np.float32)
    vector = generator.normal(size=(n_rows, 3)).astype(np.float32)

    def reduced(matrix, vector):
        return jnp.sum(jax.vmap(jnp.dot)(matrix, vector), axis=0)

    expected = np.einsum("nij,nj->i", matrix.astype(float), vector.astype(float))
    tolerance = 1e-5 * np.sqrt(n_rows)  # float32 sums of numbers of order 1
    np.testing.assert_allclose(jax.jit(reduced)(matrix, vector), expected, atol=tolerance)
    with jax.disable_jit():
        np.testing.assert_allclose(reduced(matrix, vector), expected, atol=tolerance)


FAULTS = """
import resource
import jmlip, jax, jax.numpy as jnp
kept = jax.lax.optimization_barrier
program = jax.jit(lambda x: jnp.sum(kept(x + 1.0)))
x = jnp.ones(10 * 2**20)
faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
found = []
for _ in range(10):
    before = faults()
    program(x).block_until_ready()
    found.append(faults() - before)
print(min(found))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="of glibc")
def test_freed_memory_is_kept():
    """A temporary array of 40 MB, anew in each call, would be 10,240 pages."""
    command = [sys.executable, "-c", FAULTS]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(found.stdout) < 3000


@pytest.mark.parametrize(
    ("name", "value"),
    [("MALLOC_TRIM_THRESHOLD_", "1"), ("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1")],
)
def test_a_library_that_the_user_tunes_stays_as_it_is(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    monkeypatch.setattr(ctypes, "CDLL", lambda _: pytest.fail("it was touched"))
    keep_freed_memory()
