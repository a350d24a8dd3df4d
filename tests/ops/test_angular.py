"""Angular symmetry functions: against loops over pairs, and every derivative by every backend."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from jmlip.ops import native
from jmlip.ops.angular import Functions, angular_functions

BACKENDS = [
    "plain",
    pytest.param(
        "native", marks=pytest.mark.skipif(not native.available(), reason="no C++ compiler")
    ),
]
FUNCTIONS = Functions(
    n_species=2, eta=3.0, zeta=5.0, shifts=(0.9, 1.5, 2.1), angles=(0.4, 1.2, 2.0, 2.8)
)


def example(dtype, n_atoms=5, slots=9):
    """Atoms with all, some and none of their slots taken; neighbors on one line among them."""
    rng = np.random.default_rng(0)
    vector = rng.normal(size=(n_atoms, slots, 3))
    vector[0, 1], vector[0, 2] = 2.0 * vector[0, 0], -vector[0, 0]
    envelope = rng.uniform(0.1, 1.0, size=(n_atoms, slots))
    envelope[1:] *= rng.integers(0, 2, size=(n_atoms - 1, slots))
    envelope[-1] = 0.0
    element = rng.integers(0, FUNCTIONS.n_species, size=(n_atoms, slots))
    return tuple(map(jnp.asarray, (vector.astype(dtype), envelope.astype(dtype), element)))


def by_loops(vector, envelope, element, functions):
    vector, envelope, element = (np.asarray(x) for x in (vector, envelope, element))
    shifts, angles = np.array(functions.shifts)[:, None], np.array(functions.angles)
    kinds = list(itertools.combinations_with_replacement(range(functions.n_species), 2))
    found = np.zeros((len(vector), len(kinds), len(shifts), len(angles)))
    r = np.linalg.norm(vector, axis=-1)
    for i in range(len(vector)):
        for j, k in itertools.combinations(range(vector.shape[1]), 2):
            kind = kinds.index(tuple(sorted((element[i, j], element[i, k]))))
            c = 0.95 * vector[i, j] @ vector[i, k] / (r[i, j] * r[i, k])
            angular = ((1.0 + np.cos(np.arccos(c) - angles)) / 2.0) ** functions.zeta
            radial = np.exp(-functions.eta * ((r[i, j] + r[i, k]) / 2.0 - shifts) ** 2)
            found[i, kind] += 2.0 * envelope[i, j] * envelope[i, k] * radial * angular
    return found.reshape(len(vector), -1)


def compute(vector, envelope, element, *, backend, functions=FUNCTIONS):
    run = functools.partial(angular_functions, functions=functions, backend=backend)
    return jax.jit(run)(vector, envelope, element)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_values_are_those_of_loops(x64, backend, dtype):
    vector, envelope, element = example(dtype)
    tolerance = 1e-12 if dtype == np.float64 else 2e-5
    expected = by_loops(vector, envelope, element, FUNCTIONS)
    np.testing.assert_allclose(
        compute(vector, envelope, element, backend=backend),
        expected,
        rtol=tolerance,
        atol=tolerance,
    )


@pytest.mark.parametrize("backend", BACKENDS)
def test_widths_that_fill_no_register(x64, backend):
    """One element, more angles than registers hold, distances where functions vanish; zeta is not
    an integer once, which the kernel leaves to JAX."""
    vector, envelope, element = example(np.float64)
    for zeta in (1.0, 2.5):
        functions = Functions(
            n_species=1, eta=200.0, zeta=zeta, shifts=(0.9, 40.0), angles=(*np.arange(9) / 3.0,)
        )
        found = compute(vector, envelope, 0 * element, backend=backend, functions=functions)
        expected = by_loops(vector, envelope, 0 * element, functions)
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("backend", BACKENDS)
def test_derivatives_of_every_kind(x64, backend):
    vector, envelope, element = example(np.float64, n_atoms=2, slots=4)
    present = np.maximum(envelope, 0.1)
    run = lambda v, e: compute(v, e, element, backend=backend)
    check_grads(run, (vector, present), order=2, modes=["fwd", "rev"], eps=1e-5)


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_is_absent_has_no_derivative(x64, backend):
    vector, envelope, element = example(np.float64)
    total = lambda v, e: jnp.sum(compute(v, e, element, backend=backend))
    by_vector, by_envelope = jax.grad(total, argnums=(0, 1))(vector, envelope)
    absent = np.asarray(envelope) == 0.0
    assert np.all(np.asarray(by_vector)[absent] == 0.0)
    assert np.all(np.asarray(by_envelope)[absent] == 0.0)
    assert np.all(np.isfinite(by_vector))


@pytest.mark.parametrize("backend", BACKENDS)
def test_loss_on_forces(x64, backend):
    """The gradient by weights of a function of the gradient by positions."""
    vector, envelope, element = example(np.float64)
    weight = jnp.asarray(np.random.default_rng(1).normal(size=FUNCTIONS.width))
    energy = lambda v, w: jnp.sum(jnp.tanh(compute(v, envelope, element, backend=backend) @ w))
    loss = lambda w: jnp.sum(jax.grad(energy)(vector, w) ** 2)
    check_grads(loss, (weight,), order=1, modes=["rev"], eps=1e-6)


@pytest.mark.parametrize("backend", BACKENDS)
def test_problems_side_by_side(x64, backend):
    vector, envelope, element = example(np.float64)
    vectors = jnp.stack([vector, 0.7 * vector])
    elements = jnp.stack([element, 1 - element])
    total = lambda v, z: jnp.sum(compute(v, envelope, z, backend=backend) ** 2)
    found = jax.vmap(jax.grad(total))(vectors, elements)
    each = [jax.grad(total)(v, z) for v, z in zip(vectors, elements, strict=True)]
    np.testing.assert_allclose(found, jnp.stack(each), rtol=1e-12, atol=1e-14)
