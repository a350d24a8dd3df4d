"""The tensor product of Allegro, as a multilinear form closed under differentiation.

    F(t, V, Gamma, w) = sum_n sum_s sum_p w[p, c] sum_ijk C^p_ijk
                            t[n, s, k, c] V[n, s, i, c] Gamma[n, j, c]

n runs over atoms, s over their pair slots, c over channels, p over couplings (l1, l2 -> l3). V are
tensors of pairs, Gamma is the environment of their center, and the derivative by t is the product

    T[n, s, k, c] = sum_p w[p, c] sum_ij C^p_ijk V[n, s, i, c] Gamma[n, j, c]

The other derivatives are its transposes, see `jmlip.ops.forms`. All pairs of an atom meet the same
environment, so Gamma is contracted with coefficients and weights first, once for each atom, and
pairs see small matrices M[k, i] only. In plain JAX or by a kernel ("native": C++ on CPU,
cuEquivariance on NVIDIA GPUs).
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jmlip.ops import cuda
from jmlip.ops.coupling import clebsch_gordan
from jmlip.ops.forms import BackendName, Form, Names, Operands, kernel
from jmlip.ops.irreps import Irrep, dim, product, slices

NAMES = ("t", "v", "g", "w")


class PairPath(NamedTuple):
    """One coupling: block of the pair's tensors, block of the environment, block of the output."""

    input: int
    environment: int
    output: int


@dataclasses.dataclass(frozen=True)
class Table:
    """Irreps of the three tensors.

    Args:
        inputs: of the tensors of pairs.
        environment: of the environment.
        outputs: of the product.
        summed: whether paths to one irrep are summed, or kept side by side: then each output irrep
            has rows [2l + 1, paths to it].
        groups: of atoms that follow each other, as many in each, with weights of their own.
    """

    inputs: tuple[Irrep, ...]
    environment: tuple[Irrep, ...]
    outputs: tuple[Irrep, ...]
    summed: bool = True
    groups: int = 1

    @functools.cached_property
    def paths(self) -> tuple[PairPath, ...]:
        """All couplings: by output, then input, then environment."""
        return tuple(
            PairPath(a, b, o)
            for o, output in enumerate(self.outputs)
            for a, first in enumerate(self.inputs)
            for b, second in enumerate(self.environment)
            if output in product(first, second)
        )

    @functools.cached_property
    def strides(self) -> tuple[int, ...]:
        """For each output irrep, the rows that each of its components has."""
        count = lambda o: sum(path.output == o for path in self.paths)
        return tuple(1 if self.summed else count(o) for o in range(len(self.outputs)))

    @property
    def n_rows(self) -> int:
        """Rows of the product."""
        return sum(n * ir.dim for n, ir in zip(self.strides, self.outputs, strict=True))


def pair_product(
    v: Float[Array, "atoms slots rows channels"],
    environment: Float[Array, "atoms harmonics channels"],
    weights: Float[Array, "paths channels"],
    table: Table,
    *,
    backend: BackendName = "auto",
) -> Float[Array, "atoms slots rows_out channels"]:
    """T of the module's equation.

    Args:
        v: tensors of the pairs.
        environment: of their centers.
        weights: in the order of `table.paths`.
        table: irreps of the three.
        backend: "native", "plain", or "auto": native where it can be.

    Raises:
        ValueError: sizes do not fit the table, or the native backend is asked for and not there.
    """
    found = (v.shape[2], environment.shape[1], weights.shape[0])
    expected = (dim(table.inputs), dim(table.environment), len(table.paths))
    if found != expected:
        raise ValueError(
            "tensors, environment and weights must have the rows of the table, "
            f"{expected}, found {found}."
        )
    PAIR_PRODUCT.check(backend)
    operands = {"v": v, "g": environment, "w": weights[None]}
    (found,) = PAIR_PRODUCT.derivatives(("t",), operands, {}, (), table=table, backend=backend)
    return found


def _shapes(operands: Operands, indices: Sequence, table: Table) -> dict[str, tuple[int, ...]]:
    del indices
    # of any three operands one at least belongs to pairs
    n_atoms, slots, _, channels = operands["t" if "t" in operands else "v"].shape
    return {
        "t": (n_atoms, slots, table.n_rows, channels),
        "v": (n_atoms, slots, dim(table.inputs), channels),
        "g": (n_atoms, dim(table.environment), channels),
        "w": (table.groups, len(table.paths), channels),
    }


def _fold(
    operands: Operands, indices: list, shapes: dict, size: int, table: Table
) -> tuple[Operands, list, Table]:
    del shapes
    folded = {name: value.reshape(-1, *value.shape[2:]) for name, value in operands.items()}
    return folded, indices, dataclasses.replace(table, groups=size * table.groups)


def _plain(
    outs: Names, operands: Operands, along: Operands, indices: list, table: Table
) -> list[Array]:
    shapes = _shapes(operands, indices, table)
    like = next(iter(operands.values()))
    # F is linear in what is not given, so any value will do
    full = {n: operands[n] if n in operands else jnp.zeros(shapes[n], like.dtype) for n in NAMES}

    def gradient(changed: Operands) -> list[Array]:
        point = full | changed
        inner = lambda wanted: jnp.sum(point["t"] * _product(point | wanted, table))
        found = {}
        if "t" in outs:
            found["t"] = _product(point, table)
        others = {name: point[name] for name in outs if name != "t"}
        found |= jax.grad(inner)(others) if others else {}
        return [found[name] for name in outs]

    if not along:
        return gradient({})
    return jax.jvp(gradient, ({name: full[name] for name in along},), (along,))[1]


