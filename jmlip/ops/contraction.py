"""The equivariant convolution: one multilinear form over pair slots, closed under differentiation.

    F(g, x, Y, w) = sum_e sum_p sum_ijk C^p_ijk g[r_e, k, c] x[s_e, i, c] Y[e, j] w[e, p, c]

s_e and r_e are sender and receiver of slot e, p runs over couplings (l1, l2 -> l3), c over
channels. Left open in one operand, F is a *face*: face g is the convolution

    A[n, k, c] = sum_{e: r_e = n} sum_{p, ij} C^p_ijk x[s_e, i, c] Y[e, j] w[e, p, c]

and faces x, Y, w are its transposes. The derivative of a face with respect to any operand is again
a face, so these four give energies, forces, gradients of a loss on forces, and every derivative
beyond, forward and backward. One JAX primitive holds that rule; how a face is computed is the
business of a backend:

    "native"  C++ on CPU (`jmlip.ops.native`): gather, contraction and sum in one pass;
    "plain"   JAX, everywhere: couplings unrolled, each face kept apart by a barrier, because XLA
              would recompute it inside of its consumers;
    "auto"    native where it is there and the program runs on CPU in float32 or float64.

A slot whose row of Y is zero is padding: it contributes nothing, and what the derivative with
respect to that row would be is not computed, so mask Y where it is made.
"""

import dataclasses
import functools
import itertools
from collections.abc import Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array, Float, Int

from jmlip.ops import native
from jmlip.ops.coupling import clebsch_gordan
from jmlip.ops.irreps import Irrep, Path, dim, slices

BackendName = Literal["auto", "plain", "native"]
NAMES = ("g", "x", "y", "w")
Names = tuple[str, ...]
Operands = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Couplings:
    """A table of couplings: sizes of the operands and the blocks of each path.

    Args:
        n_g: rows of g.
        n_x: rows of x.
        n_y: rows of Y.
        blocks: for each path (x, y, g, l1, l2, l3, stride): first rows, degrees, and the stride of
            the path's rows in g.
    """

    n_g: int
    n_x: int
    n_y: int
    blocks: tuple[tuple[int, int, int, int, int, int, int], ...]

    @property
    def n_paths(self) -> int:
        return len(self.blocks)


@functools.cache
def couplings(inputs: tuple[Irrep, ...], max_degree: int, table: tuple[Path, ...]) -> Couplings:
    """The table of a convolution whose output keeps paths to the same irrep side by side.

    For each output irrep, in the order of the paths, the rows are [2l + 1, paths to it]: seen as
    [2l + 1, paths * channels], a linear map over paths and channels is one matrix product.
    """
    starts = [block.start for block in slices(inputs)]
    blocks, n_g = [], 0
    for output, group in itertools.groupby(table, key=lambda path: path.output):
        members = list(group)
        for n, path in enumerate(members):
            l1, l2 = inputs[path.input].l, path.degree
            blocks.append((starts[path.input], l2 * l2, n_g + n, l1, l2, output.l, len(members)))
        n_g += output.dim * len(members)
    return Couplings(n_g, dim(inputs), (max_degree + 1) ** 2, tuple(blocks))


def convolve(
    x: Float[Array, "atoms rows channels"],
    y: Float[Array, "pairs harmonics"],
    w: Float[Array, "pairs paths channels"],
    senders: Int[Array, " pairs"],
    reverse: Int[Array, " pairs"],
    table: Couplings,
    *,
    backend: BackendName = "auto",
) -> Float[Array, "atoms rows_out channels"]:
    """Face g: what every atom receives, summed over its pair slots.

    Args:
        x: features of the senders.
        y: spherical harmonics of the pairs, zero in padding.
        w: radial weights.
        senders: sender of each slot; slots of a receiver are consecutive and equally many.
        reverse: slot of the opposite pair.
        table: from `couplings`.
        backend: see the module.

    Raises:
        ValueError: sizes do not fit the table, or the native backend is asked for and not there.
    """
    found = (x.shape[1], y.shape[1], w.shape[1])
    if found != (table.n_x, table.n_y, table.n_paths):
        raise ValueError(
            "x, y and w must have the rows of the table, "
            f"{(table.n_x, table.n_y, table.n_paths)}, found {found}."
        )
    if backend == "native" and not native.available():
        raise ValueError(
            f"the native kernels are not there: {native.why_not()}; use backend='auto' or 'plain'."
        )
    operands = {"x": x, "y": y, "w": w}
    return _derivatives(("g",), operands, {}, (senders, reverse), table=table, backend=backend)[0]


