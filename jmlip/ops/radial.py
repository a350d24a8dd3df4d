"""Radial functions: an expansion of a distance in a learnable or fixed basis."""

import math
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

BesselNormalization = Literal["dimenet", "nequip", "sinc"]


def inverse_distance_gaussians(
    r: Float[Array, "*n"], mu: Float[Array, " basis"], sigma: Float[Array, " basis"]
) -> Float[Array, "*n basis"]:
    """g_nu(r) = exp[-sigma_nu^2 (1/r - 1/mu_nu)^2 / 2]; mu and sigma are lengths, angstrom.

    References: Lubbers, Smith, Barros, J. Chem. Phys. 148, 241715 (2018), eq. 5.
    """
    to_last_axis = (1,) * r.ndim + (-1,)
    x = sigma.reshape(to_last_axis) * (1.0 / r[..., None] - 1.0 / mu.reshape(to_last_axis))
    return jnp.exp(-0.5 * x * x)


def bessel(
    r: Float[Array, "*n"], frequencies: Float[Array, " basis"], cutoff: float, prefactor: float
) -> Float[Array, "*n basis"]:
    """B_n(r) = prefactor sin(w_n r / r_c) / r.

    Args:
        r: distances, angstrom, positive.
        frequencies: w_n; n pi makes the functions orthogonal.
        cutoff: r_c, angstrom.
        prefactor: see `bessel_prefactor`.
    """
    scale = frequencies.reshape((1,) * r.ndim + (-1,)) / cutoff
    # kept: else each of the sums in the derivative computes all sines again
    sine = jax.lax.optimization_barrier(jnp.sin(scale * r[..., None]))
    return prefactor * sine / r[..., None]


def bessel_prefactor(normalization: BesselNormalization, cutoff: float) -> float:
    """Prefactor of the three normalizations in use.

    "dimenet": sqrt(2 / r_c), orthonormal with weight r^2 (DimeNet, BOTNet, MACE); "nequip": 2 / r_c
    (NequIP); "sinc": r_c / pi, so that B_n = n sinc(n r / r_c), without dimension (Allegro).
    """
    return {
        "dimenet": (2.0 / cutoff) ** 0.5,
        "nequip": 2.0 / cutoff,
        "sinc": cutoff / math.pi,
    }[normalization]


AGNESI = {"a": 1.0805, "q": 0.9183, "p": 4.5791}


def agnesi(r: Float[Array, "*n"], r_0: Float[Array, "*n"]) -> Float[Array, "*n"]:
    """T(r) = 1 / (1 + a x^q / (1 + x^(q - p))), x = r / r_0: from 1 at r = 0 down to 0.

    It takes the place of the distance in a radial basis, which then resolves the surroundings of
    the bond length r_0 whatever the elements are (MACE, of the later foundation models).

    Args:
        r: distances, angstrom, positive.
        r_0: mean covalent radius of each pair, angstrom.

    References: Witt et al., J. Chem. Phys. 159, 164101 (2023).
    """
    x, a, q, p = r / r_0, AGNESI["a"], AGNESI["q"], AGNESI["p"]
    return 1.0 / (1.0 + a * x**q / (1.0 + x ** (q - p)))


def cosine_splines(x: Float[Array, "*n"], n_splines: int, span: int) -> Float[Array, "*n splines"]:
    """b_k(x) = (1 - cos 2 pi t)^2 / 4, t from 0 to 1 on a support of width (span + 1) / n_splines.

    The supports start at (k - span) / n_splines, k = 0 ... n_splines - 1: the last ends at 1, where
    value and the first three derivatives vanish. Only those with k >= span start inside.

    Args:
        x: distance over cutoff.
        n_splines: number of functions.
        span: how many other supports begin within one.
    """
    lower = jnp.arange(-span, n_splines - span, dtype=x.dtype) / n_splines
    lower = lower.reshape((1,) * x.ndim + (-1,))
    t = jnp.clip((x[..., None] - lower) * (n_splines / (span + 1)), 0.0, 1.0)
    return 0.25 * (1.0 - jnp.cos(2.0 * jnp.pi * t)) ** 2
