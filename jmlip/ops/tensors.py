"""Traceless symmetric Cartesian tensors of a direction, as lists of independent components."""

import jax.numpy as jnp
from jaxtyping import Array, Float

N_COMPONENTS = (1, 3, 5)
"""Independent components of the traceless symmetric tensors of rank 0, 1, 2."""


def direction_tensors(unit: Float[Array, "*n 3"], max_rank: int) -> Float[Array, "*n components"]:
    """Components of T0 = 1, T1 = u, T2 = u u^T - I/3 up to `max_rank`, along the last axis.

    T2 is stored as (xx, xy, xz, yy, yz); zz follows from the trace.
    """
    x, y, z = unit[..., 0], unit[..., 1], unit[..., 2]
    components = [jnp.ones_like(x)]
    if max_rank >= 1:
        components += [x, y, z]
    if max_rank >= 2:
        components += [x * x - 1.0 / 3.0, x * y, x * z, y * y - 1.0 / 3.0, y * z]
    return jnp.stack(components, axis=-1)


def squared_norms(
    tensors: Float[Array, "*n components features"], max_rank: int
) -> list[Float[Array, "*n features"]]:
    """Squared Frobenius norms |T1|^2, |T2|^2 of sums of `direction_tensors`, for the ranks above 0.

    With zz = -xx - yy: |T2|^2 = 2 (xx^2 + xy^2 + xz^2 + yy^2 + yz^2 + xx yy).
    """
    norms = []
    if max_rank >= 1:
        norms.append(jnp.sum(tensors[..., 1:4, :] ** 2, axis=-2))
    if max_rank >= 2:
        quadrupole = tensors[..., 4:9, :]
        squares = jnp.sum(quadrupole**2, axis=-2)
        norms.append(2.0 * (squares + quadrupole[..., 0, :] * quadrupole[..., 3, :]))
    return norms
