"""Radial functions: an expansion of a distance in a learnable or fixed basis."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def inverse_distance_gaussians(
    r: Float[Array, "*n"], mu: Float[Array, " basis"], sigma: Float[Array, " basis"]
) -> Float[Array, "*n basis"]:
    """g_nu(r) = exp[-sigma_nu^2 (1/r - 1/mu_nu)^2 / 2]; mu and sigma are lengths, angstrom.

    References: Lubbers, Smith, Barros, J. Chem. Phys. 148, 241715 (2018), eq. 5.
    """
    to_last_axis = (1,) * r.ndim + (-1,)
    x = sigma.reshape(to_last_axis) * (1.0 / r[..., None] - 1.0 / mu.reshape(to_last_axis))
    return jnp.exp(-0.5 * x * x)
