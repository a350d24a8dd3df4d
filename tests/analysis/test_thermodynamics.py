"""Energies drawn from distributions whose moments are known."""

import numpy as np
import pytest
from ase.build import molecule

from jmlip.analysis.thermodynamics import degrees_of_freedom, drift, heat_capacity, kinetic_energy
from jmlip.core import units


def test_harmonic_solid_has_three_k_per_atom():
    """3 N coordinates and momenta: E / kT follows a gamma distribution of shape 3 N."""
    n, kT = 32, 300.0 * units.KELVIN
    deviations = []
    for seed in range(20):
        energy = -1e5 + kT * np.random.default_rng(seed).gamma(3 * n, size=4000)
        found = heat_capacity(energy, 300.0, n)
        assert found.error < 0.12
        deviations.append((found.value - 3.0) / found.error)
    assert np.mean(np.square(deviations)) == pytest.approx(1.1, abs=0.7)


def test_drift_is_the_slope_within_its_error():
    rng, time = np.random.default_rng(0), np.linspace(0.0, 50.0, 2000)
    deviations = []
    for _ in range(40):
        slope, error = drift(time, -4e4 + 2e-4 * time + 1e-3 * rng.normal(size=2000))
        deviations.append((slope - 2e-4) / error)
    assert np.mean(np.square(deviations)) == pytest.approx(1.0, abs=0.6)
    assert np.isnan(drift(time[:2], time[:2])).all()


def test_kinetic_energy_is_that_of_ase():
    atoms = molecule("CH3OH")
    atoms.set_velocities(np.random.default_rng(1).normal(size=(6, 3)))
    found = kinetic_energy(atoms.get_velocities()[None], atoms.get_masses())
    assert found == pytest.approx(atoms.get_kinetic_energy())
    assert (degrees_of_freedom(6), degrees_of_freedom(1)) == (15, 3)
