"""The faces of the convolution in JAX, everywhere: couplings unrolled, one pass for each face."""

import functools
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jmlip.ops.coupling import Couplings, clebsch_gordan
from jmlip.ops.forms import Names, Operands

NAMES = ("g", "x", "y", "w")


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
    """The derivatives of the form, see `jmlip.ops.forms`."""
    senders, reverse, index, first = indices
    shapes = shapes_of(operands, indices, table)
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
