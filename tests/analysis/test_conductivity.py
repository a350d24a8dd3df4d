"""Thermal conductivity of fluxes whose autocorrelation is known."""

import numpy as np
import pytest
import scipy.constants

from jmlip.analysis.conductivity import flux_autocorrelation, thermal_conductivity
from jmlip.core import units


def test_an_exponential_decay_has_the_conductivity_of_its_integral():
    """<J(0) . J(t)> = 3 s^2 exp(-t / tau), in SI units throughout on the other side."""
    tau, timestep, s, n = 0.5, 0.02, 0.7, 200_000  # ps, ps, eV angstrom / (internal time unit)
    decay = np.exp(-timestep / tau)
    noise = np.random.default_rng(0).normal(size=(n, 3)) * s * np.sqrt(1.0 - decay**2)
    flux = np.empty((n, 3))
    flux[0] = noise[0]
    for k in range(1, n):
        flux[k] = decay * flux[k - 1] + noise[k]
    found = flux_autocorrelation(flux, 200)
    kappa = thermal_conductivity(found, timestep_ps=timestep, volume=1000.0, temperature_K=300.0)
    second = 1e-15 / units.FS  # of an internal time unit
    of_si = s * scipy.constants.e * 1e-10 / second  # J m / s
    expected = of_si**2 * tau * 1e-12 / (1e-27 * scipy.constants.k * 300.0**2)
    assert kappa.value[0, 0] == 0.0
    assert kappa.error[0, -1] < 0.05 * expected
    assert abs(kappa.value[0, -1] - expected) < 4.0 * kappa.error[0, -1]
    assert kappa.value[0, -1] == pytest.approx(expected, rel=0.1)
