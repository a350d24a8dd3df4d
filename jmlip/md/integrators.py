"""Integrators as `(init, step)` pairs over one state, composed of jax-md's operators.

Each step is a product of the operators of Tuckerman's splitting: B `momentum_step`, A
`position_step`, O `stochastic_step`, and the chain of `nose_hoover_chain`:

    nve                B/2 A B/2
    langevin           B/2 A/2 O A/2 B/2
    langevin, outside  O/2 (B/2 A B/2) O/2
    nose-hoover        chain/2 (B/2 A B/2) chain/2
    csvr               (B/2 A B/2) rescaling

With forces in several levels, B/2 A B/2 is the step of r-RESPA (`propagator.py`): what stands
inside goes with the innermost drift, the rest acts once in an outer step.

Why the operators and not jax-md's finished integrators: those round the time step to float32, hide
the potential energy of the step, renew the neighbor list one step late, and count 3 N degrees of
freedom although the center of mass rests; their CSVR also draws its two noises from one key.

`step` is a pure function: jit it, differentiate it, loop over it. `bath_energy` completes potential
and kinetic energy to the quantity that the exact dynamics conserves.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jmlip.analysis.thermodynamics import degrees_of_freedom
from jmlip.core.types import AtomVectors, Key
from jmlip.graphs.device_neighbors import Cell
from jmlip.md.chains import make_chain
from jmlip.md.compression import Compression, compress
from jmlip.md.propagator import (
    Forces,
    Scalar,
    evaluate_all,
    levels_of,
    position_step,
    propagate,
    simulate,
)
from jmlip.md.schedule import Control, at
from jmlip.md.state import Count, Mass, MDState, are_free, kinetic_energy, make_state, n_free
from jmlip.md.velocities import remove_center_of_mass_motion


class Integrator(NamedTuple):
    """An ensemble: how to start, how to go on, and the energy held by the bath.

    `init(positions, momenta, mass, cell, neighbors, key)`: angstrom, internal units, u, angstrom,
    for each level of forces a list for these positions, the thermostat's random numbers. Atoms of
    infinite mass are held, except at constant pressure, where the cell takes them along; their
    momenta must be 0.
    """

    init: Callable[[AtomVectors, AtomVectors, Mass, Cell, Sequence[Any], Key], MDState]
    step: Callable[[MDState], MDState]
    bath_energy: Callable[[MDState], Array]


def make_nve(forces: Forces, *, dt: Scalar) -> Integrator:
    """Velocity Verlet, or r-RESPA, at constant energy."""
    levels = levels_of(forces)

    def init(positions, momenta, mass, cell, neighbors, key):
        del key
        dynamics = simulate.NVEState(positions, momenta, positions, mass)
        return make_state(dynamics, cell, evaluate_all(levels, positions, cell, neighbors))

    def step(state):
        return counted(propagate(state, levels, dt))

    return Integrator(init, step, lambda state: jnp.zeros_like(state.heat))


def make_langevin(
    forces: Forces,
    *,
    dt: Scalar,
    kT: Control,
    friction: Scalar,
    outside: bool = False,
    n_atoms: Count | None = None,
    compression: Compression | None = None,
) -> Integrator:
    """Langevin dynamics by the BAOAB splitting, the center of mass held at rest.

    The noise is projected onto zero total momentum; friction and noise then leave the canonical
    distribution of the 3 N - 3 remaining degrees of freedom invariant. (Beside atoms that are held
    nothing is projected.)

    Args:
        forces: one force function, or levels.
        dt: time step, of the first level.
        kT: eV; a number, or a function of the number of steps made.
        friction: 1 / (internal time unit).
        outside: friction and noise half before, half after the step (OBABO), instead of with every
            innermost drift, where they damp resonances.
        n_atoms: how many atoms, the first, are there; all if None.
        compression: how the density changes; it does not if None.

    References:
        Leimkuhler, Matthews, Appl. Math. Res. Express 2013, 34.
    """
    levels = levels_of(forces)

    def init(positions, momenta, mass, cell, neighbors, key):
        dynamics = simulate.NVTLangevinState(positions, momenta, positions, mass, key)
        return make_state(dynamics, cell, evaluate_all(levels, positions, cell, neighbors))

    def thermostat(state, dt):
        now = at(kT, state.step)
        return _heated(_apply(_centered_stochastic_step, state, dt, now, friction, n_atoms), state)

    def drift(state, dt):
        return position_step(thermostat(position_step(state, 0.5 * dt), dt), 0.5 * dt)

    def step(state):
        if compression is not None:
            state = compress(state, compression)
        if not outside:
            return counted(propagate(state, levels, dt, drift))
        state = propagate(thermostat(state, 0.5 * dt), levels, dt)
        return counted(thermostat(state, 0.5 * dt))

    return Integrator(init, step, lambda state: -state.heat)


def make_nose_hoover(
    forces: Forces,
    *,
    dt: Scalar,
    kT: Scalar,
    tau: Scalar,
    chain_length: int = 3,
    n_held: int = 0,
) -> Integrator:
    """A Nose-Hoover chain on the 3 N - 3 degrees of freedom.

    Args:
        forces: one force function, or levels.
        dt: time step, of the first level.
        kT: eV.
        tau: period of the thermostats.
        chain_length: their number.
        n_held: how many atoms have infinite mass, which the chain must know before it sees masses.
    """
    levels = levels_of(forces)
    chain = make_chain(dt=dt, kT=kT, tau=tau, length=chain_length)

    def init(positions, momenta, mass, cell, neighbors, key):
        del key
        dynamics = simulate.NVTNoseHooverState(positions, momenta, positions, mass, None)
        bath = chain.init(degrees_of_freedom(len(positions), n_held), kinetic_energy(dynamics))
        dynamics = dynamics.set(chain=bath)
        return make_state(dynamics, cell, evaluate_all(levels, positions, cell, neighbors))

    def half_step(dynamics):
        kinetic = kinetic_energy(dynamics)
        momentum, bath = chain.half_step(dynamics.momentum, kinetic, dynamics.chain)
        return dynamics.set(momentum=momentum, chain=bath)

    def step(state):
        state = propagate(_apply(half_step, state), levels, dt)
        return counted(_apply(half_step, state))

    return Integrator(init, step, lambda state: chain.energy(state.dynamics.chain))


def make_csvr(
    forces: Forces, *, dt: Scalar, kT: Control, tau: Scalar, n_atoms: Count | None = None
) -> Integrator:
    """Canonical sampling through stochastic rescaling of all velocities by one factor.

    The kinetic energy follows that of the first `n_atoms`, or of all. `kT` is a number, or a
    function of the number of steps made.

    References:
        Bussi, Donadio, Parrinello, J. Chem. Phys. 126, 014101 (2007), equations A7 and A8.
    """
    levels = levels_of(forces)

    def init(positions, momenta, mass, cell, neighbors, key):
        dynamics = simulate.NVTLangevinState(positions, momenta, positions, mass, key)
        return make_state(dynamics, cell, evaluate_all(levels, positions, cell, neighbors))

    def rescale(dynamics, kT):
        free = n_free(dynamics.mass, n_atoms)
        key, draw = jax.random.split(dynamics.rng)
        kinetic = kinetic_energy(dynamics)
        factor = _rescaling(kinetic, free, kT, decay=jnp.exp(-dt / tau), key=draw)
        return dynamics.set(momentum=factor * dynamics.momentum, rng=key)

    def step(state):
        state = propagate(state, levels, dt)
        return counted(_heated(_apply(rescale, state, at(kT, state.step)), state))

    return Integrator(init, step, lambda state: -state.heat)


def _rescaling(kinetic: Array, n_free: Any, kT: Scalar, *, decay: Array, key: Key) -> Array:
    normal_key, gamma_key = jax.random.split(key)
    normal = jax.random.normal(normal_key, dtype=kinetic.dtype)
    others = 2.0 * jax.random.gamma(gamma_key, 0.5 * (n_free - 1), dtype=kinetic.dtype)
    # atoms at rest cannot be rescaled, and any finite factor leaves them so
    ratio = (1.0 - decay) * 0.5 * kT / jnp.maximum(kinetic, 1.0e-6 * kT)
    amplitude = jnp.sqrt(decay) + jnp.sqrt(ratio) * normal
    # A7 is a sum of squares; written so, it cannot round to a negative number
    factor = jnp.sqrt(amplitude**2 + ratio * others)
    return jnp.where(amplitude < 0.0, -factor, factor)


def _apply(operator: Callable, state: MDState, *arguments: Any) -> MDState:
    return state._replace(dynamics=operator(state.dynamics, *arguments))


def _centered_stochastic_step(
    dynamics: Any, dt: Scalar, kT: Scalar, friction: Scalar, n_atoms: Count | None
) -> Any:
    mass = dynamics.mass
    finite = dynamics.set(mass=jnp.where(are_free(mass), mass, 1.0))
    dynamics = simulate.stochastic_step(finite, dt, kT, friction)
    momentum = remove_center_of_mass_motion(dynamics.momentum, mass, n_atoms)
    return dynamics.set(momentum=momentum, mass=mass)


def _heated(after: MDState, before: MDState) -> MDState:
    return after._replace(
        heat=before.heat + kinetic_energy(after.dynamics) - kinetic_energy(before.dynamics)
    )


def counted(state: MDState) -> MDState:
    """The state, one step further."""
    return state._replace(step=state.step + 1)
