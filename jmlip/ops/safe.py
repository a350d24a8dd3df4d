"""Functions whose derivatives of every order stay finite where the plain formula's do not.

The argument is protected, never the result: `where` around a NaN still has a NaN gradient.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float


def sqrt(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """Square root with value and derivatives 0 at `x <= 0`."""
    positive = x > 0.0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, x, 1.0)), 0.0)


def norm(x: Float[Array, "... n"]) -> Float[Array, "..."]:
    """Euclidean norm over the last axis with derivatives 0 at the origin."""
    return sqrt(jnp.sum(x * x, axis=-1))


def divide(
    numerator: Float[Array, "*#shape"], denominator: Float[Array, "*#shape"]
) -> Float[Array, "*#shape"]:
    """Quotient that is 0, with derivatives 0, where the denominator is 0."""
    nonzero = denominator != 0.0
    return jnp.where(nonzero, numerator / jnp.where(nonzero, denominator, 1.0), 0.0)
