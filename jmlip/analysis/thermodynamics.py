"""What fluctuates in equilibrium, and what should not: temperature, heat capacity, drift."""

import numpy as np
from jaxtyping import Float

from jmlip.analysis.estimates import Estimate, jackknife, statistical_inefficiency
from jmlip.core import units

_BLOCKS = 20


def kinetic_energy(
    velocities: Float[np.ndarray, "frames atoms 3"], mass: Float[np.ndarray, " atoms"]
) -> Float[np.ndarray, " frames"]:
    """Kinetic energy of each frame, eV."""
    return 0.5 * np.einsum("tax,tax,a->t", velocities, velocities, mass)


def degrees_of_freedom(n_atoms: int, n_fixed: int = 0) -> int:
    """3 N - 3, as the center of mass is at rest; 3 of a lone atom, of each beside fixed ones."""
    if n_fixed:
        return 3 * (n_atoms - n_fixed)
    return 3 * n_atoms - 3 if n_atoms > 1 else 3


def drift(time_ps: Float[np.ndarray, " frames"], energy: Float[np.ndarray, " frames"]) -> Estimate:
    """Slope of a conserved energy by least squares, eV / ps, with its error.

    The error is that of independent residuals times the root of their statistical inefficiency.
    NaN of fewer than three frames.
    """
    if len(time_ps) < 3:
        return Estimate(float("nan"), float("nan"))
    t, e = time_ps - time_ps.mean(), energy - energy.mean()
    spread = float(t @ t)
    slope = float(t @ e) / spread
    residual = e - slope * t
    variance = float(residual @ residual) / (len(t) - 2)
    return Estimate(slope, np.sqrt(variance / spread * statistical_inefficiency(residual)))


def heat_capacity(
    total_energy: Float[np.ndarray, " frames"], temperature_K: float, n_atoms: int
) -> Estimate:
    """Heat capacity at constant volume per atom, in units of k, from a canonical trajectory.

    C_v = (<E^2> - <E>^2) / (k T^2),  E = potential + kinetic

    3 of a harmonic classical solid. The error is that of twenty blocks, or as many as there are
    frames; the mean energy is that of all.

    References:
        Allen, Tildesley, Computer Simulation of Liquids, 2nd edition, equation 2.80.
    """
    scaled = (total_energy - total_energy.mean()) / (units.KELVIN * temperature_K)
    parts = np.array_split(scaled, min(_BLOCKS, len(scaled)))
    moments = np.array([[part.mean(), np.mean(part**2)] for part in parts])
    return jackknife(moments, lambda mean: float(mean[1] - mean[0] ** 2) / n_atoms)
