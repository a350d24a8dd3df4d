"""Cutoffs, radial functions and tensors against NumPy formulas and symmetry."""

import e3nn_jax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jmlip.ops.cutoffs import CUTOFFS
from jmlip.ops.radial import inverse_distance_gaussians
from jmlip.ops.tensors import direction_tensors, squared_norms


@pytest.mark.parametrize("name", CUTOFFS)
def test_cutoff_starts_at_one_and_vanishes_with_its_slope(name):
    phi = CUTOFFS[name]
    r = jnp.array([0.0, 5.0, 6.0])
    np.testing.assert_allclose(phi(r, 5.0), [1.0, 0.0, 0.0], atol=1e-7)
    slope = jax.vmap(jax.grad(lambda x: phi(x, 5.0)))(jnp.array([4.999, 5.0, 5.5]))
    np.testing.assert_allclose(slope, 0.0, atol=1e-3)


def test_published_cutoff_is_squared_cosine():
    r = np.linspace(0.1, 4.9, 7)
    expected = np.cos(0.5 * np.pi * r / 5.0) ** 2
    np.testing.assert_allclose(CUTOFFS["cosine_squared"](jnp.array(r), 5.0), expected, rtol=1e-5)


def test_smooth_cutoff_has_vanishing_second_derivative(x64):
    second = jax.grad(jax.grad(lambda r: CUTOFFS["smooth"](r, 5.0)))
    assert abs(float(second(jnp.array(4.999)))) < 1e-12
    published = jax.grad(jax.grad(lambda r: CUTOFFS["cosine_squared"](r, 5.0)))
    assert float(published(jnp.array(4.999))) == pytest.approx(np.pi**2 / 50, rel=1e-3)


def test_sensitivities_are_gaussians_of_the_inverse_distance():
    r, mu, sigma = np.array([1.0, 2.0, 3.0]), np.array([1.0, 2.5]), np.array([20.0, 10.0])
    expected = np.exp(-0.5 * sigma**2 * (1 / r[:, None] - 1 / mu) ** 2)
    got = inverse_distance_gaussians(jnp.array(r), jnp.array(mu), jnp.array(sigma))
    np.testing.assert_allclose(got, expected, rtol=2e-4, atol=1e-6)


def test_tensors_are_the_independent_components_of_uu_minus_trace():
    unit = np.array([0.6, 0.0, -0.8])
    full = np.outer(unit, unit) - np.eye(3) / 3
    expected = [1.0, *unit, full[0, 0], full[0, 1], full[0, 2], full[1, 1], full[1, 2]]
    np.testing.assert_allclose(direction_tensors(jnp.array(unit), 2), expected, atol=1e-6)


def test_squared_norms_are_frobenius_norms_and_do_not_turn():
    key = jax.random.key(1)
    vectors = jax.random.normal(key, (7, 3))
    vectors = vectors / jnp.linalg.norm(vectors, axis=1, keepdims=True)

    def norms(v):
        summed = direction_tensors(v, 2).sum(0)[None, :, None]
        return [float(x[0, 0]) for x in squared_norms(summed, 2)]

    v = np.asarray(vectors, np.float64)
    quadrupole = np.einsum("ka,kb->ab", v, v) - len(v) * np.eye(3) / 3
    expected = [np.sum(v.sum(0) ** 2), np.sum(quadrupole**2)]
    np.testing.assert_allclose(norms(vectors), expected, rtol=1e-5)
    rotation = e3nn_jax.rand_matrix(jax.random.key(2))
    np.testing.assert_allclose(norms(vectors @ rotation.T), expected, rtol=1e-4)
