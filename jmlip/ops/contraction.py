"""The equivariant convolution: one multilinear form over pair slots, closed under differentiation.

    F(g, x, Y, w) = sum_e sum_p sum_ijk C^p_ijk g[r_e, k, c] x[s_e, i, c] Y[e, j] w[e, p, c]

s_e and r_e are sender and receiver of slot e, p runs over couplings (l1, l2 -> l3), c over
channels. Left open in one operand, F is a *face*: face g is the convolution

    A[n, k, c] = sum_{e: r_e = n} sum_{p, ij} C^p_ijk x[s_e, i, c] Y[e, j] w[e, p, c]

and faces x, Y, w are its transposes. The derivative of a face with respect to any operand is again
a face, so these four give energies, forces, gradients of a loss on forces, and every derivative
beyond, forward and backward. One JAX primitive holds that rule; how a face is computed is the
business of a backend:

    "native"  gather, contraction and sum in one pass: C++ on CPU (`jmlip.ops.native`),
              cuEquivariance on NVIDIA GPUs (`jmlip.ops.cuda`);
    "plain"   JAX, everywhere: couplings unrolled, each face kept apart by a barrier, because XLA
              would recompute it inside of its consumers;
    "auto"    native where it is there, in float32 or float64, else plain.

A slot whose row of Y is zero is padding: it contributes nothing, and what the derivative with
respect to that row would be is not computed, so mask Y where it is made.
"""

import functools
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jmlip.ops import cuda
from jmlip.ops.contraction_plain import NAMES, plain, shapes_of
from jmlip.ops.coupling import Couplings, clebsch_gordan
from jmlip.ops.forms import BackendName, Form, Names, Operands, kernel


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
    room = max(1, len(reverse) // 2)  # a row at least: none would mean that nothing is shared
    row = jnp.where(smaller, rank, jnp.where(slot == reverse, 0, rank[reverse]))
    first = jnp.zeros(room, reverse.dtype).at[jnp.where(smaller, rank, room)].set(slot, mode="drop")
    return UnorderedPairs(row, first)


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
    CONVOLUTION.check(backend)
    if pairs is None:  # no rows are shared
        pairs = UnorderedPairs(*[jnp.zeros(0, senders.dtype)] * 2)
    indices = (senders, reverse, *pairs)
    operands = {"x": x, "y": y, "w": w}
    (found,) = CONVOLUTION.derivatives(("g",), operands, {}, indices, table=table, backend=backend)
    return found


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
    shapes = shapes_of(operands, indices, table)
    layout, coefficients = _native_attributes(table)
    n_atoms, _, channels = shapes["g"]
    rows = shapes["w"][0]
    sizes = (table.n_g, table.n_x, table.n_y, table.n_paths, n_atoms, channels, rows)
    found = kernel(
        "jmlip_contraction",
        {name: shapes[name] for name in NAMES},
        outs,
        operands,
        along,
        indices[:3],
        sizes=np.asarray(sizes, np.int64),
        layout=layout,
        coefficients=coefficients,
    )
    return [found[name] for name in outs]


@functools.cache
def _segmented(table: Couplings, channels: int) -> Any:
    """The form as a product of segments, its operands in the order of NAMES."""
    places, values = [], []
    for p, (x, y, g, *degrees, stride) in enumerate(table.blocks):
        coefficients = clebsch_gordan(*degrees)
        entries = np.argwhere(coefficients)
        i, j, k = entries.T
        places.append(np.stack([g + k * stride, x + i, y + j, np.full_like(i, p)], axis=1))
        values.append(coefficients[tuple(entries.T)])
    segments = {
        "g": (table.n_g, channels),
        "x": (table.n_x, channels),
        "y": (table.n_y, 0),
        "w": (table.n_paths, channels),
    }
    return cuda.tensor_product(segments, NAMES, (np.concatenate(places), np.concatenate(values)))


def _cuda(
    outs: Names,
    operands: Operands,
    along: Operands,
    indices: list,
    table: Couplings,
    method: cuda.Method = "uniform_1d",
) -> list[Array]:
    senders, _, index, first = indices
    shapes = shapes_of(operands, indices, table)
    n_atoms, _, channels = shapes["g"]
    atoms = jnp.arange(n_atoms, dtype=senders.dtype)
    receivers = jnp.repeat(atoms, len(senders) // max(n_atoms, 1))
    return cuda.multilinear(
        outs,
        operands,
        along,
        names=NAMES,
        shapes=shapes,
        rows={"g": receivers, "x": senders, "y": None, "w": index if len(first) else None},
        product=_segmented(table, channels),
        method=method,
    )


CONVOLUTION = Form(
    name="jmlip_convolution",
    operands=NAMES,
    linear=NAMES,
    shapes=shapes_of,
    plain=plain,
    native=_native,
    fold=_fold,
    cuda=_cuda,
)
