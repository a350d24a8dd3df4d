"""Convolutions whose radial weights would not fit into memory: some channels at a time.

Radial weights, one for each pair, path and channel, are the largest arrays of an equivariant model.
Channels do not mix in a convolution, so blocks of them can follow each other, each with weights of
its own that are made when they are needed, again in the backward pass.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jmlip.ops.contraction import UnorderedPairs, convolve
from jmlip.ops.coupling import Couplings

ROOM = 2**28
"""Bytes that the radial weights of a block may take, beyond the smallest block."""
SMALLEST = 8  # channels, where there are more: one register of a kernel


def convolve_in_blocks(
    x: Float[Array, "atoms rows channels"],
    y: Float[Array, "pairs harmonics"],
    matrix: Float[Array, "*_ paths channels"],
    weights: Callable[[Array], Array],
    senders: Int[Array, " pairs"],
    reverse: Int[Array, " pairs"],
    table: Couplings,
    *,
    pairs: UnorderedPairs | None,
    **options: Any,
) -> Float[Array, "atoms rows_out channels"]:
    """`jmlip.ops.contraction.convolve`, in blocks of channels where `ROOM` asks for them.

    Args:
        x: features of the senders.
        y: spherical harmonics of the pairs.
        matrix: what the radial weights are made of.
        weights: from columns of it [..., width] to those of the weights [weights, width].
        senders: see `convolve`.
        reverse: see `convolve`.
        table: see `convolve`.
        pairs: see `convolve`.
        **options: of `convolve`.
    """
    *inner, n_paths, channels = matrix.shape

    def block(own: tuple[Array, Array]) -> Array:
        x, matrix = own
        w = weights(matrix.reshape(*inner, -1))
        w = w.reshape(len(w), n_paths, -1)
        return convolve(x, y, w, senders, reverse, table, pairs=pairs, **options)

    rows = len(y) if pairs is None else len(pairs.first)
    n = _n_blocks(rows * n_paths * channels * x.dtype.itemsize, channels)
    if n == 1:
        return block((x, matrix))
    apart = lambda value: jnp.moveaxis(value.reshape(*value.shape[:-1], n, -1), -2, 0)
    found = jax.lax.map(jax.checkpoint(block), (apart(x), apart(matrix)))
    return jnp.moveaxis(found, 0, -2).reshape(len(x), -1, channels)


def _n_blocks(size: int, channels: int) -> int:
    """The fewest equal blocks that have room, or those of the smallest size."""
    divisors = [n for n in range(1, channels + 1) if channels % n == 0]
    fits = lambda n: size <= n * ROOM or channels // n <= SMALLEST
    return next(n for n in divisors if fits(n))
