"""Symmetric powers of irreps: their equivariant maps, as monomials and coefficients."""

import dataclasses
import functools

import numpy as np

from jmlip.ops.irreps import Irrep, dim, symmetric_power

MAX_ORDER = 4


@dataclasses.dataclass(frozen=True)
class Powers:
    """What a symmetric product maps to what.

    Args:
        inputs: irreps of A.
        outputs: irreps of B.
        order: highest nu.
        n_species: elements with weights of their own.
    """

    inputs: tuple[Irrep, ...]
    outputs: tuple[Irrep, ...]
    order: int
    n_species: int

    def sizes(self) -> dict[tuple[int, Irrep], int]:
        """Number of weights eta for each (nu, L), in the order they have along an axis."""
        return {
            (nu, output): symmetric_basis(self.inputs, nu, output).shape[-1]
            for nu in range(1, self.order + 1)
            for output in self.outputs
        }


@functools.cache
def symmetric_basis(irreps: tuple[Irrep, ...], order: int, output: Irrep) -> np.ndarray:
    """Basis [rows, ..., 2L + 1, n_basis], `order` axes of rows; columns of squared norm 2L + 1."""
    if output not in symmetric_power(irreps, order):
        return np.zeros((*[dim(irreps)] * order, output.dim, 0))
    import e3nn_jax  # slow to import, and only models with products need it

    basis = e3nn_jax.reduced_symmetric_tensor_product_basis(
        e3nn_jax.Irreps([(1, ir) for ir in irreps]), order, keep_ir=[e3nn_jax.Irrep(*output)]
    ).array
    found = np.array(basis, np.float64)
    found = found.reshape(*found.shape[:-1], -1, output.dim)
    found[np.abs(found) < 1e-12] = 0.0
    return np.moveaxis(found, -2, -1)


@functools.cache
def monomials(table: Powers, order: int) -> tuple[np.ndarray, np.ndarray]:
    """(index [monomials, order], U [etas, rows_out, monomials]) of one order, eta as in `sizes`."""
    bases = {ir: symmetric_basis(table.inputs, order, ir) for ir in table.outputs}
    full = np.zeros(
        (
            *[dim(table.inputs)] * order,
            sum(basis.shape[-1] for basis in bases.values()),
            dim(table.outputs),
        )
    )
    eta, row = 0, 0
    for ir, basis in bases.items():
        n = basis.shape[-1]
        full[..., eta : eta + n, row : row + ir.dim] = np.swapaxes(basis, -1, -2)
        eta, row = eta + n, row + ir.dim
    index = np.argwhere(np.any(full, axis=(-1, -2)))
    unique, place = np.unique(np.sort(index, axis=1), axis=0, return_inverse=True)
    matrix = np.zeros((len(unique), *full.shape[-2:]))
    np.add.at(matrix, place.reshape(-1), full[tuple(index.T)])
    return unique.reshape(-1, order), np.moveaxis(matrix, 0, -1)


@functools.cache
def entries(table: Powers) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Monomials padded with -1, first entry of each, row of each entry, and U [entries, etas]."""
    factors_of, starts, rows, coefficients, first = [], [0], [], [], 0
    n_etas = sum(table.sizes().values())
    for order in range(1, table.order + 1):
        index, matrix = monomials(table, order)
        for t, factors in enumerate(index):
            factors_of.append([*factors, *[-1] * (MAX_ORDER - order)])
            for row in np.flatnonzero(np.any(matrix[:, :, t], axis=0)):
                rows.append(row)
                full = np.zeros(n_etas)
                full[first : first + matrix.shape[0]] = matrix[:, row, t]
                coefficients.append(full)
            starts.append(len(rows))
        first += matrix.shape[0]
    integers = [np.asarray(x, np.int64).reshape(-1) for x in (factors_of, starts, rows)]
    return integers[0], integers[1], integers[2], np.asarray(coefficients).reshape(-1, n_etas)