form_p = Primitive("jmlip_multilinear_form")
form_p.multiple_results = True


def _derivatives(
    outs: Names, primals: Operands, along: Operands, indices: Sequence[Any], **params
) -> list[Any]:
    """dF/d(out) at `primals` for each out, or its derivative along the tangents `along`."""
    if len(along) == 1:  # F is linear in each operand
        ((name, tangent),) = along.items()
        others = tuple(out for out in outs if out != name)
        found = _derivatives(others, primals | along, {}, indices, **params) if others else []
        by_name = {name: jnp.zeros_like(tangent)} | dict(zip(others, found, strict=True))
        return [by_name[out] for out in outs]
    first, second = _ordered(primals), _ordered(along)
    return form_p.bind(
        *first.values(),
        *second.values(),
        *indices,
        outs=outs,
        primals=tuple(first),
        along=tuple(second),
        **params,
    )


def _ordered(operands: Operands) -> Operands:
    return {name: operands[name] for name in NAMES if name in operands}


def _split(arguments: Sequence[Any], primals: Names, along: Names):
    """Arguments of the primitive as operands, tangents and indices."""
    n, m = len(primals), len(primals) + len(along)
    first = dict(zip(primals, arguments[:n], strict=True))
    second = dict(zip(along, arguments[n:m], strict=True))
    return first, second, list(arguments[m:])


def _shapes(primals: Operands, table: Couplings) -> dict[str, tuple[int, ...]]:
    # of any three operands one at least belongs to atoms, and one to pairs
    atomic = primals["g"] if "g" in primals else primals["x"]
    paired = primals["y"] if "y" in primals else primals["w"]
    n_atoms, n_pairs, channels = atomic.shape[0], paired.shape[0], atomic.shape[-1]
    return {
        "g": (n_atoms, table.n_g, channels),
        "x": (n_atoms, table.n_x, channels),
        "y": (n_pairs, table.n_y),
        "w": (n_pairs, table.n_paths, channels),
    }


def _abstract(*arguments, outs: Names, primals: Names, along: Names, table: Couplings, **_):
    first, *_ = _split(arguments, primals, along)
    shapes = _shapes(first, table)
    return [arguments[0].update(shape=shapes[out]) for out in outs]


def _jvp(arguments, tangents, *, outs: Names, primals: Names, along: Names, **params):
    first, second, indices = _split(arguments, primals, along)
    d_first, d_second, _ = _split(tangents, primals, along)
    d_first, d_second = _known(d_first), _known(d_second)
    values = _derivatives(outs, first, second, indices, **params)
    totals: dict[str, Any] = {}

    def add(names, found):
        for out, term in zip(names, found, strict=True):
            totals[out] = totals[out] + term if out in totals else term

    if not along and d_first:
        add(outs, _derivatives(outs, first, d_first, indices, **params))
    if d_second:
        add(outs, _derivatives(outs, first, d_second, indices, **params))
    if along:  # the third derivative: two operands replaced at a time
        for p, t in itertools.product(d_first, second):
            left = tuple(out for out in outs if out not in (p, t))
            if p != t and left:
                replaced = first | {p: d_first[p], t: second[t]}
                add(left, _derivatives(left, replaced, {}, indices, **params))
    pairs = zip(outs, values, strict=True)
    return values, [totals.get(out, jnp.zeros_like(value)) for out, value in pairs]


def _known(operands: Operands) -> Operands:
    return {name: value for name, value in operands.items() if type(value) is not ad.Zero}


def _transpose(cotangents, *arguments, outs: Names, primals: Names, along: Names, **params):
    first, _, indices = _split(arguments, primals, along)
    incoming = _known(dict(zip(outs, cotangents, strict=True)))
    unknown = [n for n, value in enumerate(arguments) if ad.is_undefined_primal(value)]
    names = [(*primals, *along)[n] for n in unknown]
    results: list[Any] = [None] * len(arguments)
    if along:
        found = _derivatives(tuple(names), first, incoming, indices, **params)
    else:  # linear in one operand, the only one unknown
        (name,) = names
        del first[name]
        incoming.pop(name, None)
        found = _derivatives((name,), first, incoming, indices, **params)
    for n, value in zip(unknown, found, strict=True):
        results[n] = value
    return results


