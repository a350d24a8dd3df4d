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
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jmlip.ops.coupling import clebsch_gordan
from jmlip.ops.forms import BackendName, Form, Names, Operands, check_backend
from jmlip.ops.irreps import Irrep, Path, dim, slices

NAMES = ("g", "x", "y", "w")


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


class UnorderedPairs(NamedTuple):
    """Both directions of a pair as one.

    Args:
        row: the pair of each slot, in padding any.
        first: one of the two slots of each pair, the smaller; 0 in rows without a pair.
    """

    row: Int[Array, " pairs"]
    first: Int[Array, " unordered"]


def unordered_pairs(reverse: Int[Array, " pairs"]) -> UnorderedPairs:
    """Number the pairs of a list: half as many rows as slots are room for all of them.

    Args:
        reverse: slot of the opposite pair; its own in padding.
    """
    slot = jnp.arange(len(reverse), dtype=reverse.dtype)
    smaller = slot < reverse
    rank = jnp.cumsum(smaller, dtype=reverse.dtype) - 1
    room = len(reverse) // 2
    row = jnp.where(smaller, rank, jnp.where(slot == reverse, 0, rank[reverse]))
    first = jnp.zeros(room, reverse.dtype).at[jnp.where(smaller, rank, room)].set(slot, mode="drop")
    return UnorderedPairs(row, first)


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
    w: Float[Array, "weights paths channels"],
    senders: Int[Array, " pairs"],
    reverse: Int[Array, " pairs"],
    table: Couplings,
    *,
    pairs: UnorderedPairs | None = None,
    backend: BackendName = "auto",
) -> Float[Array, "atoms rows_out channels"]:
    """Face g: what every atom receives, summed over its pair slots.

    Args:
        x: features of the senders.
        y: spherical harmonics of the pairs, zero in padding.
        w: radial weights, one row for each slot, or for each of `pairs`.
        senders: sender of each slot; slots of a receiver are consecutive and equally many.
        reverse: slot of the opposite pair.
        table: from `couplings`.
        pairs: where both directions of a pair have the same weights, those are given once.
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
    check_backend(backend)
    if pairs is None:  # no rows are shared
        pairs = UnorderedPairs(*[jnp.zeros(0, senders.dtype)] * 2)
    indices = (senders, reverse, *pairs)
    operands = {"x": x, "y": y, "w": w}
    (found,) = CONVOLUTION.derivatives(("g",), operands, {}, indices, table=table, backend=backend)
    return found


def _shapes(operands: Operands, indices: list, table: Couplings) -> dict[str, tuple[int, ...]]:
    senders, _, _, first = indices
    atomic = operands["g"] if "g" in operands else operands["x"]
    n_atoms, n_pairs, channels = atomic.shape[0], senders.shape[0], atomic.shape[-1]
    return {
        "g": (n_atoms, table.n_g, channels),
        "x": (n_atoms, table.n_x, channels),
        "y": (n_pairs, table.n_y),
        "w": (first.shape[0] or n_pairs, table.n_paths, channels),
    }


def _fold(
    operands: Operands, indices: list, shapes: dict, size: int, table: Couplings
) -> tuple[Operands, list, Couplings]:
    step = [shapes["g"][0], shapes["y"][0], shapes["w"][0], shapes["y"][0]]
    copy = jnp.arange(size, dtype=indices[0].dtype)[:, None]
    return (
        {name: value.reshape(-1, *value.shape[2:]) for name, value in operands.items()},
        [(index + n * copy).reshape(-1) for index, n in zip(indices, step, strict=True)],
        table,
    )


def _plain(
    outs: Names, operands: Operands, along: Operands, indices: list, table: Couplings
) -> list[Array]:
    senders, reverse, index, first = indices
    shapes = _shapes(operands, indices, table)
    pairs, tangents = (_to_pairs(values, senders, index) for values in (operands, along))
    results = []
    for out in outs:
        points = [pairs | {name: tangents[name]} for name in along if name != out]
        terms = [_face(out, table, point, reverse) for point in (points if along else [pairs])]
        if not terms:
            results.append(jnp.zeros_like(operands[out]))
            continue
        total = functools.reduce(jnp.add, terms)
        if out == "w" and first.shape[0]:
            there = (index[first] == jnp.arange(len(first))) & (first < reverse[first])
            both = total[first] + total[reverse[first]]
            results.append(jnp.where(there[:, None, None], both, 0.0))
            continue
        results.append(total.reshape(shapes[out][0], -1, *shapes[out][1:]).sum(axis=1))
    return results


def _to_pairs(operands: Operands, senders: Array, index: Array) -> Operands:
    """Every operand as pair slots see it."""
    found = dict(operands)
    if "g" in operands:
        g, n_atoms = operands["g"], operands["g"].shape[0]
        shape = (n_atoms, len(senders) // max(n_atoms, 1), *g.shape[1:])
        found["g"] = jnp.broadcast_to(g[:, None], shape).reshape(-1, *g.shape[1:])
    if "x" in operands:
        found["x"] = operands["x"].at[senders].get(mode="promise_in_bounds")
    if "w" in operands and index.shape[0]:
        found["w"] = operands["w"].at[index].get(mode="promise_in_bounds")
    return found


def _face(out: str, table: Couplings, point: Operands, reverse: Array) -> Array:
    """One face on pair slots, from operands as these see them."""
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


def _native(
    outs: Names, operands: Operands, along: Operands, indices: list, table: Couplings
) -> list[Array]:
    shapes = _shapes(operands, indices, table)
    dtype = next(iter(operands.values())).dtype
    results = [jax.ShapeDtypeStruct(shapes[n] if n in outs else (0,), dtype) for n in NAMES]
    nothing = jnp.zeros(0, dtype)
    layout, coefficients = _native_attributes(table)
    n_atoms, _, channels = shapes["g"]
    rows = shapes["w"][0]
    sizes = (table.n_g, table.n_x, table.n_y, table.n_paths, n_atoms, channels, rows)
    found = jax.ffi.ffi_call("jmlip_contraction", results)(
        *(operands.get(name, nothing) for name in NAMES),
        *(along.get(name, nothing) for name in NAMES),
        *indices[:3],
        sizes=np.asarray(sizes, np.int64),
        layout=layout,
        coefficients=coefficients,
    )
    return [value for name, value in zip(NAMES, found, strict=True) if name in outs]


CONVOLUTION = Form(
    name="jmlip_convolution",
    operands=NAMES,
    linear=NAMES,
    shapes=_shapes,
    plain=_plain,
    native=_native,
    fold=_fold,
)
