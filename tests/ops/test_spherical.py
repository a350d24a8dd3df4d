"""Spherical harmonics and their gradients against e3nn-jax."""

import e3nn_jax
import jax
import jax.numpy as jnp
import numpy as np

from jmlip.ops import safe
from jmlip.ops.spherical import spherical_harmonics

DEGREE = 6
POLES = np.concatenate([np.eye(3), -np.eye(3)])


def ours(vector):
    return spherical_harmonics(vector / safe.norm(vector), DEGREE)


def reference(vector):
    irreps = e3nn_jax.Irreps.spherical_harmonics(DEGREE)
    return e3nn_jax.spherical_harmonics(irreps, vector, True, "component").array


def test_values_and_gradients_are_those_of_e3nn(x64):
    random = np.random.default_rng(0).normal(size=(20, 3))
    vectors = jnp.asarray(np.concatenate([random, 3.0 * POLES]))
    found = jax.vmap(ours)(vectors)
    np.testing.assert_allclose(found, jax.vmap(reference)(vectors), atol=1e-12)
    gradients = [jax.jit(jax.vmap(jax.jacfwd(f)))(vectors) for f in (ours, reference)]
    np.testing.assert_allclose(gradients[0], gradients[1], atol=1e-11)
    norms = [jnp.sum(found[:, l * l : (l + 1) ** 2] ** 2, axis=1) for l in range(DEGREE + 1)]
    np.testing.assert_allclose(
        norms, [[2 * l + 1] * len(vectors) for l in range(DEGREE + 1)], rtol=1e-12
    )
