"""The tensor product of Allegro: tensors of a pair times the environment of its center.

    T[n, s, k, c] = sum_p w[p, c] sum_ij C^p_ijk V[n, s, i, c] Gamma[n, j, c]

n runs over atoms, s over their pair slots, c over channels, p over couplings (l1, l2 -> l3). The
environment is the same for all pairs of an atom, so it is made a matrix for each atom and channel
first, and what is left for pairs does not know of couplings any more:

    M[n, k, i, c] = sum_p w[p, c] sum_j C^p_ijk Gamma[n, j, c],     T = M V, channel by channel

This product is a JAX primitive, closed under differentiation: each derivative of the trilinear form
sum M V T leaves one of the three open. The primitive unrolls the row that is summed into products
of whole arrays and keeps its result apart by a barrier, because XLA would otherwise compute it
anew inside of everything that reads it.
"""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array, Float

from jmlip.ops.coupling import clebsch_gordan
from jmlip.ops.irreps import Irrep, dim, product, slices

NAMES = ("m", "v", "t")
UNROLLED = 32


class PairPath(NamedTuple):
    """One coupling: block of the pair's tensors, block of the environment, block of the output."""

    input: int
    environment: int
    output: int


class Table(NamedTuple):
    """Irreps of the three tensors; `paths` lists the couplings, by output, then input."""

    inputs: tuple[Irrep, ...]
    environment: tuple[Irrep, ...]
    outputs: tuple[Irrep, ...]

    @property
    def paths(self) -> tuple[PairPath, ...]:
        return tuple(
            PairPath(a, b, o)
            for o, output in enumerate(self.outputs)
            for a, first in enumerate(self.inputs)
            for b, second in enumerate(self.environment)
            if output in product(first, second)
        )


def channelwise(
    m: Float[Array, "atoms rows_out rows channels"], v: Float[Array, "atoms slots rows channels"]
) -> Float[Array, "atoms slots rows_out channels"]:
    """T[n, s, k, c] = sum_i M[n, k, i, c] V[n, s, i, c]."""
    return channelwise_p.bind(m, v, out="t")


def weighted_product(
    v: Float[Array, "atoms slots rows channels"],
    environment: Float[Array, "atoms harmonics channels"],
    weights: Float[Array, "paths #channels"],
    table: Table,
) -> Float[Array, "atoms slots rows_out channels"]:
    """The product with one weight for each path, or for each path and channel, summed over paths.

    Args:
        v: tensors of the pairs.
        environment: of their centers.
        weights: in the order of `table.paths`.
        table: irreps of the three.
    """
    n_atoms, _, channels = environment.shape
    weights = jnp.broadcast_to(weights, (len(table.paths), channels))
    blocks = []
    for paths, coefficients in _by_output(table):
        n_in = coefficients.shape[1]
        first, last = paths.start, paths.stop
        constants = jnp.asarray(coefficients, v.dtype)
        weighted = jnp.einsum("kijp,pc->kijc", constants, weights[first:last])
        weighted = weighted.reshape(1, -1, *weighted.shape[2:])
        matrix = channelwise(weighted, environment[None])
        blocks.append(matrix.reshape(n_atoms, -1, n_in, channels))
    return channelwise(jnp.concatenate(blocks, axis=1), v)


def products(
    v: Float[Array, "atoms slots rows channels"],
    environment: Float[Array, "atoms harmonics channels"],
    table: Table,
) -> list[Float[Array, "atoms slots dim paths channels"]]:
    """The products along every path, for each output irrep in the order of `table.paths`."""
    n_atoms, slots, _, channels = v.shape
    rows, columns = slices(table.inputs), slices(table.environment)
    found: dict[PairPath, Array] = {}
    for a, ir in enumerate(table.inputs):
        paths = [path for path in table.paths if path.input == a]
        matrices = []
        for path in paths:
            l2, l3 = table.environment[path.environment].l, table.outputs[path.output].l
            coefficients = jnp.asarray(clebsch_gordan(ir.l, l2, l3), v.dtype)
            gamma = environment[:, columns[path.environment]]
            matrices.append(jnp.einsum("ijk,njc->nkic", coefficients, gamma))
        block = channelwise(jnp.concatenate(matrices, axis=1), v[:, :, rows[a]])
        widths = [table.outputs[path.output].dim for path in paths]
        parts = jnp.split(block, np.cumsum(widths)[:-1], axis=2)
        found |= dict(zip(paths, parts, strict=True))
    return [
        jnp.stack([found[path] for path in table.paths if path.output == o], axis=3)
        for o in range(len(table.outputs))
    ]