def _product(operands: Operands, table: Table) -> Float[Array, "atoms slots rows_out channels"]:
    """T in plain JAX."""
    v, g = operands["v"], operands["g"]
    w = jnp.repeat(operands["w"], len(g) // table.groups, axis=0)
    rows, columns = slices(table.inputs), slices(table.environment)
    blocks = []
    for o, output in enumerate(table.outputs):
        terms = []
        for p, path in enumerate(table.paths):
            if path.output != o:
                continue
            l1, l2 = table.inputs[path.input].l, table.environment[path.environment].l
            coefficients = jnp.asarray(clebsch_gordan(l1, l2, output.l), v.dtype)
            matrix = jnp.einsum("ijk,njc->nkic", coefficients, g[:, columns[path.environment]])
            matrix = (matrix * w[:, p, None, None])[:, None]
            terms.append(jnp.sum(matrix * v[:, :, None, rows[path.input]], axis=3))
        if table.summed:
            blocks.append(functools.reduce(jnp.add, terms))
        else:
            side_by_side = jnp.stack(terms, axis=3)
            blocks.append(side_by_side.reshape(*v.shape[:2], -1, v.shape[-1]))
    return jnp.concatenate(blocks, axis=2)


@functools.cache
def _layout(table: Table) -> tuple[np.ndarray, np.ndarray]:
    """For each path its first rows, dimensions and stride; and all coefficients, [j, k, i]."""
    rows, columns = slices(table.inputs), slices(table.environment)
    layout, coefficients, start = [], [np.zeros(0)], 0
    for o, (output, stride) in enumerate(zip(table.outputs, table.strides, strict=True)):
        for n, (a, b, _) in enumerate(path for path in table.paths if path.output == o):
            first, second = table.inputs[a], table.environment[b]
            row = start if table.summed else start + n
            dims = (first.dim, second.dim, output.dim)
            layout.append((rows[a].start, columns[b].start, row, *dims, stride))
            values = clebsch_gordan(first.l, second.l, output.l).transpose(1, 2, 0)
            coefficients.append(values.reshape(-1))
        start += stride * output.dim
    return np.asarray(layout, np.int64).reshape(-1), np.concatenate(coefficients)


def _native(
    outs: Names, operands: Operands, along: Operands, indices: list, table: Table
) -> list[Array]:
    shapes = _shapes(operands, indices, table)
    n_atoms, slots, n_t, channels = shapes["t"]
    weights = shapes["w"][1:]
    shapes["w"] = (n_atoms, *weights)  # the kernel does not sum over atoms
    layout, coefficients = _layout(table)
    rows = (n_t, shapes["v"][2], shapes["g"][1])
    found = kernel(
        "jmlip_pair_product",
        {name: shapes[name] for name in NAMES},
        outs,
        operands,
        along,
        (),
        sizes=np.asarray((*rows, n_atoms, slots, channels, table.groups), np.int64),
        layout=layout,
        coefficients=coefficients,
    )
    if "w" in outs:
        in_groups = (table.groups, n_atoms // table.groups, *weights)
        found["w"] = found["w"].reshape(in_groups).sum(axis=1)
    return [found[name] for name in outs]


@functools.cache
def _segmented(table: Table, channels: int) -> Any:
    """The form as a product of segments, its operands in the order of NAMES."""
    layout, _ = _layout(table)
    places, values = [], []
    for p, (row, column, out, *_, stride) in enumerate(layout.reshape(-1, 7).tolist()):
        a, b, o = table.paths[p]
        degrees = (table.inputs[a].l, table.environment[b].l, table.outputs[o].l)
        coefficients = clebsch_gordan(*degrees)
        entries = np.argwhere(coefficients)
        i, j, k = entries.T
        place = (out + k * stride, row + i, column + j, np.full_like(i, p))
        places.append(np.stack(place, axis=1))
        values.append(coefficients[tuple(entries.T)])
    sizes = (table.n_rows, dim(table.inputs), dim(table.environment), len(table.paths))
    segments = {name: (size, channels) for name, size in zip(NAMES, sizes, strict=True)}
    return cuda.tensor_product(segments, NAMES, (np.concatenate(places), np.concatenate(values)))


def _cuda(
    outs: Names,
    operands: Operands,
    along: Operands,
    indices: list,
    table: Table,
    method: cuda.Method = "uniform_1d",
) -> list[Array]:
    shapes = _shapes(operands, indices, table)
    n_atoms, slots, _, channels = shapes["t"]
    pairs = jnp.arange(n_atoms * slots, dtype=jnp.int32)
    of_pairs = lambda at: {
        name: value.reshape(-1, *value.shape[2:]) if name in ("t", "v") else value
        for name, value in at.items()
    }
    one = table.groups == 1
    found = cuda.multilinear(
        outs,
        of_pairs(operands),
        of_pairs(along),
        names=NAMES,
        shapes=shapes | {name: (n_atoms * slots, *shapes[name][2:]) for name in ("t", "v")},
        rows={
            "t": None,
            "v": None,
            "g": pairs // slots,
            "w": None if one else pairs // (n_atoms // table.groups * slots),
        },
        product=_segmented(table, channels),
        method=method,
    )
    return [value.reshape(shapes[out]) for out, value in zip(outs, found, strict=True)]


PAIR_PRODUCT = Form(
    name="jmlip_pair_product",
    operands=NAMES,
    linear=NAMES,
    shapes=_shapes,
    plain=_plain,
    native=_native,
    fold=_fold,
    cuda=_cuda,
)
