"""The pair product against its sum over components, and its two backends against each other."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jmlip.ops import native
from jmlip.ops.coupling import clebsch_gordan
from jmlip.ops.irreps import Irrep, harmonics, slices
from jmlip.ops.pair_product import PAIR_PRODUCT, Table, pair_product

BOTH = (Irrep(0, 1), Irrep(0, -1), Irrep(1, -1), Irrep(1, 1), Irrep(2, 1))
TABLES = {
    "summed": Table(BOTH, harmonics(2), BOTH),
    "side by side": Table(BOTH, harmonics(2), BOTH[:3], summed=False),
}
BACKENDS = ["plain", pytest.param("native", marks=pytest.mark.skipif(
    not native.available(), reason="the kernels were not built"
))]  # fmt: skip


def operands(table, n_atoms=3, slots=2, channels=3):
    generator = np.random.default_rng(4)
    rows = sum(ir.dim for ir in table.inputs), sum(ir.dim for ir in table.environment)
    shapes = {
        "v": (n_atoms, slots, rows[0], channels),
        "g": (n_atoms, rows[1], channels),
        "w": (len(table.paths), channels),
    }
    return {name: jnp.asarray(generator.normal(size=shape)) for name, shape in shapes.items()}


def by_components(table, v, g, w):
    rows, columns = slices(table.inputs), slices(table.environment)
    found = []
    for o, output in enumerate(table.outputs):
        terms = []
        for p, (a, b, path_output) in enumerate(table.paths):
            if path_output == o:
                coefficients = clebsch_gordan(table.inputs[a].l, table.environment[b].l, output.l)
                term = np.einsum(
                    "ijk,nsic,njc,c->nskc", coefficients, v[:, :, rows[a]], g[:, columns[b]], w[p]
                )
                terms.append(term)
        stacked = np.stack(terms, axis=3)
        stacked = stacked.sum(axis=3) if table.summed else stacked
        found.append(stacked.reshape(*v.shape[:2], -1, v.shape[-1]))
    return np.concatenate(found, axis=2)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", TABLES)
def test_it_is_the_sum_over_components(x64, name, backend):
    table, given = TABLES[name], operands(TABLES[name])
    found = pair_product(given["v"], given["g"], given["w"], table, backend=backend)
    expected = by_components(table, *map(np.asarray, given.values()))
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.skipif(not native.available(), reason="the kernels were not built")
@pytest.mark.parametrize(("name", "channels"), [("summed", 17), ("side by side", 1)])
def test_backends_agree_in_every_derivative(x64, name, channels):
    """All four first derivatives, and all four along tangents of all operands, or of some."""
    few = BOTH[:3]
    table = Table(few, harmonics(1), few, summed=name == "summed")
    first = operands(table, channels=channels)
    first["w"] = first["w"][None]
    first["t"] = jnp.ones((3, 2, table.n_rows, channels)).at[0].set(-0.3)
    along = {key: jnp.sin(3.0 * value + 1.0) for key, value in first.items()}
    outs = PAIR_PRODUCT.operands
    for tangents in ({}, along, {"v": along["v"], "w": along["w"]}):
        plain, fast = (
            jax.jit(
                lambda first, tangents, backend=backend: PAIR_PRODUCT.derivatives(
                    outs, first, tangents, (), table=table, backend=backend
                )
            )(first, tangents)
            for backend in ("plain", "native")
        )
        for expected, found in zip(plain, fast, strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-11)


def test_many_at_once_are_as_one_by_one(x64):
    """Also where the weights of each differ."""
    table, given = TABLES["summed"], operands(TABLES["summed"])
    scales = jnp.array([1.0, -2.0])
    value = lambda scale: pair_product(given["v"], scale * given["g"], scale * given["w"], table)
    slope = lambda scale: jax.grad(lambda scale: jnp.sum(value(scale) ** 2))(scale)
    for function in (value, slope):
        one_by_one = jnp.stack([function(scale) for scale in scales])
        np.testing.assert_allclose(jax.vmap(function)(scales), one_by_one, rtol=1e-12, atol=1e-12)


def test_rows_that_do_not_fit_are_refused():
    given = operands(TABLES["summed"])
    with pytest.raises(ValueError, match="must have the rows of the table"):
        pair_product(given["v"], given["g"], given["w"][:-1], TABLES["summed"])
