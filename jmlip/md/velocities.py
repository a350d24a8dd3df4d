"""Velocities at the start: drawn at a temperature or brought by the structure, at rest as a whole.

Velocities drawn are not rescaled: the temperature of a single draw fluctuates, as it does in the
ensemble, with relative standard deviation sqrt(2 / degrees of freedom). Only the motion of the
center of mass is taken out; the angular momentum of a molecule in open space stays.
"""

import jax
import jax.numpy as jnp
import numpy as np
from ase.data import atomic_masses
from jaxtyping import Array, Float

from jmlip.core.errors import ConfigError
from jmlip.core.structure import Structure
from jmlip.core.types import AtomVectors, Key
from jmlip.data.ase_bridge import fixed_atoms
from jmlip.md.config import MDConfig
from jmlip.md.state import Count, Mass, are_free


def masses(structure: Structure) -> Float[np.ndarray, "n 1"]:
    """Masses of the atoms, u: those in `info["arrays"]`, else those of the elements."""
    arrays = structure.info.get("arrays", {})
    return np.asarray(arrays.get("masses", atomic_masses[structure.species]), np.float64)[:, None]


def inertia(structure: Structure) -> Float[np.ndarray, "n 1"]:
    """Masses that atoms move by, u: infinite where the structure fixes them."""
    return np.where(fixed_atoms(structure)[:, None], np.inf, masses(structure))


def initial_momenta(structure: Structure, config: MDConfig, *, key: Key) -> AtomVectors:
    """Momenta of the first step.

    A thermostat starts from the velocities of the structure where it has them; NVE does so where no
    temperature is given. Otherwise they are drawn from the Maxwell-Boltzmann distribution.

    Raises:
        ConfigError: NVE was given neither a temperature nor velocities.
    """
    mass = jnp.asarray(inertia(structure), config.dtype)
    keep = structure.velocities is not None and (
        config.ensemble != "nve" or config.temperature_K is None
    )
    if keep:
        velocity = jnp.asarray(structure.velocities, config.dtype)
        momentum = jnp.asarray(masses(structure), config.dtype) * velocity
        return remove_center_of_mass_motion(momentum, mass)
    if config.temperature_K is None:
        raise ConfigError(
            "NVE needs velocities, and the start structure has none; set temperature_K to draw "
            "them."
        )
    return maxwell_boltzmann(mass, kT=config.kT, key=key)


def maxwell_boltzmann(mass: Mass, *, kT: float | Float[Array, ""], key: Key) -> AtomVectors:
    """Momenta drawn from the canonical distribution with the center of mass at rest.

    p_i = sqrt(m_i kT) xi_i, projected onto zero total momentum, which leaves exactly 3 N - 3
    degrees of freedom with kT / 2 each. Atoms of infinite mass rest; beside them nothing is
    projected.

    Args:
        mass: u.
        kT: eV.
        key: consumed.
    """
    noise = jax.random.normal(key, (mass.shape[0], 3), mass.dtype)
    finite = jnp.where(are_free(mass), mass, 1.0)
    return remove_center_of_mass_motion(jnp.sqrt(finite * kT) * noise, mass)


def remove_center_of_mass_motion(
    momentum: AtomVectors, mass: Mass, n_atoms: Count | None = None
) -> AtomVectors:
    """p_i - m_i P / M: in mass-weighted coordinates an orthogonal projection.

    A single atom keeps its momentum, and so do all where one has an infinite mass, which itself is
    left without: the limit of the formula. (To subtract the mean momentum from each atom instead,
    as some programs do, is no projection where masses differ, and leaves the wrong kinetic energy.)

    Args:
        momentum: internal units.
        mass: u.
        n_atoms: how many atoms, the first, are there; the others are left without momentum.
    """
    free = are_free(mass, n_atoms)
    keep = ~jnp.isfinite(mass).all() | (free.sum() == 1)
    momentum, finite = jnp.where(free, momentum, 0.0), jnp.where(free, mass, 0.0)
    velocity = momentum.sum(axis=0, keepdims=True) / finite.sum()
    return jnp.where(keep, momentum, momentum - finite * velocity)
