"""The state of a run of molecular dynamics, and what can be read off it.

`dynamics` is a state of jax-md (position, momentum, force, mass and the thermostat's own
variables), so that jax-md's operators advance it; around it stands what one evaluation of the
potential gave. Positions are never wrapped into the cell.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, UInt8

from jmlip.core import units
from jmlip.core.types import AtomVectors

OVERFLOW = 1
"""Status bit: the neighbor list does not hold all pairs any more; allocate a larger one."""
NOT_FINITE = 2
"""Status bit: a position, momentum or force is NaN or infinite."""
EXPLODED = 4
"""Status bit: too hot, or an atom moved too far in one step, for the integrator to be right."""

MAX_TEMPERATURE_K = 1.0e5
MAX_DISPLACEMENT = 0.5
"""Largest distance an atom may go in one step, angstrom."""


class Evaluation(NamedTuple):
    """The potential at one set of positions, and the neighbor list that served."""

    energy: Float[Array, ""]  # eV, relative to the isolated-atom references
    forces: AtomVectors  # eV / angstrom
    virial: Float[Array, "3 3"]  # sum over pairs of vector (x) dE/dvector, eV
    neighbors: Any


ForceFn = Callable[[AtomVectors, Any], Evaluation]
"""From positions and a neighbor list, which is renewed first where that is due, to an evaluation.

A neighbor list is any pytree with a `status`, 0 as long as it holds all pairs.
"""


class MDState(NamedTuple):
    """Everything the next step depends on."""

    dynamics: Any  # simulate.NVEState, NVTLangevinState or NVTNoseHooverState
    energy: Float[Array, ""]  # potential energy, eV
    virial: Float[Array, "3 3"]  # eV
    heat: Float[Array, ""]  # energy that a stochastic thermostat has put in so far, eV
    neighbors: Any
    step: Int[Array, ""]
    status: UInt8[Array, ""]


def make_state(
    dynamics: Any, evaluation: Evaluation, *, heat: float = 0.0, step: int = 0
) -> MDState:
    """A state in which every leaf has its final type, as loops demand."""
    dtype = dynamics.position.dtype
    state = MDState(
        dynamics,
        evaluation.energy,
        evaluation.virial,
        jnp.asarray(heat, dtype),
        evaluation.neighbors,
        jnp.asarray(step, jnp.int32),
        jnp.asarray(0, jnp.uint8),
    )
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, leaf.dtype), state)


def n_degrees_of_freedom(n_atoms: int) -> int:
    """3 N - 3, as the center of mass rests; 3 for a single atom, which is left its motion."""
    return 3 * n_atoms - 3 if n_atoms > 1 else 3


def kinetic_energy(dynamics: Any) -> Float[Array, ""]:
    """Kinetic energy of the dynamics of a state, eV."""
    # not jax-md's: it asks for float64 sums, of which jax warns where they are switched off
    return 0.5 * (dynamics.momentum**2 / dynamics.mass).sum()


def temperature_K(kinetic: Any, n_atoms: int) -> Any:
    """Temperature of a kinetic energy in eV: 2 K / (degrees of freedom * k)."""
    return 2.0 * kinetic / (n_degrees_of_freedom(n_atoms) * units.KELVIN)


def pressure(kinetic: Any, virial: Any, volume: float) -> Any:
    """Pressure (2 K - trace of the virial) / (3 V), eV / angstrom^3."""
    return (2.0 * kinetic - virial.trace(axis1=-2, axis2=-1)) / (3.0 * volume)
