"""Oscillators of known frequency, free flight with collisions, and the sums that must hold."""

import numpy as np
import pytest
import scipy.constants

from jmlip.analysis.vibrations import density_of_states, normalized, velocity_autocorrelation
from jmlip.core import units

FS = 1e-3  # ps


def oscillators(wavenumber, n_frames, n_atoms, timestep_ps, seed):
    """Velocities of harmonic oscillators with random amplitudes and phases."""
    rng = np.random.default_rng(seed)
    omega = 2.0 * np.pi * wavenumber * scipy.constants.c * 1e-10  # 1 / ps
    phase = rng.uniform(0, 2 * np.pi, (n_atoms, 3))
    time = timestep_ps * np.arange(n_frames)[:, None, None]
    return rng.normal(size=(n_atoms, 3)) * np.cos(omega * time + phase)


def test_oscillators_ring_where_they_should():
    slow = oscillators(500.0, 4000, 6, 2 * FS, 0)
    fast = oscillators(3000.0, 4000, 2, 2 * FS, 1)
    mass, group = np.array([16.0] * 6 + [1.0] * 2), np.array([0] * 6 + [1] * 2)
    found = velocity_autocorrelation([slow, fast], mass, group, 501)
    wavenumber, density = density_of_states(found, 2 * FS)
    resolution = 1.0 / (scipy.constants.c * 1e-10 * 500 * 2 * FS)  # 33 / cm
    for values, expected in zip(density.value, (500.0, 3000.0), strict=True):
        assert wavenumber[values.argmax()] == pytest.approx(expected, abs=0.25 * resolution)
        far = np.abs(wavenumber - expected) > 2.5 * resolution
        assert np.abs(values[far]).max() < 0.01 * values.max()
    assert wavenumber[-1] == pytest.approx(1.0 / (2 * 2 * FS * scipy.constants.c * 1e-10), rel=1e-3)


def test_the_density_of_states_sums_to_one_shared_as_the_kinetic_energy():
    velocities = np.random.default_rng(0).normal(size=(1000, 4, 3))
    mass, group = np.array([1.0, 1.0, 3.0, 3.0]), np.array([0, 0, 1, 1])
    wavenumber, density = density_of_states(
        velocity_autocorrelation([velocities], mass, group, 51), 1 * FS
    )
    share = np.trapezoid(density.value, wavenumber, axis=1)
    kinetic = [mass[group == g] @ (velocities[:, group == g] ** 2).mean(0).sum(1) for g in (0, 1)]
    assert share.sum() == pytest.approx(1.0, rel=1e-6)
    np.testing.assert_allclose(share, np.array(kinetic) / np.sum(kinetic), rtol=1e-6)


def test_an_ornstein_uhlenbeck_process_decays_exponentially():
    """C(t) = 3 kT exp(-t / tau) per atom, within its errors, and in units: kT is an energy."""
    n, tau, kT, mass = 20_000, 20.0, 300 * units.KELVIN, 12.0
    rng, decay = np.random.default_rng(3), np.exp(-1.0 / tau)
    velocity = np.empty((n, 8, 3))
    velocity[0] = rng.normal(size=(8, 3))
    noise = rng.normal(size=velocity.shape) * np.sqrt(1.0 - decay**2)
    for k in range(1, n):
        velocity[k] = decay * velocity[k - 1] + noise[k]
    velocity *= np.sqrt(kT / mass)
    found = velocity_autocorrelation([velocity], np.full(8, mass), np.zeros(8, int), 61)
    assert found.value[0, 0] == pytest.approx(8 * 3 * kT, rel=0.05)
    shape = normalized(found)
    expected = np.exp(-np.arange(61) / tau)
    deviation = (shape.value[0] - expected)[1:] / shape.error[0, 1:]
    assert shape.value[0, 0] == 1.0
    assert np.abs(deviation).max() < 4.0
    assert shape.error.max() < 0.03
