"""Values and derivatives at the points where the plain formulas fail."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jmlip.ops import safe


def test_sqrt_has_zero_derivatives_at_zero():
    assert safe.sqrt(jnp.array(0.0)) == 0.0
    assert jax.grad(safe.sqrt)(jnp.array(0.0)) == 0.0
    assert jax.grad(jax.grad(safe.sqrt))(jnp.array(0.0)) == 0.0


def test_norm_gradient_is_the_unit_vector_and_zero_at_the_origin():
    x = jnp.array([3.0, 0.0, 4.0])
    np.testing.assert_allclose(jax.grad(safe.norm)(x), x / 5.0, rtol=1e-6)
    np.testing.assert_array_equal(jax.grad(safe.norm)(jnp.zeros(3)), 0.0)
    np.testing.assert_array_equal(jax.hessian(safe.norm)(jnp.zeros(3)), 0.0)


@pytest.mark.parametrize("argument", [0, 1])
def test_divide_by_zero_gives_zero_with_zero_gradient(argument):
    assert safe.divide(jnp.array(2.0), jnp.array(0.0)) == 0.0
    assert jax.grad(safe.divide, argument)(jnp.array(2.0), jnp.array(0.0)) == 0.0


def test_divide_elsewhere_is_division():
    assert safe.divide(jnp.array(3.0), jnp.array(-2.0)) == -1.5
    assert jax.grad(safe.divide, 1)(jnp.array(3.0), jnp.array(-2.0)) == -0.75
