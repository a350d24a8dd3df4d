"""Symmetric powers of equivariant features: the many-body products of the atomic cluster expansion.

    B[n, (L, M), c] = sum_nu sum_eta w[z_n, (nu, L, eta), c]
                      sum_{a <= b <= ...} U[nu, L, eta, M; a, b, ...] A[n, a, c] A[n, b, c] ...

U is an orthogonal basis of the equivariant maps from the symmetric power of order nu of the irreps
of A to the irrep L, from e3nn-jax; w are weights of each element. Backends (see `ops.forms`):

    "plain"   monomials by gathers along the leading axis, then one matrix product with U;
    "native"  C++ on CPU: U is multiplied with w first, once for all atoms, and one pass over the
              monomials of each atom gives every derivative; cuEquivariance on NVIDIA GPUs.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jmlip.ops import cuda
from jmlip.ops.forms import BackendName, Form, Names, Operands, kernel
from jmlip.ops.irreps import dim
from jmlip.ops.powers import Powers, entries, monomials

NAMES = ("g", "a", "w")


def symmetric_product(
    features: Float[Array, "atoms rows channels"],
    weights: Float[Array, "species etas channels"],
    species: Int[Array, " atoms"],
    table: Powers,
    *,
    backend: BackendName = "auto",
) -> Float[Array, "atoms rows_out channels"]:
    """B of the module's equation, rows (L, M) in the order of the table's outputs.

    Args:
        features: A.
        weights: w, sorted as `Powers.sizes`.
        species: z.
        table: what is mapped to what.
        backend: see the module.

    Raises:
        ValueError: sizes do not fit the table, or the native backend is asked for and not there.
    """
    expected = (dim(table.inputs), table.n_species, sum(table.sizes().values()))
    found = (features.shape[1], *weights.shape[:2])
    if found != expected:
        raise ValueError(f"rows, species and weights must be {expected}, found {found}.")
    PRODUCT.check(backend)
    (result,) = PRODUCT.derivatives(
        ("g",), {"a": features, "w": weights}, {}, [species], table=table, backend=backend
    )
    return result


def _shapes(operands: Operands, indices: list, table: Powers) -> dict[str, tuple[int, ...]]:
    n_atoms, channels = indices[0].shape[0], next(iter(operands.values())).shape[-1]
    return {
        "g": (n_atoms, dim(table.outputs), channels),
        "a": (n_atoms, dim(table.inputs), channels),
        "w": (table.n_species, sum(table.sizes().values()), channels),
    }


def _fold(
    operands: Operands, indices: list, shapes: dict, size: int, table: Powers
) -> tuple[Operands, list, Powers]:
    del shapes
    copy = jnp.arange(size, dtype=indices[0].dtype)[:, None]
    return (
        {name: value.reshape(-1, *value.shape[2:]) for name, value in operands.items()},
        [(indices[0] + table.n_species * copy).reshape(-1)],
        dataclasses.replace(table, n_species=size * table.n_species),
    )


def _plain(
    outs: Names, operands: Operands, along: Operands, indices: list, table: Powers
) -> list[Array]:
    return _derivatives(_plain_product, outs, operands, along, indices, table)


def _derivatives(
    value: Callable[..., Array],
    outs: Names,
    operands: Operands,
    along: Operands,
    indices: list,
    table: Powers,
) -> list[Array]:
    """The derivatives of the form, those of `value(features, weights, species, table)`."""
    product = functools.partial(value, species=indices[0], table=table)
    dtype = next(iter(operands.values())).dtype
    zeros = {name: jnp.zeros(s, dtype) for name, s in _shapes(operands, indices, table).items()}

    def first(point: Operands) -> list[Array]:
        full = zeros | operands | point  # nothing wanted depends on what is not given
        value, pull = jax.vjp(product, full["a"], full["w"])
        pairs = zip(NAMES, (value, *pull(full["g"])), strict=True)
        return [derivative for name, derivative in pairs if name in outs]

    if not along:
        return first({})
    return jax.jvp(first, ({name: operands[name] for name in along},), (along,))[1]


def _plain_product(features: Array, weights: Array, species: Array, table: Powers) -> Array:
    leading = jnp.swapaxes(features, 0, 1)
    own = jnp.moveaxis(weights.at[species].get(mode="promise_in_bounds"), 1, 0)
    total, start = jnp.zeros((), features.dtype), 0
    for order in range(1, table.order + 1):
        index, matrix = monomials(table, order)
        product = _product(leading, index)
        powers = jnp.tensordot(jnp.asarray(matrix, features.dtype), product, axes=1)
        stop = start + matrix.shape[0]
        total = total + jnp.einsum("eonc,enc->noc", powers, own[start:stop])
        start = stop
    return total


def _product(
    leading: Float[Array, "rows atoms channels"], index: np.ndarray
) -> Float[Array, "monomials atoms channels"]:
    """Products A_a A_b ..., those of lower order made once and gathered."""
    take = lambda x, rows: x.at[rows].get(mode="promise_in_bounds")
    if index.shape[1] == 1:
        return take(leading, index[:, 0])
    heads, place = np.unique(index[:, :-1], axis=0, return_inverse=True)
    return take(_product(leading, heads), place.reshape(-1)) * take(leading, index[:, -1])


def _native(
    outs: Names, operands: Operands, along: Operands, indices: list, table: Powers
) -> list[Array]:
    factors, starts, rows, coefficients = entries(table)
    shapes = _shapes(operands, indices, table)
    n_atoms, n_g, channels = shapes["g"]
    shapes["w"] = (table.n_species, len(rows), channels)
    matrix = jnp.asarray(coefficients, next(iter(operands.values())).dtype)
    spread = lambda at: at | {"w": jnp.einsum("qe,sec->sqc", matrix, at["w"])} if "w" in at else at
    sizes = (n_g, shapes["a"][1], len(rows), n_atoms, channels, table.n_species)
    found = kernel(
        "jmlip_symmetric",
        {name: shapes[name] for name in NAMES},
        outs,
        spread(operands),
        spread(along),
        [indices[0].astype(jnp.int32)],
        sizes=np.asarray(sizes, np.int64),
        monomials=factors,
        starts=starts,
        rows=rows,
    )
    if "w" in outs:
        found["w"] = jnp.einsum("qe,sqc->sec", matrix, found["w"])
    return [found[name] for name in outs]


@functools.cache
def _segmented(table: Powers, channels: int) -> dict[int, Any]:
    """For each order the products of segments w A A ... -> g."""
    segments = {
        "w": (sum(table.sizes().values()), channels),
        "a": (dim(table.inputs), channels),
        "g": (dim(table.outputs), channels),
    }
    products, first = {}, 0
    for order in range(1, table.order + 1):
        index, matrix = monomials(table, order)
        nonzero = np.argwhere(matrix)
        eta, row, monomial = nonzero.T
        places = np.concatenate([first + eta[:, None], index[monomial], row[:, None]], axis=1)
        names = ("w", *order * ("a",), "g")
        if len(places):
            numbers = matrix[tuple(nonzero.T)]
            products[order] = cuda.tensor_product(segments, names, (places, numbers))
        first += matrix.shape[0]
    return products


def _cuda_product(
    features: Array, weights: Array, species: Array, table: Powers, method: cuda.Method
) -> Array:
    n_atoms, _, channels = features.shape
    products = _segmented(table, channels)
    inputs, rows = {"w": weights, "a": features}, {"w": species}
    found = cuda.evaluate(
        [(stp, ("w", *order * ("a",)), "g") for order, stp in products.items()],
        inputs,
        {"g": (n_atoms, dim(table.outputs), channels)},
        rows.get,
        method,
    )
    return found["g"]


def _cuda(
    outs: Names,
    operands: Operands,
    along: Operands,
    indices: list,
    table: Powers,
    method: cuda.Method = "uniform_1d",
) -> list[Array]:
    value = functools.partial(_cuda_product, method=method)
    return _derivatives(value, outs, operands, along, indices, table)


PRODUCT = Form(
    name="jmlip_symmetric_product",
    operands=NAMES,
    linear=("g", "w"),
    shapes=_shapes,
    plain=_plain,
    native=_native,
    fold=_fold,
    cuda=_cuda,
)
