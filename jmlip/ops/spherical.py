"""Real spherical harmonics of unit vectors, by recursion in the degree."""

import functools
import math

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jmlip.ops.coupling import clebsch_gordan


def spherical_harmonics(
    unit: Float[Array, "*n 3"], max_degree: int
) -> Float[Array, "*n components"]:
    """Y_lm for l = 0 ... max_degree along the last axis, sum_m Y_lm^2 = 2l + 1.

    Order and signs are those of e3nn: m = -l ... l, Y_1 = sqrt(3) (x, y, z). Degree l + 1 is the
    coupling of degree l with the vector, so derivatives need no special case at the poles.

    Args:
        unit: vectors of length one.
        max_degree: highest l.
    """
    vector = [unit[..., i] for i in range(3)]
    degree = [jnp.ones_like(vector[0])]
    components = list(degree)
    for l in range(max_degree):
        degree = [
            functools.reduce(jnp.add, [value * degree[i] * vector[j] for i, j, value in terms])
            for terms in _recursion(l)
        ]
        components += degree
    return jnp.stack(components, axis=-1)


@functools.cache
def _recursion(l: int) -> tuple[tuple[tuple[int, int, float], ...], ...]:
    """For each component of degree l + 1: (component of degree l, of the vector, coefficient)."""
    coefficients = clebsch_gordan(l, 1, l + 1)
    # the norm of the stretched coupling follows from any one direction: here y, the polar axis
    polar = math.sqrt(2 * l + 1) * coefficients[l, 1, l + 1]
    scale = math.sqrt(2 * l + 3) / polar
    return tuple(
        tuple(
            (int(i), int(j), float(scale * coefficients[i, j, k]))
            for i, j in np.argwhere(coefficients[:, :, k])
        )
        for k in range(2 * l + 3)
    )
