"""The faces of the convolution in JAX, everywhere: couplings unrolled, one pass for each face."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jmlip.ops.coupling import Couplings, clebsch_gordan
from jmlip.ops.forms import Names, Operands

NAMES = ("g", "x", "y", "w")
CACHE = 2**18  # numbers of a block of atoms: 1 MB in float32
MEMORY = 2**28  # where there is no cache to speak of: 1 GB
FEW = 6  # paths: XLA fuses so few into one pass that leaves nothing for the cache to keep


def shapes_of(operands: Operands, indices: list, table: Couplings) -> dict[str, tuple[int, ...]]:
    """Shapes of all operands, from those that are there."""
    senders, _, _, first = indices
    atomic = operands["g"] if "g" in operands else operands["x"]
    n_atoms, n_pairs, channels = atomic.shape[0], senders.shape[0], atomic.shape[-1]
    return {
        "g": (n_atoms, table.n_g, channels),
        "x": (n_atoms, table.n_x, channels),
        "y": (n_pairs, table.n_y),
        "w": (first.shape[0] or n_pairs, table.n_paths, channels),
    }


def plain(
    outs: Names, operands: Operands, along: Operands, indices: list, table: Couplings
) -> list[Array]:
    """The derivatives of the form, see `jmlip.ops.forms`.

    Blocks of atoms one after the other: on CPU, such that what is made for each slot stays in the
    cache; elsewhere, or where there are few paths, such that it fits into memory.
    """
    by_blocks = lambda numbers: functools.partial(_by_blocks, outs, table, numbers)
    on_cpu = MEMORY if table.n_paths <= FEW else CACHE
    return jax.lax.platform_dependent(
        operands, along, indices, cpu=by_blocks(on_cpu), default=by_blocks(MEMORY)
    )


def _by_blocks(
    outs: Names, table: Couplings, numbers: int, operands: Operands, along: Operands, indices: list
) -> list[Array]:
    senders, reverse, index, first = indices
    shapes = shapes_of(operands, indices, table)
    n_atoms, _, channels = shapes["g"]
    n_slots = len(senders) // max(n_atoms, 1)
    for_each = n_slots * channels * (table.n_g + table.n_x + table.n_paths)
    size = min(n_atoms, max(1, numbers // max(for_each, 1)))
    shapes["w"] = (len(senders), *shapes["w"][1:])  # slots that share a row are added at the end

    def do(block: Array, found: list[Array]) -> list[Array]:
        start = jnp.minimum(block * size, n_atoms - size)  # the last one does some atoms again
        slots = _Slots(senders, reverse, index if first.shape[0] else None, start, size, n_slots)
        for n, out in enumerate(outs):
            rows, at = _face(out, slots.view(operands, out), slots.view(along, out), table), start
            if out in ("g", "x"):
                rows = rows.reshape(size, n_slots, *rows.shape[1:]).sum(axis=1)
            else:
                at *= n_slots
            found[n] = jax.lax.dynamic_update_slice_in_dim(found[n], rows, at, axis=0)
        return found

    dtype = next(iter(operands.values())).dtype
    found = [jnp.zeros(shapes[out], dtype) for out in outs]
    found = jax.lax.fori_loop(0, -(-n_atoms // max(size, 1)), do, found)
    if "w" in outs and first.shape[0]:
        w = found[outs.index("w")]
        there = (index[first] == jnp.arange(len(first))) & (first < reverse[first])
        both = w[first] + w[reverse[first]]
        found[outs.index("w")] = jnp.where(there[:, None, None], both, 0.0)
    return found


class _Slots(NamedTuple):
    """The pair slots of some atoms, `size` from `start` on; rows of w by `shared`, if they are."""

    senders: Array
    reverse: Array
    shared: Array | None
    start: Array
    size: int
    n_slots: int

    def of(self, values: Array) -> Array:
        """Those of the atoms, of values of all slots."""
        at, count = self.start * self.n_slots, self.size * self.n_slots
        return jax.lax.dynamic_slice_in_dim(values, at, count)

    def view(self, operands: Operands, out: str) -> Operands:
        """Operands as the slots see them; for face x as the opposite slots do, which are sent."""
        rows = lambda values, index: values.at[index].get(mode="promise_in_bounds")
        neighbors, opposite = self.of(self.senders), self.of(self.reverse)
        sent, found = out == "x", {}
        for name, values in operands.items():
            if name == ("g" if sent else "x"):
                found[name] = rows(values, neighbors)
            elif name == "g":
                own = jax.lax.dynamic_slice_in_dim(values, self.start, self.size)
                found[name] = jnp.repeat(own, self.n_slots, axis=0)
            elif name == "w" and self.shared is not None:
                found[name] = rows(values, self.of(self.shared))  # both directions share it
            elif name != "x":
                found[name] = rows(values, opposite) if sent else self.of(values)
        return found


def _face(out: str, operands: Operands, along: Operands, table: Couplings) -> Array:
    """One face, or its derivative along tangents, on slots."""
    points = [operands | {name: along[name]} for name in along if name != out] or [operands]
    names = [name for name in NAMES if name != out]
    terms = [_PLAIN[out](table, **{name: point[name] for name in names}) for point in points]
    return functools.reduce(jnp.add, terms)


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


def _products(table: Couplings, x: Array, y: Array):
    """For each path its block, and t[k] = sum_i M[k, i] x_i where it is not zero."""
    for block, matrix in zip(table.blocks, _matrices(table, y), strict=True):
        sums: dict[int, Array] = {}
        for (k, i), m in matrix.items():
            _add(sums, k, m * x[:, block[0] + i])
        yield block, sums


def _plain_g(table: Couplings, x: Array, y: Array, w: Array) -> Array:
    rows = {}
    for p, (block, sums) in enumerate(_products(table, x, y)):
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
    for p, (block, sums) in enumerate(_products(table, x, y)):
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
