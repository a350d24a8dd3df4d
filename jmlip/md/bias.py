"""Further terms of the energy by composition: walls, soft constraints, umbrellas, fields.

A bias is any differentiable function of positions and cell. Added to a force function it takes part
in energy, forces and virial, so that conserved energies, thermostats and derivatives include it.

Example:
    Oxygen held between two planes, the force function of a potential in `force_fn`::

        biased = add_bias(force_fn, harmonic_walls(axis=2, low=2.0, high=18.0, stiffness=5.0))
        integrator = make_langevin(biased, dt=dt, kT=kT, friction=friction)
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jmlip.core.types import AtomVectors
from jmlip.graphs.device_neighbors import Cell
from jmlip.md.state import Evaluation, ForceFn

BiasFn = Callable[[AtomVectors, Cell], Float[Array, ""]]
"""From positions and cell, angstrom, to an energy, eV."""


def add_bias(force_fn: ForceFn, bias: BiasFn) -> ForceFn:
    """The force function with another term.

    With F = -dE/dR, the virial grows by dE/d(strain) = R^T dE/dR + h^T dE/dh, symmetric for an
    energy that does not change under rotations.

    Args:
        force_fn: of a potential, or biased already.
        bias: positions are as dynamics keeps them, not wrapped into the cell.
    """
    energy_and_gradient = jax.value_and_grad(bias, argnums=(0, 1))

    def biased(positions, cell, neighbors):
        there = force_fn(positions, cell, neighbors)
        energy, (by_position, by_cell) = energy_and_gradient(positions, cell)
        virial = positions.T @ by_position + cell.T @ by_cell
        return Evaluation(
            there.energy + energy,
            there.forces - by_position,
            there.virial + 0.5 * (virial + virial.T),
            there.neighbors,
        )

    return biased


def harmonic_walls(
    *, axis: int, low: float, high: float, stiffness: float, atoms: Array | None = None
) -> BiasFn:
    """Two planes that push atoms back: E = k/2 sum_i (distance of atom i beyond a plane)^2.

    Args:
        axis: normal of the planes: 0, 1 or 2.
        low: position of the lower plane, angstrom.
        high: position of the upper plane.
        stiffness: k, eV / angstrom^2.
        atoms: indices of the atoms that feel them; all if None.
    """

    def walls(positions, cell):
        del cell
        x = positions[:, axis] if atoms is None else positions[atoms, axis]
        beyond = jnp.maximum(low - x, 0.0) + jnp.maximum(x - high, 0.0)
        return 0.5 * stiffness * jnp.sum(beyond**2)

    return walls


def harmonic_bonds(
    pairs: Int[Array, "bonds 2"], lengths: Float[Array, " bonds"], *, stiffness: float
) -> BiasFn:
    """Distances held softly: E = k/2 sum_ij (|r_j - r_i| - d_ij)^2.

    A period of 2 pi sqrt(m / k), with m the reduced mass of a pair, must stay long beside the time
    step: for O-H and 100 eV / angstrom^2 it is 6.2 fs.

    Args:
        pairs: indices of the two atoms of each bond, of the same image.
        lengths: d_ij, angstrom.
        stiffness: k, eV / angstrom^2.
    """

    def bonds(positions, cell):
        del cell
        first, second = pairs.T
        distance = jnp.linalg.norm(positions[second] - positions[first], axis=-1)
        return 0.5 * stiffness * jnp.sum((distance - lengths) ** 2)

    return bonds