@functools.cache
def _by_output(table: Table) -> tuple[tuple[slice, np.ndarray], ...]:
    """For each output irrep its paths, and coefficients [k, i, j, path] over all rows i and j."""
    rows, columns, paths = slices(table.inputs), slices(table.environment), table.paths
    found, start = [], 0
    for o, output in enumerate(table.outputs):
        members = [path for path in paths if path.output == o]
        shape = (output.dim, dim(table.inputs), dim(table.environment), len(members))
        array = np.zeros(shape)
        for n, path in enumerate(members):
            l1, l2 = table.inputs[path.input].l, table.environment[path.environment].l
            block = clebsch_gordan(l1, l2, output.l).transpose(2, 0, 1)
            array[:, rows[path.input], columns[path.environment], n] = block
        found.append((slice(start, start + len(members)), array))
        start += len(members)
    return tuple(found)


channelwise_p = Primitive("jmlip_channelwise")


def _operands(out: str) -> tuple[str, str]:
    first, second = (name for name in NAMES if name != out)
    return first, second


def _shape(out: str, a: Sequence[int], b: Sequence[int]) -> tuple[int, ...]:
    n, c = a[0], a[3]
    return {"t": (n, b[1], a[1], c), "v": (n, b[1], a[2], c), "m": (n, b[2], a[2], c)}[out]


def _compute(a: Array, b: Array, *, out: str) -> Array:
    if out == "t":
        total = _sum(a[:, None, :, :], b[:, :, None, :], 3)
    elif out == "v":
        total = _sum(a[:, None, :, :], b[:, :, :, None], 2)
    else:
        total = _sum(a[:, :, None, :], b[:, :, :, None], 1)
    return jax.lax.optimization_barrier(total)


def _sum(a: Array, b: Array, axis: int) -> Array:
    """Sum of a * b over an axis that both have in full."""
    size = a.shape[axis]
    if axis == 1 or size > UNROLLED:
        return jnp.sum(a * b, axis=axis)
    take = lambda x, n: jax.lax.index_in_dim(x, n, axis, keepdims=False)
    return functools.reduce(jnp.add, [take(a, n) * take(b, n) for n in range(size)])


def _abstract(a: Any, b: Any, *, out: str) -> Any:
    return a.update(shape=_shape(out, a.shape, b.shape))


def _jvp(arguments, tangents, *, out: str):
    (a, b), (da, db) = arguments, tangents
    terms = []
    if type(da) is not ad.Zero:
        terms.append(channelwise_p.bind(da, b, out=out))
    if type(db) is not ad.Zero:
        terms.append(channelwise_p.bind(a, db, out=out))
    value = channelwise_p.bind(a, b, out=out)
    return value, functools.reduce(jnp.add, terms)


def _transpose(cotangent, a, b, *, out: str):
    first, second = _operands(out)
    unknown, known, name = (first, b, second) if ad.is_undefined_primal(a) else (second, a, first)
    if type(cotangent) is ad.Zero:
        return [None, None]
    given = {out: cotangent, name: known}
    result = channelwise_p.bind(*(given[n] for n in _operands(unknown)), out=unknown)
    return [result, None] if unknown == first else [None, result]


def _batch(arguments, axes, *, out: str):
    size = next(x.shape[axis] for x, axis in zip(arguments, axes, strict=True) if axis is not None)
    full = [
        jnp.broadcast_to(x, (size, *x.shape)) if axis is None else jnp.moveaxis(x, axis, 0)
        for x, axis in zip(arguments, axes, strict=True)
    ]
    found = channelwise_p.bind(*(x.reshape(-1, *x.shape[2:]) for x in full), out=out)
    return found.reshape(size, -1, *found.shape[1:]), 0


@functools.partial(jax.jit, static_argnames="out")
def _compiled(a: Array, b: Array, *, out: str) -> Array:
    return channelwise_p.bind(a, b, out=out)


channelwise_p.def_impl(_compiled)
channelwise_p.def_abstract_eval(_abstract)
ad.primitive_jvps[channelwise_p] = _jvp
ad.primitive_transposes[channelwise_p] = _transpose
batching.primitive_batchers[channelwise_p] = _batch
mlir.register_lowering(channelwise_p, mlir.lower_fun(_compute, multiple_results=False))
