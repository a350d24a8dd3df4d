"""The indexed multilinear form: against e3nn-jax, its own derivatives, and between backends."""

import e3nn_jax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from jmlip.ops import native
from jmlip.ops.contraction import convolve, unordered_pairs
from jmlip.ops.coupling import couplings
from jmlip.ops.irreps import Irrep, all_irreps, dim, harmonics, paths

BACKENDS = [
    "plain",
    pytest.param(
        "native", marks=pytest.mark.skipif(not native.available(), reason="no C++ compiler")
    ),
]
CASES = {
    "scalars": ((Irrep(0, 1),), 1, 3),
    "natural parity": (harmonics(1), 2, 5),
    "both parities": ((Irrep(1, 1), Irrep(1, -1)), 1, 17),
    "degree 3": (harmonics(3)[2:], 3, 2),
    "half a register": ((Irrep(0, 1),), 1, 8),
    "a register": ((Irrep(0, 1),), 1, 16),
    "three registers": ((Irrep(0, 1),), 1, 48),
}


def example(name, dtype):
    inputs, degree, channels = CASES[name]
    table = paths(inputs, degree, all_irreps(degree, both_parities=True))
    if name == "degree 3":  # unrolled couplings take long to compile
        table = table[::9]
    rng = np.random.default_rng(0)
    n_atoms, slots = 5, 4
    senders, reverse = pair_list(rng, n_atoms, slots)
    n = n_atoms * slots
    x = rng.normal(size=(n_atoms, dim(inputs), channels)).astype(dtype)
    y = rng.normal(size=(n, (degree + 1) ** 2)).astype(dtype)
    y[reverse == np.arange(n)] = 0.0
    w = rng.normal(size=(n, len(table), channels)).astype(dtype)
    operands = (jnp.asarray(x), jnp.asarray(y), jnp.asarray(w))
    return operands, (jnp.asarray(senders), jnp.asarray(reverse)), inputs, degree, table


def masked(y, indices):
    """As models do: harmonics are zero in padding, whatever their gradient is."""
    reverse = indices[1]
    return jnp.where((reverse == jnp.arange(len(reverse)))[:, None], 0.0, y)


def pair_list(rng, n_atoms, slots):
    """A full list in which every slot knows its opposite; what is left over is padding."""
    free = [list(range(a * slots, (a + 1) * slots)) for a in range(n_atoms)]
    reverse = np.arange(n_atoms * slots)
    for a, b in rng.permutation([(i, j) for i in range(n_atoms) for j in range(i)])[:8]:
        if free[a] and free[b]:
            p, q = free[a].pop(), free[b].pop()
            reverse[p], reverse[q] = q, p
    return (reverse // slots).astype(np.int32), reverse.astype(np.int32)


def by_e3nn(operands, senders, inputs, degree, table):
    """The same sum through `e3nn_jax.tensor_product`, a path at a time."""
    x, y, w = operands
    starts = np.cumsum([0] + [ir.dim for ir in inputs])
    rows, slots = [], len(y) // len(x)
    for p, path in enumerate(table):
        ir = inputs[path.input]
        block = x[senders, starts[path.input] : starts[path.input + 1]].swapaxes(1, 2)
        left = e3nn_jax.IrrepsArray(f"{x.shape[-1]}x{ir}", block.reshape(len(y), -1))
        l = path.degree
        right = e3nn_jax.IrrepsArray(str(harmonics(l)[l]), y[:, l * l : (l + 1) ** 2])
        out = e3nn_jax.tensor_product(
            left, right, filter_ir_out=[str(path.output)], irrep_normalization="component"
        )
        message = out.array.reshape(len(y), x.shape[-1], path.output.dim) * w[:, p, :, None]
        rows.append(message.reshape(len(x), slots, *message.shape[1:]).sum(axis=1).swapaxes(1, 2))
    return rows


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", CASES)
def test_convolution_is_that_of_e3nn(x64, name, backend):
    operands, (senders, reverse), inputs, degree, table = example(name, np.float64)
    rule = couplings(inputs, degree, table)
    run = jax.jit(lambda *operands: convolve(*operands, senders, reverse, rule, backend=backend))
    found = run(*operands)
    expected = jax.jit(lambda *x: by_e3nn(x, senders, inputs, degree, table))(*operands)
    for block, rows in zip(rule.blocks, expected, strict=True):
        _, _, start, _, _, l3, stride = block
        own = found[:, start : start + (2 * l3) * stride + 1 : stride]
        np.testing.assert_allclose(own, rows, atol=1e-12)


@pytest.mark.parametrize(
    ("name", "backend"), [("scalars", "plain"), ("scalars", "auto"), ("natural parity", "auto")]
)
def test_derivatives_of_every_order(x64, name, backend):
    operands, indices, inputs, degree, table = example(name, np.float64)
    rule = couplings(inputs, degree, table)

    def value(x, y, w):
        return jnp.sin(convolve(x, masked(y, indices), w, *indices, rule, backend=backend)).sum()

    check_grads(jax.jit(value), operands, order=2, modes=["fwd", "rev"], rtol=1e-6, atol=1e-6)


@pytest.mark.skipif(not native.available(), reason="no C++ compiler")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", ["both parities"])
def test_backends_agree(x64, name, dtype):
    operands, indices, inputs, degree, table = example(name, dtype)
    rule = couplings(inputs, degree, table)

    def both(backend):
        def value(x, y, w):
            y = masked(y, indices)
            return jnp.sin(convolve(x, y, w, *indices, rule, backend=backend)).sum()

        gradient = lambda *a: jax.grad(value, argnums=(0, 1, 2))(*a)
        loss = lambda *a: sum(jnp.sum(g**3) for g in gradient(*a))
        return jax.jit(lambda *a: (value(*a), gradient(*a), jax.grad(loss, (0, 1, 2))(*a)))(
            *operands
        )

    tolerance = 2e-4 if dtype == np.float32 else 1e-10
    for a, b in zip(jax.tree.leaves(both("native")), jax.tree.leaves(both("plain")), strict=True):
        assert a.dtype == dtype
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * np.abs(b).max())


