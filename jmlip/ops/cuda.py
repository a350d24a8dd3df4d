"""Polynomials over atoms and pairs on NVIDIA GPUs, by the fused kernels of cuEquivariance.

Features here are channel-last, and cuEquivariance's "uniform 1d" kernels are made for that: a
segment is one component of an irrep in all channels, a path the product of some segments by a
number, and gathers and sums over atoms and pairs are part of the kernel.

    out[r_out(b), o, c] = sum_b sum_paths value * a[r_a(b), i, c] b[r_b(b), j, c] ...

The kernels are NVIDIA's, in `cuequivariance-jax` and `cuequivariance-ops-jax`, which
`pip install 'jmlip[cuda]'` brings. Where they are not there, GPUs run the plain JAX of each form.
"""

import functools
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

Method = Literal["uniform_1d", "naive"]
Names = tuple[str, ...]
Operands = dict[str, Any]
PACKAGES = ("cuequivariance_jax", "cuequivariance_ops_jax")


@functools.cache
def why_not() -> str:
    """Why the kernels cannot be used; empty where they can."""
    absent = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    return f"{' and '.join(absent)} not installed (pip install 'jmlip[cuda]')" if absent else ""


def tensor_product(segments: Mapping[str, tuple[int, int]], factors: Names, paths: Any) -> Any:
    """One product of operands as cuEquivariance has it.

    Args:
        segments: (how many, their length) of each operand; a length of 0 stands for one number.
        factors: operands of the product, the same ones perhaps more than once.
        paths: (segment of each factor [paths, factors], numbers [paths]).
    """
    import cuequivariance as cue

    subscripts: Any = ",".join("u" if segments[name][1] else "" for name in factors)
    found: Any = cue.SegmentedTensorProduct.from_subscripts(subscripts)
    for n, name in enumerate(factors):
        count, length = segments[name]
        found.add_segments(n, count * [(length,) if length else ()])
    for place, value in zip(*paths, strict=True):
        found.add_path(*place.tolist(), c=float(value))
    return found.consolidate_paths()


def evaluate(
    products: Sequence[tuple[Any, tuple[Any, ...], str]],
    inputs: Mapping[Any, Array],
    outputs: Mapping[str, tuple[int, ...]],
    rows: Callable[[Any], Array | None],
    method: Method,
) -> Operands:
    """Sums of products, each a tensor product of some inputs that adds to an output.

    Args:
        products: (from `tensor_product`, names of its factors but the last, the output).
        inputs: arrays [rows, segments, channels] or [rows, segments].
        outputs: shapes.
        rows: the row of an input or output that every term of the sum over b reads or adds to; none
            where it has a row of its own, or all have the same one.
        method: "uniform_1d", the kernels; "naive", JAX on any device.
    """
    import cuequivariance as cue
    import cuequivariance_jax

    names = [*inputs, *outputs]
    place = {name: n for n, name in enumerate(names)}
    operands: dict[Any, Any] = {}
    for stp, factors, out in products:
        operands |= dict(zip((*factors, out), stp.operands, strict=True))
    polynomial = cue.SegmentedPolynomial(
        [operands[name] for name in inputs],
        [operands[name] for name in outputs],
        [
            (cue.Operation(tuple(place[name] for name in (*factors, out))), stp)
            for stp, factors, out in products
        ],
    )
    flat = lambda shape: (shape[0], int(np.prod(shape[1:])))
    dtype = next(iter(inputs.values())).dtype
    found = cuequivariance_jax.segmented_polynomial(
        polynomial,
        [value.reshape(flat(value.shape)) for value in inputs.values()],
        [jax.ShapeDtypeStruct(flat(shape), dtype) for shape in outputs.values()],
        [rows(name) for name in names],
        method=method,
    )
    return {n: v.reshape(s) for (n, s), v in zip(outputs.items(), found, strict=True)}


def multilinear(
    outs: Names,
    operands: Operands,
    along: Operands,
    *,
    names: Names,
    shapes: Mapping[str, tuple[int, ...]],
    rows: Mapping[str, Array | None],
    product: Any,
    method: Method,
) -> list[Array]:
    """Derivatives of a form that is linear in every operand, see `jmlip.ops.forms`: one kernel.

    Args:
        outs: wanted derivatives.
        operands: all that they need.
        along: tangents.
        names: operands of the form.
        shapes: of all operands.
        rows: of all operands, see `evaluate`.
        product: from `tensor_product`, its factors all operands in the order of `names`.
        method: see `evaluate`.
    """
    terms = [
        (out, [(name, name == changed) for name in names if name != out])
        for out in outs
        for changed in (along or (None,))
        if changed != out
    ]
    used = sorted({key for _, factors in terms for key in factors})
    inputs = {key: (along if key[1] else operands)[key[0]] for key in used}
    wanted = {out: shapes[out] for out in outs if any(out == found for found, _ in terms)}
    moved = {out: product.move_operand_last(names.index(out)) for out in wanted}
    products = [(moved[out], tuple(factors), out) for out, factors in terms]
    row_of = lambda key: rows[key if isinstance(key, str) else key[0]]
    found = evaluate(products, inputs, wanted, row_of, method) if wanted else {}
    zeros = lambda out: jnp.zeros(shapes[out], next(iter(operands.values())).dtype)
    return [found[out] if out in found else zeros(out) for out in outs]
