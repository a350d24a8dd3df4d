"""Radial functions read from a table: cubic Hermite interpolation, for dynamics.

A table t holds value and slope of every function at equally spaced knots r_k = k h, from 0 to the
cutoff. With x = r / h - k in [0, 1] between knots k and k + 1,

    w(r) = (1 + 2x)(1 - x)^2 t[k, 0] + x (1 - x)^2 h t[k, 1]
           + x^2 (3 - 2x) t[k + 1, 0] + x^2 (x - 1) h t[k + 1, 1],

and 0 beyond the last knot. Values and first derivatives are continuous, so energy is conserved. The
form F = sum_ec g[e, c] w_c(r_e) gives w as dF/dg, and what forces need as dF/dr, each in one pass.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jmlip.ops.forms import BackendName, Form, Names, Operands, kernel

NAMES = ("g", "r", "t")


class Knots(NamedTuple):
    """Shape of the tables."""

    tables: int
    knots: int
    width: int
    spacing: float  # angstrom


def read_table(
    table: Float[Array, "tables knots 2 width"],
    r: Float[Array, " pairs"],
    which: Int[Array, " pairs"],
    spacing: float,
    *,
    backend: BackendName = "auto",
) -> Float[Array, "pairs width"]:
    """All functions at each distance.

    Args:
        table: value and slope (per angstrom) at every knot.
        r: distances, angstrom, not negative.
        which: the table of each pair.
        spacing: h, angstrom.
        backend: see `jmlip.ops.contraction`.

    Raises:
        ValueError: there are less than two knots, or the native backend is asked for and not there.
    """
    n_tables, n_knots, _, width = table.shape
    if n_knots < 2:
        raise ValueError(f"a table must have two knots or more, found {n_knots}.")
    TABLE.check(backend)
    knots = Knots(n_tables, n_knots, width, float(spacing))
    operands = {"r": r, "t": table}
    (found,) = TABLE.derivatives(("g",), operands, {}, (which,), table=knots, backend=backend)
    return found


def _shapes(operands: Operands, indices: list, table: Knots) -> dict[str, tuple[int, ...]]:
    n = indices[0].shape[0]
    return {"g": (n, table.width), "r": (n,), "t": (table.tables, table.knots, 2, table.width)}


def _value(g: Array, r: Array, t: Array, which: Array, table: Knots) -> Array:
    """F, by gathers of rows."""
    place = r / table.spacing
    last = table.knots - 1
    k = jnp.clip(jax.lax.stop_gradient(place).astype(jnp.int32), 0, last - 1)
    x = (place - k)[:, None]
    left, right = (t.at[which, k + side].get(mode="promise_in_bounds") for side in (0, 1))
    w = (1.0 + 2.0 * x) * (1.0 - x) ** 2 * left[:, 0] + x**2 * (3.0 - 2.0 * x) * right[:, 0]
    slopes = x * (1.0 - x) ** 2 * left[:, 1] + x**2 * (x - 1.0) * right[:, 1]
    return jnp.sum(jnp.where((place < last)[:, None], g * (w + table.spacing * slopes), 0.0))


def _plain(
    outs: Names, operands: Operands, along: Operands, indices: list, table: Knots
) -> list[Array]:
    dtype = next(iter(operands.values())).dtype
    shapes = _shapes(operands, indices, table)
    full = {name: operands.get(name, jnp.zeros(shapes[name], dtype)) for name in NAMES}
    value = lambda point: _value(**(full | point), which=indices[0], table=table)

    def derivative(point):
        rest = {name: full[name] for name in outs} | point
        inner = lambda moved: value(rest | moved)
        return jax.grad(inner)({name: rest[name] for name in outs})

    found = derivative({})
    if along:
        here = {name: full[name] for name in along}
        found = jax.jvp(derivative, (here,), (along,))[1]
    return [found[name] for name in outs]


def _native(
    outs: Names, operands: Operands, along: Operands, indices: list, table: Knots
) -> list[Array]:
    if along or "t" in outs:  # only what dynamics needs has a kernel
        return _plain(outs, operands, along, indices, table)
    shapes = _shapes(operands, indices, table)
    found = kernel(
        "jmlip_radial_table",
        shapes,
        outs,
        operands,
        {},
        indices,
        sizes=np.asarray((*shapes["g"], table.knots), np.int64),
        spacing=np.asarray([table.spacing]),
    )
    return [found[name] for name in outs]


def _fold(
    operands: Operands, indices: list, shapes: dict, size: int, table: Knots
) -> tuple[Operands, list, Knots]:
    del shapes
    copy = jnp.arange(size, dtype=indices[0].dtype)[:, None]
    return (
        {name: value.reshape(-1, *value.shape[2:]) for name, value in operands.items()},
        [(indices[0] + table.tables * copy).reshape(-1)],
        table._replace(tables=size * table.tables),
    )


TABLE = Form(
    name="jmlip_radial_table",
    operands=NAMES,
    linear=("g", "t"),
    shapes=_shapes,
    plain=_plain,
    native=_native,
    fold=_fold,
)