@pytest.mark.parametrize(
    ("backend", "order"), [("plain", 0), ("plain", 1), ("auto", 1), ("auto", 2)]
)
def test_weights_that_both_directions_share(x64, backend, order):
    """One row for each unordered pair is as two equal rows, in value and derivatives."""
    (x, y, w), indices, inputs, degree, table = example("scalars", np.float64)
    rule = couplings(inputs, degree, table)
    pairs = unordered_pairs(indices[1])
    assert pairs.first.shape == (len(y) // 2,)
    shared = w[: len(pairs.first)]

    def spread(x, y, w):
        return convolve(x, masked(y, indices), w[pairs.row], *indices, rule, backend="plain")

    def once(x, y, w):
        return convolve(x, masked(y, indices), w, *indices, rule, pairs=pairs, backend=backend)

    def derived(run):
        value = lambda *a: jnp.sin(run(*a)).sum()
        if order == 0:
            return value
        gradient = jax.grad(value, (0, 1, 2))
        loss = lambda *a: sum(jnp.sum(g**3) for g in gradient(*a))
        return gradient if order == 1 else jax.grad(loss, (0, 1, 2))

    found, expected = (jax.jit(derived(run))(x, y, shared) for run in (once, spread))
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-10 * np.abs(b).max())


@pytest.mark.parametrize("backend", BACKENDS)
def test_vmap_is_a_loop(x64, backend):
    (x, y, w), indices, inputs, degree, table = example("scalars", np.float64)
    rule = couplings(inputs, degree, table)
    pairs = unordered_pairs(indices[1])
    run = lambda x, w: jax.grad(
        lambda x, w: jnp.sum(convolve(x, y, w, *indices, rule, pairs=pairs, backend=backend) ** 2),
        argnums=(0, 1),
    )(x, w)
    many = jnp.stack([x, 2.0 * x, -x])
    w = w[: len(pairs.first)]
    found = jax.jit(jax.vmap(run, in_axes=(0, None)))(many, w)
    alone = jax.jit(run)
    for n, one in enumerate(many):
        for a, b in zip(found, alone(one, w), strict=True):
            np.testing.assert_allclose(a[n], b, rtol=1e-12, atol=1e-12)


def test_sizes_that_do_not_fit_are_named():
    (x, y, w), indices, inputs, degree, table = example("scalars", np.float32)
    with pytest.raises(ValueError, match="rows of the table"):
        convolve(x, y[:, :1], w, *indices, couplings(inputs, degree, table))
