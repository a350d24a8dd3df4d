"""Releases of jaxlib that compute wrong numbers: refused by version, and caught by computing."""

import importlib.metadata
import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jmlip.core.platform import quiet_cached_programs, refuse_broken_jaxlib


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
