"""Symmetric powers of equivariant features: the many-body products of the atomic cluster expansion.

    B[n, (eta, M), c] = sum_{a <= b <= ...} U[eta, M; a, b, ...] A[n, a, c] A[n, b, c] ...

U is an orthogonal basis of the equivariant maps from the symmetric power of order nu of the irreps
of A to the irrep L, from e3nn-jax. Monomials with a <= b <= c are made once by gathers along the
leading axis; everything else is one matrix product with the constant U, on every device and in
every derivative.
"""

import functools

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jmlip.ops.irreps import Irrep


@functools.cache
def symmetric_basis(irreps: tuple[Irrep, ...], order: int, output: Irrep) -> np.ndarray:
    """Basis [rows, ..., 2L + 1, n_basis], `order` axes of rows; columns of squared norm 2L + 1."""
    import e3nn_jax  # slow to import, and only models with products need it

    basis = e3nn_jax.reduced_symmetric_tensor_product_basis(
        e3nn_jax.Irreps([(1, ir) for ir in irreps]), order, keep_ir=[e3nn_jax.Irrep(*output)]
    ).array
    found = np.array(basis, np.float64)
    found = found.reshape(*found.shape[:-1], -1, output.dim)
    found[np.abs(found) < 1e-12] = 0.0
    return np.moveaxis(found, -2, -1)


def n_basis(irreps: tuple[Irrep, ...], order: int, output: Irrep) -> int:
    """Number of independent couplings of a symmetric power to one irrep."""
    return symmetric_basis(irreps, order, output).shape[-1]


@functools.cache
def _monomials(irreps: tuple[Irrep, ...], order: int, outputs: tuple[Irrep, ...]):
    """(index [monomials, order], matrix [rows out, monomials]), rows (output, eta, M)."""
    bases = [symmetric_basis(irreps, order, output) for output in outputs]
    columns = [np.moveaxis(b, -2, -1).reshape(*b.shape[:order], -1) for b in bases]
    full = np.concatenate(columns, axis=-1)
    index = np.argwhere(np.any(full, axis=-1))
    unique, place = np.unique(np.sort(index, axis=1), axis=0, return_inverse=True)
    matrix = np.zeros((full.shape[-1], len(unique)))
    np.add.at(matrix.T, place.reshape(-1), full[tuple(index.T)])
    return unique, matrix


def symmetric_power(
    features: Float[Array, "atoms rows channels"],
    irreps: tuple[Irrep, ...],
    order: int,
    outputs: tuple[Irrep, ...],
) -> list[Float[Array, "eta dim atoms channels"]]:
    """All couplings of the `order`-th symmetric power to each of the outputs."""
    leading = jnp.swapaxes(features, 0, 1)
    index, matrix = _monomials(irreps, order, outputs)
    product = _product(leading, index)
    rows = jnp.tensordot(jnp.asarray(matrix, features.dtype), product, axes=1)
    found, start = [], 0
    for output in outputs:
        eta = n_basis(irreps, order, output)
        stop = start + eta * output.dim
        found.append(rows[start:stop].reshape(eta, output.dim, *rows.shape[1:]))
        start = stop
    return found


def _product(
    leading: Float[Array, "rows atoms channels"], index: np.ndarray
) -> Float[Array, "monomials atoms channels"]:
    """Products A_a A_b ..., those of lower order made once and gathered."""
    take = lambda x, rows: x.at[rows].get(mode="promise_in_bounds")
    if index.shape[1] == 1:
        return take(leading, index[:, 0])
    heads, place = np.unique(index[:, :-1], axis=0, return_inverse=True)
    return take(_product(leading, heads), place.reshape(-1)) * take(leading, index[:, -1])
