"""Clebsch-Gordan coefficients of real spherical harmonics, from e3nn-jax."""

import functools

import numpy as np


@functools.cache
def clebsch_gordan(l1: int, l2: int, l3: int) -> np.ndarray:
    """Coefficients [m1, m2, m3] of l1 x l2 -> l3, sum of squares 2 l3 + 1, float64.

    With them, inputs of unit variance in every component give outputs of unit variance.
    """
    # slow to import, and only equivariant models need it
    import e3nn_jax

    wigner = np.array(e3nn_jax.clebsch_gordan(l1, l2, l3), np.float64)  # norm one
    found = wigner * np.sqrt(2 * l3 + 1)
    found[np.abs(found) < 1e-12] = 0.0
    found.flags.writeable = False
    return found
