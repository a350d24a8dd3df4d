"""Cutoff functions phi(r): 1 at r = 0, exactly 0 from the cutoff on."""

from typing import Literal

import jax.numpy as jnp
from jaxtyping import Array, Float

CutoffName = Literal["cosine_squared", "smooth"]


def cosine_squared(r: Float[Array, "*n"], cutoff: float) -> Float[Array, "*n"]:
    """phi(r) = cos^2(pi r / 2 r_c); once continuously differentiable (Lubbers 2018, eq. 6)."""
    inside = jnp.clip(r / cutoff, 0.0, 1.0)
    return jnp.where(r < cutoff, jnp.cos(0.5 * jnp.pi * inside) ** 2, 0.0)


def smooth(r: Float[Array, "*n"], cutoff: float) -> Float[Array, "*n"]:
    """phi(r) = exp(1 - 1 / (1 - (r/r_c)^2)); all derivatives vanish at r_c."""
    inside = r < cutoff
    x = jnp.where(inside, r / cutoff, 0.0)
    return jnp.where(inside, jnp.exp(1.0 - 1.0 / (1.0 - x * x)), 0.0)


def polynomial(r: Float[Array, "*n"], cutoff: float, order: int) -> Float[Array, "*n"]:
    """u_p(x) = 1 - (p+1)(p+2)/2 x^p + p(p+2) x^(p+1) - p(p+1)/2 x^(p+2), x = r / r_c < 1.

    Value, first and second derivative vanish at r_c (Gasteiger et al., ICLR 2020).
    """
    p, x = order, jnp.where(r < cutoff, r / cutoff, 1.0)
    bracket = 0.5 * (p + 1) * (p + 2) - x * (p * (p + 2) - x * (0.5 * p * (p + 1)))
    return jnp.where(r < cutoff, 1.0 - x**p * bracket, 0.0)


def exponential(
    r: Float[Array, " n"], cutoff: float, width: Float[Array, " n"]
) -> Float[Array, " n"]:
    """phi(r) = exp(-w / (r_c - r)); all derivatives vanish at r_c (Stillinger, Weber 1985).

    Not 1 at r = 0. Within w / 100 of the cutoff it is 0, which float32 cannot tell from exp(-100).
    """
    inside = cutoff - r > 0.01 * width
    return jnp.where(inside, jnp.exp(-width / jnp.where(inside, cutoff - r, 1.0)), 0.0)


CUTOFFS = {"cosine_squared": cosine_squared, "smooth": smooth}