def _batch(arguments, axes, *, outs: Names, primals: Names, along: Names, **params):
    """Lay the batch side by side: one program on as many times more atoms and pairs."""
    size = next(a.shape[axis] for a, axis in zip(arguments, axes, strict=True) if axis is not None)
    full = [
        jnp.broadcast_to(a, (size, *a.shape)) if axis is None else jnp.moveaxis(a, axis, 0)
        for a, axis in zip(arguments, axes, strict=True)
    ]
    first, second, (senders, reverse) = _split(full, primals, along)
    shapes = _shapes({n: a[0] for n, a in first.items()}, params["table"])
    fold = lambda operands: {n: a.reshape(-1, *a.shape[2:]) for n, a in operands.items()}
    copy = jnp.arange(size, dtype=senders.dtype)[:, None]
    indices = (senders + shapes["g"][0] * copy, reverse + shapes["y"][0] * copy)
    folded = _derivatives(
        outs, fold(first), fold(second), [index.reshape(-1) for index in indices], **params
    )
    return [value.reshape(size, -1, *value.shape[1:]) for value in folded], [0] * len(folded)


def _plain(*arguments, outs: Names, primals: Names, along: Names, table: Couplings, **_):
    first, second, (senders, reverse) = _split(arguments, primals, along)
    on_pairs = functools.partial(_to_pairs, senders=senders)
    pairs, tangents = on_pairs(first), on_pairs(second)
    shapes = _shapes(first, table)
    results = []
    for out in outs:
        points = [pairs | {name: tangents[name]} for name in along if name != out]
        terms = [_face(out, table, point, reverse) for point in (points if along else [pairs])]
        total = functools.reduce(jnp.add, terms)
        results.append(total.reshape(shapes[out][0], -1, *shapes[out][1:]).sum(axis=1))
    return jax.lax.optimization_barrier(results)


