"""Integrators as `(init, step)` pairs over one state, composed of jax-md's operators.

Each step is a product of the operators of Tuckerman's splitting: B `momentum_step`, A
`position_step`, O `stochastic_step`, and the chain of `nose_hoover_chain`:

    nve            B/2 A B/2
    langevin       B/2 A/2 O A/2 B/2
    nose-hoover    chain/2 (B/2 A B/2) chain/2
    csvr           (B/2 A B/2) rescaling

Why the operators and not jax-md's finished integrators: those round the time step to float32, hide
the potential energy of the step, renew the neighbor list one step late, and count 3 N degrees of
freedom although the center of mass rests; their CSVR also draws its two noises from one key.

`step` is a pure function: jit it, differentiate it, loop over it. `bath_energy` completes potential
and kinetic energy to the quantity that the exact dynamics conserves.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax_md import simulate as jax_md_simulate
from jaxtyping import Array, Float

from jmlip.core.types import AtomVectors, Key
from jmlip.md.config import MDConfig
from jmlip.md.state import ForceFn, MDState, kinetic_energy, make_state, n_degrees_of_freedom
from jmlip.md.velocities import remove_center_of_mass_motion

simulate: Any = jax_md_simulate  # type checkers do not see through its dataclasses
Mass = Float[Array, "atoms 1"]
Scalar = float | Float[Array, ""]

# 2 substeps of 3 Suzuki-Yoshida weights: jax-md's defaults for the chain
CHAIN_SUBSTEPS, SUZUKI_YOSHIDA_ORDER = 2, 3


class Integrator(NamedTuple):
    """An ensemble: how to start, how to go on, and the energy held by the bath.

    `init(positions, momenta, mass, neighbors, key)`: angstrom, internal units, u, a list for these
    positions, the thermostat's random numbers.
    """

    init: Callable[[AtomVectors, AtomVectors, Mass, Any, Key], MDState]
    step: Callable[[MDState], MDState]
    bath_energy: Callable[[MDState], Array]


def make_integrator(config: MDConfig, force_fn: ForceFn) -> Integrator:
    """The integrator of a configuration."""
    dt, kT = config.dt, config.kT
    match config.ensemble:
        case "nve":
            return make_nve(force_fn, dt=dt)
        case "langevin":
            return make_langevin(force_fn, dt=dt, kT=kT, friction=config.friction)
        case "nose-hoover":
            length = 3 if config.chain_length is None else config.chain_length
            return make_nose_hoover(force_fn, dt=dt, kT=kT, tau=config.tau, chain_length=length)
        case "csvr":
            return make_csvr(force_fn, dt=dt, kT=kT, tau=config.tau)


def make_nve(force_fn: ForceFn, *, dt: Scalar) -> Integrator:
    """Velocity Verlet at constant energy."""

    def init(positions, momenta, mass, neighbors, key):
        del key
        evaluation = force_fn(positions, neighbors)
        return make_state(
            simulate.NVEState(positions, momenta, evaluation.forces, mass), evaluation
        )

    def step(state):
        return _count(_velocity_verlet(state, force_fn, dt))

    return Integrator(init, step, lambda state: jnp.zeros_like(state.heat))


def make_langevin(force_fn: ForceFn, *, dt: Scalar, kT: Scalar, friction: Scalar) -> Integrator:
    """Langevin dynamics by the BAOAB splitting, the center of mass held at rest.

    The noise is projected onto zero total momentum; friction and noise then leave the canonical
    distribution of the 3 N - 3 remaining degrees of freedom invariant.

    References:
        Leimkuhler, Matthews, Appl. Math. Res. Express 2013, 34.
    """

    def init(positions, momenta, mass, neighbors, key):
        evaluation = force_fn(positions, neighbors)
        dynamics = simulate.NVTLangevinState(positions, momenta, evaluation.forces, mass, key)
        return make_state(dynamics, evaluation)

    def step(state):
        state = _apply(simulate.momentum_step, state, 0.5 * dt)
        state = _apply(simulate.position_step, state, _shift, 0.5 * dt)
        state = _heated(_apply(_centered_stochastic_step, state, dt, kT, friction), state)
        state = _apply(simulate.position_step, state, _shift, 0.5 * dt)
        state = _evaluate(state, force_fn)
        return _count(_apply(simulate.momentum_step, state, 0.5 * dt))

    return Integrator(init, step, lambda state: -state.heat)


def make_nose_hoover(
    force_fn: ForceFn, *, dt: Scalar, kT: Scalar, tau: Scalar, chain_length: int = 3
) -> Integrator:
    """A Nose-Hoover chain on the 3 N - 3 degrees of freedom.

    (jax-md rounds the masses and the step of the chain, not of the atoms, to float32. That is as if
    tau were another by 1e-7: both parts of the step conserve the same energy, whatever their step.)

    References:
        Martyna, Tuckerman, Tobias, Klein, Mol. Phys. 87, 1117 (1996).
    """
    chain = simulate.nose_hoover_chain(dt, chain_length, CHAIN_SUBSTEPS, SUZUKI_YOSHIDA_ORDER, tau)

    def init(positions, momenta, mass, neighbors, key):
        del key
        evaluation = force_fn(positions, neighbors)
        dynamics = simulate.NVTNoseHooverState(positions, momenta, evaluation.forces, mass, None)
        bath = chain.initialize(n_degrees_of_freedom(len(positions)), kinetic_energy(dynamics), kT)
        bath = jax.tree.map(lambda leaf: jnp.asarray(leaf, positions.dtype), bath)
        return make_state(dynamics.set(chain=chain.update_mass(bath, kT)), evaluation)

    def half_step(dynamics):
        bath = dynamics.chain.set(kinetic_energy=kinetic_energy(dynamics))
        momentum, bath = chain.half_step(dynamics.momentum, bath, kT)
        return dynamics.set(momentum=momentum, chain=bath)

    def step(state):
        state = _velocity_verlet(_apply(half_step, state), force_fn, dt)
        return _count(_apply(half_step, state))

    def bath_energy(state):
        bath = state.dynamics.chain
        thermal = bath.position.at[0].multiply(bath.degrees_of_freedom)
        return (0.5 * bath.momentum**2 / bath.mass + kT * thermal).sum()

    return Integrator(init, step, bath_energy)


def make_csvr(force_fn: ForceFn, *, dt: Scalar, kT: Scalar, tau: Scalar) -> Integrator:
    """Canonical sampling through stochastic rescaling of all velocities by one factor.

    References:
        Bussi, Donadio, Parrinello, J. Chem. Phys. 126, 014101 (2007), equations A7 and A8.
    """

    def init(positions, momenta, mass, neighbors, key):
        evaluation = force_fn(positions, neighbors)
        dynamics = simulate.NVTLangevinState(positions, momenta, evaluation.forces, mass, key)
        return make_state(dynamics, evaluation)

    def rescale(dynamics):
        n_free = n_degrees_of_freedom(len(dynamics.position))
        key, draw = jax.random.split(dynamics.rng)
        kinetic = kinetic_energy(dynamics)
        factor = _rescaling(kinetic, n_free, kT, decay=jnp.exp(-dt / tau), key=draw)
        return dynamics.set(momentum=factor * dynamics.momentum, rng=key)

    def step(state):
        state = _velocity_verlet(state, force_fn, dt)
        return _count(_heated(_apply(rescale, state), state))

    return Integrator(init, step, lambda state: -state.heat)


def _rescaling(kinetic: Array, n_free: int, kT: Scalar, *, decay: Array, key: Key) -> Array:
    normal_key, gamma_key = jax.random.split(key)
    normal = jax.random.normal(normal_key, dtype=kinetic.dtype)
    others = 2.0 * jax.random.gamma(gamma_key, 0.5 * (n_free - 1), dtype=kinetic.dtype)
    # atoms at rest cannot be rescaled, and any finite factor leaves them so
    ratio = (1.0 - decay) * 0.5 * kT / jnp.maximum(kinetic, 1.0e-6 * kT)
    amplitude = jnp.sqrt(decay) + jnp.sqrt(ratio) * normal
    # A7 is a sum of squares; written so, it cannot round to a negative number
    factor = jnp.sqrt(amplitude**2 + ratio * others)
    return jnp.where(amplitude < 0.0, -factor, factor)


def _velocity_verlet(state: MDState, force_fn: ForceFn, dt: Scalar) -> MDState:
    state = _apply(simulate.momentum_step, state, 0.5 * dt)
    state = _apply(simulate.position_step, state, _shift, dt)
    state = _evaluate(state, force_fn)
    return _apply(simulate.momentum_step, state, 0.5 * dt)


def _evaluate(state: MDState, force_fn: ForceFn) -> MDState:
    evaluation = force_fn(state.dynamics.position, state.neighbors)
    return state._replace(
        dynamics=state.dynamics.set(force=evaluation.forces),
        energy=evaluation.energy,
        virial=evaluation.virial,
        neighbors=evaluation.neighbors,
    )


def _apply(operator: Callable, state: MDState, *arguments: Any) -> MDState:
    return state._replace(dynamics=operator(state.dynamics, *arguments))


def _centered_stochastic_step(dynamics: Any, dt: Scalar, kT: Scalar, friction: Scalar) -> Any:
    dynamics = simulate.stochastic_step(dynamics, dt, kT, friction)
    return dynamics.set(momentum=remove_center_of_mass_motion(dynamics.momentum, dynamics.mass))


def _heated(after: MDState, before: MDState) -> MDState:
    return after._replace(
        heat=before.heat + kinetic_energy(after.dynamics) - kinetic_energy(before.dynamics)
    )


def _shift(positions: AtomVectors, displacement: AtomVectors) -> AtomVectors:
    return positions + displacement


def _count(state: MDState) -> MDState:
    return state._replace(step=state.step + 1)
