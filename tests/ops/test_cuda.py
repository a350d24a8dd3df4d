"""The forms as cuEquivariance computes them, against the plain ones: by its own JAX on any device,
which shows that indices, paths and factors are right, and by its kernels where there is a GPU.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jmlip.ops import cuda
from jmlip.ops.contraction import CONVOLUTION, unordered_pairs
from jmlip.ops.coupling import couplings
from jmlip.ops.irreps import Irrep, all_irreps, dim, harmonics, paths
from jmlip.ops.pair_product import PAIR_PRODUCT, Table
from jmlip.ops.powers import Powers
from jmlip.ops.symmetric import PRODUCT

pytest.importorskip("cuequivariance_jax")
CHANNELS = 3
NO_GPU = jax.default_backend() != "gpu" or bool(cuda.why_not())
METHODS = [
    "naive",
    pytest.param(
        "uniform_1d",
        marks=[pytest.mark.gpu, pytest.mark.skipif(NO_GPU, reason="no GPU with cuEquivariance")],
    ),
]


def normal(*shapes):
    rng = np.random.default_rng(0)
    return [jnp.asarray(rng.normal(size=shape)) for shape in shapes]


def convolution(shared):
    inputs = (Irrep(0, 1), Irrep(1, -1))
    table = couplings(inputs, 1, paths(inputs, 1, all_irreps(1, both_parities=True)))
    # three atoms in a row, two slots for each; the last slot of the ends is padding
    reverse = jnp.asarray([2, 1, 0, 4, 3, 5], jnp.int32)
    senders = reverse // 2
    padding = reverse == jnp.arange(6)
    pairs = unordered_pairs(reverse) if shared else [jnp.zeros(0, jnp.int32)] * 2
    n_w = 3 if shared else 6
    shapes = [(3, table.n_g, CHANNELS), (3, table.n_x, CHANNELS), (6, table.n_y)]
    g, x, y, w = normal(*shapes, (n_w, table.n_paths, CHANNELS))
    operands = {"g": g, "x": x, "y": jnp.where(padding[:, None], 0.0, y), "w": w}
    return CONVOLUTION, operands, [senders, reverse, *pairs], table


def pairs_of_allegro(summed, groups):
    table = Table(harmonics(1), harmonics(1), harmonics(1), summed=summed, groups=groups)
    rows = (table.n_rows, dim(table.inputs))
    t, v, g, w = normal(
        *[(4, 3, n, CHANNELS) for n in rows],
        (4, dim(table.environment), CHANNELS),
        (groups, len(table.paths), CHANNELS),
    )
    return PAIR_PRODUCT, {"t": t, "v": v, "g": g, "w": w}, [], table


def powers(order):
    table = Powers(harmonics(1), harmonics(1), order, 2)
    g, a, w = normal(
        (4, dim(table.outputs), CHANNELS),
        (4, dim(table.inputs), CHANNELS),
        (2, sum(table.sizes().values()), CHANNELS),
    )
    return PRODUCT, {"g": g, "a": a, "w": w}, [jnp.asarray([0, 1, 1, 0], jnp.int32)], table


CASES = {
    "convolution": lambda: convolution(shared=False),
    "convolution, weights shared": lambda: convolution(shared=True),
    "pair product": lambda: pairs_of_allegro(summed=True, groups=1),
    "pair product, paths apart, two groups": lambda: pairs_of_allegro(summed=False, groups=2),
    "symmetric product": lambda: powers(3),
}


def agree(form, method, operands, along, indices, table):
    outs = form.operands
    run = lambda by, **how: jax.jit(
        lambda operands, along: by(outs, operands, along, indices, table, **how)
    )(operands, along)
    for out, found, expected in zip(
        outs, run(form.cuda, method=method), run(form.plain), strict=True
    ):
        if out == "y":  # what padding has is not said
            there = jnp.any(operands["y"] != 0, axis=1, keepdims=True)
            found, expected = found * there, expected * there
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12, err_msg=out)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", CASES)
def test_first_derivatives(x64, name, method):
    form, operands, indices, table = CASES[name]()
    agree(form, method, operands, {}, indices, table)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", CASES)
def test_second_derivatives(x64, name, method):
    form, operands, indices, table = CASES[name]()
    single = [(name,) for name in form.operands if name not in form.linear]
    for moved in [*single, form.operands[1:3], form.operands]:
        along = {
            name: jnp.where(operands[name] == 0, 0.0, jnp.cos(3 * operands[name])) for name in moved
        }
        agree(form, method, operands, along, indices, table)
