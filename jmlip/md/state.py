"""The state of a run of molecular dynamics, and what can be read off it.

`dynamics` is a state of jax-md (position, momentum, force, mass and the thermostat's own
variables), so that jax-md's operators advance it; around it stands what one evaluation of the
potential gave. Positions are never wrapped into the cell.

An atom of infinite mass is held: whatever the force on it, it has no momentum and stays where it
is, to the bit. Beside it nothing sets the center of mass at rest, and only free atoms count as
degrees of freedom.
"""

import functools
import operator
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, UInt8

from jmlip.core import units
from jmlip.core.types import AtomVectors
from jmlip.graphs.device_neighbors import Cell

OVERFLOW = 1
"""Status bit: the neighbor list does not hold all pairs any more; allocate a larger one."""
NOT_FINITE = 2
"""Status bit: a position, momentum or force is NaN or infinite."""
EXPLODED = 4
"""Status bit: too hot, or an atom moved too far in one step, for the integrator to be right."""
OUT_OF_RANGE = 8
"""Status bit: on its grid of whole numbers a trajectory left the range, or a number is NaN."""
COLLAPSED = 16
"""Status bit: the cell has shrunk so far that the potential no longer keeps the atoms apart."""

MAX_TEMPERATURE_K = 1.0e5
MAX_DISPLACEMENT = 0.5
"""Largest distance an atom may go in one step, angstrom."""
LEAST_VOLUME = 0.5
"""Angstrom^3 for each atom, to which a cell may shrink: hydrogen needs more below some TPa."""

Mass = Float[Array, "atoms 1"]
"""Of each atom, u; infinite where it is held."""
Count = Int[Array, ""]
"""How many atoms of an array are there: the first ones. Those after are padding, at rest."""


class Evaluation(NamedTuple):
    """A potential at one set of positions, and the neighbor list that served."""

    energy: Float[Array, ""]  # eV, relative to the isolated-atom references
    forces: AtomVectors  # eV / angstrom
    virial: Float[Array, "3 3"]  # sum over pairs of vector (x) dE/dvector, eV
    neighbors: Any


ForceFn = Callable[[AtomVectors, Cell, Any], Evaluation]
"""From positions, cell and a neighbor list, renewed first where that is due, to an evaluation.

A neighbor list is any pytree with a `status`, 0 as long as it holds all pairs.
"""


class MDState(NamedTuple):
    """Everything the next step depends on."""

    dynamics: Any  # a state of jax-md's kind; its force is that of all levels together
    cell: Cell  # rows are lattice vectors, angstrom
    levels: tuple[Evaluation, ...]  # slowest first; one, unless there are several time steps
    heat: Float[Array, ""]  # energy that a stochastic thermostat has put in so far, eV
    step: Int[Array, ""]
    status: UInt8[Array, ""]

    @property
    def energy(self) -> Float[Array, ""]:
        """Potential energy, eV."""
        return functools.reduce(operator.add, (level.energy for level in self.levels))

    @property
    def virial(self) -> Float[Array, "3 3"]:
        """Sum over pairs of vector (x) dE/dvector, eV."""
        return functools.reduce(operator.add, (level.virial for level in self.levels))

    @property
    def neighbors(self) -> tuple[Any, ...]:
        """The neighbor list of every level."""
        return tuple(level.neighbors for level in self.levels)


def make_state(dynamics: Any, cell: Cell, levels: tuple[Evaluation, ...]) -> MDState:
    """A first state, in which every leaf has its final type, as loops demand."""
    dtype = dynamics.position.dtype
    state = MDState(
        dynamics.set(force=sum(level.forces for level in levels)),
        jnp.asarray(cell, dtype),
        levels,
        heat=jnp.zeros((), dtype),
        step=jnp.zeros((), jnp.int32),
        status=jnp.zeros((), jnp.uint8),
    )
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, leaf.dtype), state)


def with_neighbors(state: MDState, neighbors: Sequence[Any]) -> MDState:
    """The state with other neighbor lists, one for every level."""
    pairs = zip(state.levels, neighbors, strict=True)
    return state._replace(levels=tuple(level._replace(neighbors=new) for level, new in pairs))


def are_free(mass: Mass, n_atoms: Count | None = None) -> Bool[Array, "atoms 1"]:
    """Which atoms can move: those of finite mass, of the first `n_atoms` or of all."""
    free = jnp.isfinite(mass)
    return free if n_atoms is None else free & (jnp.arange(len(mass)) < n_atoms)[:, None]


def n_free(mass: Mass, n_atoms: Count | None = None) -> Int[Array, ""]:
    """Degrees of freedom of the first `n_atoms` atoms, of all if None.

    3 for each free atom, less 3 of the center of mass where there is more than one and none is
    held.
    """
    n = jnp.sum(are_free(mass, n_atoms))
    centered = jnp.isfinite(mass).all() & (n > 1)
    return 3 * n - jnp.where(centered, 3, 0)


def kinetic_energy(dynamics: Any) -> Float[Array, ""]:
    """Kinetic energy of the dynamics of a state, eV."""
    # not jax-md's: it asks for float64 sums, of which jax warns where they are switched off
    return 0.5 * (dynamics.momentum**2 / dynamics.mass).sum()


def temperature_K(kinetic: Any, n_free: int) -> Any:
    """Temperature of a kinetic energy in eV: 2 K / (degrees of freedom * k)."""
    return 2.0 * kinetic / (n_free * units.KELVIN)


def pressure(kinetic: Any, virial: Any, volume: Any) -> Any:
    """Pressure (2 K - trace of the virial) / (3 V), eV / angstrom^3."""
    return (2.0 * kinetic - virial.trace(axis1=-2, axis2=-1)) / (3.0 * volume)
