"""Symmetric products: against dense sums with the whole basis, and their derivatives."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from jmlip.ops import native
from jmlip.ops.irreps import Irrep, all_irreps, dim, harmonics
from jmlip.ops.powers import Powers, symmetric_basis
from jmlip.ops.symmetric import symmetric_product

BACKENDS = [
    "plain",
    pytest.param(
        "native", marks=pytest.mark.skipif(not native.available(), reason="no C++ compiler")
    ),
]
TABLES = {
    "order 1": Powers(harmonics(1), harmonics(1), 1, 2),
    "order 2": Powers(all_irreps(1, both_parities=True), all_irreps(1, both_parities=True), 2, 3),
    "order 3": Powers(harmonics(2), harmonics(1), 3, 2),
    "order 4": Powers(harmonics(1), (Irrep(0, 1),), 4, 1),
}


def example(name, dtype=np.float64, channels=3):
    table = TABLES[name]
    rng = np.random.default_rng(0)
    features = rng.normal(size=(6, dim(table.inputs), channels))
    weights = rng.normal(size=(table.n_species, sum(table.sizes().values()), channels))
    species = jnp.asarray(rng.integers(0, table.n_species, 6), jnp.int32)
    return jnp.asarray(features, dtype), jnp.asarray(weights, dtype), species, table


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", TABLES)
def test_product_is_the_dense_sum(x64, name, backend):
    features, weights, species, table = example(name)
    expected, eta = 0.0, 0
    for nu in range(1, table.order + 1):
        rows = []
        for ir in table.outputs:
            basis = symmetric_basis(table.inputs, nu, ir)
            own = weights[species, eta : eta + basis.shape[-1]]
            eta += basis.shape[-1]
            letters = "abdf"[:nu]
            factors = ",".join(f"n{letter}c" for letter in letters)
            rows.append(np.einsum(f"{letters}me,{factors},nec->nmc", basis, *[features] * nu, own))
        expected = expected + np.concatenate(rows, axis=1)
    run = jax.jit(functools.partial(symmetric_product, table=table, backend=backend))
    np.testing.assert_allclose(run(features, weights, species), expected, atol=1e-11)


@pytest.mark.parametrize(
    ("name", "backend"), [("order 1", "plain"), *((name, "auto") for name in TABLES)]
)
def test_derivatives_of_every_order(x64, name, backend):
    features, weights, species, table = example(name, channels=2)

    @jax.jit
    def value(features, weights):
        run = functools.partial(symmetric_product, table=table, backend=backend)
        return jnp.sin(0.1 * run(features, weights, species)).sum()

    check_grads(value, (features, weights), order=2, modes=["fwd", "rev"], rtol=1e-5, atol=1e-5)


@pytest.mark.skipif(not native.available(), reason="no C++ compiler")
@pytest.mark.parametrize("channels", [2, 8, 16, 37, 48])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_backends_agree(x64, dtype, channels):
    features, weights, species, table = example("order 3", dtype, channels)

    def everything(backend):
        def value(features, weights):
            run = symmetric_product(features, weights, species, table, backend=backend)
            return jnp.sin(0.1 * run).sum()

        loss = lambda *a: sum(jnp.sum(g**2) for g in jax.grad(value, (0, 1))(*a))
        return jax.jit(jax.value_and_grad(loss, (0, 1)))(features, weights)

    tolerance = 1e-3 if dtype == np.float32 else 1e-10
    for a, b in zip(*map(jax.tree.leaves, map(everything, ("native", "plain"))), strict=True):
        assert a.dtype == dtype
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * np.abs(b).max())


@pytest.mark.parametrize("backend", BACKENDS)
def test_vmap_is_a_loop(x64, backend):
    features, weights, species, table = example("order 3")
    run = jax.grad(
        lambda w: jnp.sum(symmetric_product(features, w, species, table, backend=backend) ** 2)
    )
    many = jnp.stack([weights, 2.0 * weights])
    alone = jax.jit(run)
    found = jax.jit(jax.vmap(run))(many)
    np.testing.assert_allclose(found, [alone(one) for one in many], rtol=1e-11)


def test_sizes_that_do_not_fit_are_named():
    features, weights, species, table = example("order 2", np.float32)
    with pytest.raises(ValueError, match="must be"):
        symmetric_product(features, weights[:, 1:], species, table)
