"""Errors of a data set in the units people read, meV and meV/angstrom, summed in float64."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float, Int

METRICS = (
    "energy_mae_meV",
    "energy_rmse_meV",
    "energy_per_atom_mae_meV",
    "energy_per_atom_rmse_meV",
    "forces_mae_meV_A",
    "forces_rmse_meV_A",
    "stress_mae_meV_A3",
    "stress_rmse_meV_A3",
)
"""Names of all errors, total and per atom for energies, per component for forces and stress."""


def error_metrics(
    *,
    energy: Float[np.ndarray, " structures"],
    energy_per_atom: Float[np.ndarray, " structures"],
    forces: Float[np.ndarray, "atoms 3"],
    stress: Float[np.ndarray, "cells 3 3"],
) -> dict[str, float]:
    """Mean absolute and root mean square errors by name; those without a label are left out.

    Args:
        energy: prediction minus label, eV.
        energy_per_atom: the same divided by the number of atoms, eV.
        forces: prediction minus label, eV / angstrom.
        stress: prediction minus label, eV / angstrom^3.

    Example:
        >>> none = np.zeros(0)
        >>> forces, stress = np.array([[0.01, -0.01, 0.04]]), np.zeros((0, 3, 3))
        >>> errors = error_metrics(energy=none, energy_per_atom=none, forces=forces, stress=stress)
        >>> {name: round(value, 2) for name, value in errors.items()}
        {'forces_mae_meV_A': 20.0, 'forces_rmse_meV_A': 24.49}
    """
    errors = {
        ("energy", "meV"): energy,
        ("energy_per_atom", "meV"): energy_per_atom,
        ("forces", "meV_A"): forces,
        ("stress", "meV_A3"): stress,
    }
    metrics = {}
    for (name, unit), error in errors.items():
        if error.size:
            metrics[f"{name}_mae_{unit}"] = 1.0e3 * mean_absolute(error)
            metrics[f"{name}_rmse_{unit}"] = 1.0e3 * root_mean_square(error)
    return metrics


def mean_absolute(error: Float[np.ndarray, "..."]) -> float:
    return float(np.mean(np.abs(error), dtype=np.float64))


def root_mean_square(error: Float[np.ndarray, "..."]) -> float:
    return float(np.sqrt(np.mean(np.square(error, dtype=np.float64))))


def rmse_by_group(
    error: Float[np.ndarray, "n ..."], group: Int[np.ndarray, " n"]
) -> Mapping[int, float]:
    """Root mean square of the errors of each group, such as a chemical element.

    >>> rmse_by_group(np.array([3.0, -3.0, 1.0]), np.array([8, 8, 1]))
    {1: 1.0, 8: 3.0}
    """
    return {int(g): root_mean_square(error[group == g]) for g in np.unique(group)}
