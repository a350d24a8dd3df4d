"""Reweighted averages against what is known of harmonic oscillators, and bad input."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jmlip.core.errors import ConfigError, DataError
from jmlip.md import reweighting

KT, STIFFNESS, N_SAMPLES = 0.025, 1.5, 200_000


def samples():
    """<x^2> = kT / k, drawn exactly."""
    return np.sqrt(KT / STIFFNESS) * np.random.default_rng(0).normal(size=N_SAMPLES)


def mean_square(stiffness, kT, x):
    energy = 0.5 * stiffness * x**2
    reference = 0.5 * STIFFNESS * x**2
    weights = reweighting.weights(energy, reference, kT=kT, kT_reference=KT)
    return reweighting.average(weights, x**2), weights


def test_average_and_derivatives_of_oscillators(x64):
    """<x^2> = kT / k, its derivatives -kT / k^2 and 1 / k, at and beside the reference."""
    x = jnp.asarray(samples())
    both = jax.jit(jax.value_and_grad(mean_square, (0, 1), has_aux=True))
    for k, kT in ((STIFFNESS, KT), (1.1 * STIFFNESS, KT), (STIFFNESS, 0.9 * KT)):
        (value, _), (to_k, to_kT) = both(k, kT, x)
        # the standard error of <x^2> is sqrt(2 / n) of it, that of slopes about sqrt(10 / n)
        assert float(value) == pytest.approx(kT / k, rel=5 * np.sqrt(2 / N_SAMPLES))
        assert float(to_k) == pytest.approx(-kT / k**2, rel=5 * np.sqrt(10 / N_SAMPLES))
        assert float(to_kT) == pytest.approx(1 / k, rel=5 * np.sqrt(10 / N_SAMPLES))


def test_derivative_is_the_fluctuation_formula(x64):
    """Of the samples at hand, to the last digits: -(<O dU/dk> - <O> <dU/dk>) / kT."""
    x = samples()[:500]
    (_, _), to_k = jax.value_and_grad(mean_square, has_aux=True)(STIFFNESS, KT, jnp.asarray(x))
    fluctuation = -np.cov(x**2, 0.5 * x**2, bias=True)[0, 1] / KT
    assert float(to_k) == pytest.approx(fluctuation, rel=1e-12)


def test_energies_far_from_zero_do_not_matter():
    """In float32, and for a change of temperature too: weights know only differences."""
    x = jnp.asarray(samples()[:1000], "float32")
    reference = 0.5 * STIFFNESS * x**2
    near = reweighting.weights(1.1 * reference, reference, kT=1.2 * KT, kT_reference=KT)
    far = reweighting.weights(
        1.1 * reference + 64.0, reference + 64.0, kT=1.2 * KT, kT_reference=KT
    )
    np.testing.assert_allclose(far, near, rtol=2e-3)


def test_effective_number_falls():
    x = jnp.asarray(samples()[:1000], "float32")
    numbers = [
        float(reweighting.effective_number(mean_square(k * STIFFNESS, KT, x)[1]))
        for k in (1.0, 1.5, 4.0, 100.0)
    ]
    assert numbers[0] == pytest.approx(1000.0, rel=1e-4)
    assert numbers == sorted(numbers, reverse=True)
    reweighting.require_effective(mean_square(1.1 * STIFFNESS, KT, x)[1], fraction=0.9)
    with pytest.raises(DataError, match="at least 500 of 1000 samples must count"):
        reweighting.require_effective(mean_square(100.0 * STIFFNESS, KT, x)[1])


def test_refusals():
    with pytest.raises(ConfigError, match="between 0 and 1"):
        reweighting.require_effective(jnp.ones(3) / 3, fraction=2.0)
    with jax.debug_nans(False), pytest.raises(DataError, match="found nan"):
        reweighting.require_effective(jnp.full(3, jnp.nan))


def test_energies_of_samples_and_their_gradient(x64):
    x = jnp.asarray(samples()[:37])

    def total(k):
        return reweighting.energies_of(lambda x: 0.5 * k * x**2, x, batch_size=8).sum()

    assert float(total(STIFFNESS)) == pytest.approx(float(0.5 * STIFFNESS * (x**2).sum()))
    assert float(jax.grad(total)(STIFFNESS)) == pytest.approx(float(0.5 * (x**2).sum()))
