"""Radial functions read from tables: against SciPy's cubic Hermite splines."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from scipy.interpolate import CubicHermiteSpline

from jmlip.ops import native
from jmlip.ops.radial_table import read_table

BACKENDS = [
    "plain",
    pytest.param(
        "native", marks=pytest.mark.skipif(not native.available(), reason="no C++ compiler")
    ),
]
SPACING, KNOTS = 0.25, 13


def example(width, dtype):
    """Two tables, distances inside of every interval, at knots, and beyond the end."""
    rng = np.random.default_rng(0)
    table = rng.normal(size=(2, KNOTS, 2, width))
    table[:, -1] = 0.0
    inside = SPACING * (np.arange(KNOTS - 1) + rng.uniform(0.05, 0.95, KNOTS - 1))
    r = np.concatenate([inside, [0.0, 3 * SPACING, SPACING * (KNOTS - 1), 5.0, 80.0]])
    which = rng.integers(0, 2, len(r))
    return jnp.asarray(table.astype(dtype)), jnp.asarray(r.astype(dtype)), jnp.asarray(which)


def by_scipy(table, r, which, order):
    knots = SPACING * np.arange(KNOTS)
    splines = [CubicHermiteSpline(knots, t[:, 0], t[:, 1]) for t in np.asarray(table, np.float64)]
    rows = [splines[w](x, order) if x < knots[-1] else np.zeros(table.shape[-1]) for x, w in
            zip(np.asarray(r, np.float64), np.asarray(which), strict=True)]  # fmt: skip
    return np.stack(rows)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("width", [3, 16, 40])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_values_and_slopes_are_those_of_hermite_splines(x64, backend, width, dtype):
    table, r, which = example(width, dtype)
    read = lambda r: read_table(table, r, which, SPACING, backend=backend)
    tolerance = 1e-12 if dtype == np.float64 else 1e-4
    np.testing.assert_allclose(read(r), by_scipy(table, r, which, 0), atol=tolerance)
    weight = jnp.asarray(np.random.default_rng(1).normal(size=(len(r), width)).astype(dtype))
    slopes = jax.grad(lambda r: jnp.sum(weight * read(r)))(r)
    expected = np.sum(np.asarray(weight) * by_scipy(table, r, which, 1), axis=1)
    np.testing.assert_allclose(slopes, expected, atol=30 * tolerance)


@pytest.mark.parametrize("backend", BACKENDS)
def test_derivatives_of_every_kind(x64, backend):
    table, r, which = example(3, np.float64)
    inner = slice(0, KNOTS - 1)  # elsewhere the second derivative jumps
    read = lambda table, r: read_table(
        jnp.asarray(table), jnp.asarray(r), which[inner], SPACING, backend=backend
    )
    check_grads(read, (table, r[inner]), order=2, modes=["fwd", "rev"], eps=1e-5)


@pytest.mark.parametrize("backend", BACKENDS)
def test_problems_side_by_side(x64, backend):
    """Under vmap each problem keeps its own tables."""
    table, r, which = example(5, np.float64)
    tables = jnp.stack([table, 2.0 * table, -table])
    read = lambda table: read_table(table, r, which, SPACING, backend=backend)
    found = jax.vmap(read)(tables)
    np.testing.assert_allclose(found, jnp.stack([read(each) for each in tables]), atol=1e-14)


def test_one_knot_is_no_table():
    with pytest.raises(ValueError, match="two knots or more"):
        read_table(jnp.zeros((1, 1, 2, 3)), jnp.ones(2), jnp.zeros(2, int), SPACING)