def _to_pairs(operands: Operands, senders: Array) -> Operands:
    """Every operand as pair slots see it."""
    found = dict(operands)
    if "g" in operands:
        g, n_atoms = operands["g"], operands["g"].shape[0]
        shape = (n_atoms, len(senders) // max(n_atoms, 1), *g.shape[1:])
        found["g"] = jnp.broadcast_to(g[:, None], shape).reshape(-1, *g.shape[1:])
    if "x" in operands:
        found["x"] = operands["x"].at[senders].get(mode="promise_in_bounds")
    return found


def _face(out: str, table: Couplings, point: Operands, reverse: Array) -> Array:
    """One face, from operands as pair slots see them."""
    found = _PLAIN[out](table, **{name: point[name] for name in NAMES if name != out})
    if out == "x":
        found = found.at[reverse].get(unique_indices=True, mode="promise_in_bounds")
    return found


def _matrices(table: Couplings, y: Array):
    """For each path the entries (k, i) -> M[k, i] = sum_j C_ijk Y_j that are not zero."""
    for _, start, _, *degrees, _ in table.blocks:
        coefficients, entries = clebsch_gordan(*degrees), {}
        for i, j, k in np.argwhere(coefficients).tolist():
            _add(entries, (k, i), float(coefficients[i, j, k]) * y[:, start + j])
        yield {key: value[:, None] for key, value in entries.items()}


def _add(terms: dict, key: Any, term: Array) -> None:
    terms[key] = terms[key] + term if key in terms else term


def _stack(terms: dict[int, Array], size: int, like: Array) -> Array:
    zero = jnp.zeros_like(like)
    return jnp.stack([terms.get(n, zero) for n in range(size)], axis=1)


def _plain_g(table: Couplings, x: Array, y: Array, w: Array) -> Array:
    rows = {}
    for p, (block, matrix) in enumerate(zip(table.blocks, _matrices(table, y), strict=True)):
        sums = {}
        for (k, i), m in matrix.items():
            _add(sums, k, m * x[:, block[0] + i])
        for k, value in sums.items():
            _add(rows, block[2] + k * block[6], value * w[:, p])
    return _stack(rows, table.n_g, x[:, 0])


def _plain_x(table: Couplings, g: Array, y: Array, w: Array) -> Array:
    rows = {}
    for p, (block, matrix) in enumerate(zip(table.blocks, _matrices(table, y), strict=True)):
        sums = {}
        for (k, i), m in matrix.items():
            _add(sums, i, m * g[:, block[2] + k * block[6]])
        for i, value in sums.items():
            _add(rows, block[0] + i, value * w[:, p])
    return _stack(rows, table.n_x, g[:, 0])


def _plain_w(table: Couplings, g: Array, x: Array, y: Array) -> Array:
    rows = {}
    for p, (block, matrix) in enumerate(zip(table.blocks, _matrices(table, y), strict=True)):
        sums = {}
        for (k, i), m in matrix.items():
            _add(sums, k, m * x[:, block[0] + i])
        for k, value in sums.items():
            _add(rows, p, value * g[:, block[2] + k * block[6]])
    return _stack(rows, table.n_paths, x[:, 0])


def _plain_y(table: Couplings, g: Array, x: Array, w: Array) -> Array:
    rows = {}
    for p, block in enumerate(table.blocks):
        coefficients = clebsch_gordan(*block[3:6])
        weighted = {
            k: w[:, p] * g[:, block[2] + k * block[6]] for k in range(coefficients.shape[2])
        }
        for i, k in np.argwhere(np.any(coefficients, axis=1)):
            product = jnp.sum(weighted[k] * x[:, block[0] + i], axis=-1)
            for j in np.flatnonzero(coefficients[i, :, k]):
                _add(rows, block[1] + int(j), float(coefficients[i, j, k]) * product)
    return _stack(rows, table.n_y, x[:, 0, 0])


_PLAIN: dict[str, Any] = {"g": _plain_g, "x": _plain_x, "y": _plain_y, "w": _plain_w}


@functools.cache
def _native_attributes(table: Couplings) -> tuple[np.ndarray, np.ndarray]:
    layout = [
        (x, y, g, 2 * l1 + 1, 2 * l2 + 1, 2 * l3 + 1, stride)
        for x, y, g, l1, l2, l3, stride in table.blocks
    ]
    values = [clebsch_gordan(*b[3:6]).transpose(1, 2, 0).reshape(-1) for b in table.blocks]
    return np.asarray(layout, np.int64).reshape(-1), np.concatenate([np.zeros(0), *values])


def _native(*arguments, outs: Names, primals: Names, along: Names, table: Couplings, backend: str):
    params = {"outs": outs, "primals": primals, "along": along, "table": table}
    dtype = arguments[0].dtype
    if backend == "plain" or not native.available() or dtype not in (jnp.float32, jnp.float64):
        return _plain(*arguments, **params)
    first, second, indices = _split(arguments, primals, along)
    shapes = _shapes(first, table)
    results = [jax.ShapeDtypeStruct(shapes[n] if n in outs else (0,), dtype) for n in NAMES]
    nothing = jnp.zeros(0, dtype)
    layout, coefficients = _native_attributes(table)
    n_atoms, _, channels = shapes["g"]
    sizes = (table.n_g, table.n_x, table.n_y, table.n_paths, n_atoms, channels)
    found = jax.ffi.ffi_call("jmlip_contraction", results)(
        *(first.get(name, nothing) for name in NAMES),
        *(second.get(name, nothing) for name in NAMES),
        *indices,
        sizes=np.asarray(sizes, np.int64),
        layout=layout,
        coefficients=coefficients,
    )
    return [value for name, value in zip(NAMES, found, strict=True) if name in outs]


@functools.partial(jax.jit, static_argnames=("outs", "primals", "along", "table", "backend"))
def _compiled(*arguments, **params):
    return form_p.bind(*arguments, **params)


form_p.def_impl(_compiled)
form_p.def_abstract_eval(_abstract)
ad.primitive_jvps[form_p] = _jvp
ad.primitive_transposes[form_p] = _transpose
batching.primitive_batchers[form_p] = _batch
mlir.register_lowering(form_p, mlir.lower_fun(_plain, multiple_results=True))
mlir.register_lowering(form_p, mlir.lower_fun(_native, multiple_results=True), platform="cpu")
