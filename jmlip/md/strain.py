"""Strains of the cell: what it may do, and a small strain as a matrix."""

from typing import Literal

import jax.numpy as jnp
from jaxtyping import Array, Float

CellMotion = Literal["isotropic", "anisotropic", "full"]
Tensor = Float[Array, "3 3"]

N_FREE = {"isotropic": 1, "anisotropic": 3, "full": 6}
"""Independent numbers in a strain of each motion."""
_TAYLOR_ORDER = 6
"""Of the exponential; strains are about 1e-4, and at 1e-2 the rest is below float64's rounding."""


def project(tensor: Tensor, motion: CellMotion) -> Tensor:
    """The part of a tensor along which the cell may move; an orthogonal projection."""
    unit = jnp.eye(3, dtype=tensor.dtype)
    if motion == "isotropic":
        return jnp.trace(tensor) / 3.0 * unit
    return tensor * unit if motion == "anisotropic" else 0.5 * (tensor + tensor.T)


def exponential(exponent: Tensor) -> Tensor:
    """Exponential of a small symmetric matrix; also differentiable where eigenvalues are equal."""
    unit = jnp.eye(3, dtype=exponent.dtype)
    total = unit
    for order in range(_TAYLOR_ORDER, 0, -1):
        total = unit + jnp.matmul(exponent, total, precision="highest") / order
    return total


def volume(cell: Tensor) -> Float[Array, ""]:
    """Volume of a cell, angstrom^3."""
    return jnp.abs(jnp.sum(cell[0] * jnp.cross(cell[1], cell[2])))
