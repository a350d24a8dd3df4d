"""Constant temperature and pressure by stochastic rescaling of the cell, made exact by a test.

Every `STEPS_BETWEEN` steps of a stochastic velocity rescaling, h apart, a strain e of the cell is
drawn, with V the volume, P_int the pressure tensor, P the external pressure, b the compressibility
and tau the relaxation time,

    e ~ Normal(m, s^2),    m = D V / kT (P_int - P),    s^2 = 2 D,    D = kT b h / (3 V tau)

projected onto what the cell may do, and m cut where it would move an edge by more than `LONGEST`.
Cell and positions are multiplied by exp(e), momenta by exp(-e), which leaves the volume in phase
space as it is. For small h this is the diffusion of Bernetti and Bussi, in which the volume forgets
within tau if b is the compressibility of the system. Here it is a proposal, taken with the
probability min(1, a) of Metropolis and Hastings,

    ln a = -(H' - H) / kT + ln V' / V + ln q'(-e) - ln q(e),    H = E + sum_i p_i^2 / 2 m_i + P V,

q and q' the densities of the strain before and after: so the distribution is exact whatever b, tau
and h, and a wrong b costs time, not truth. Distributed so are cells with the invariant measure of
strains, as with Martyna, Tobias and Klein. What a move adds to H is booked as heat, and

    E + sum_i p_i^2 / 2 m_i + P V - heat

is conserved: its drift is that of the dynamics alone.

References:
    Bernetti, Bussi, J. Chem. Phys. 153, 114107 (2020).
    Del Tatto, Raiteri, Bernetti, Bussi, Appl. Sci. 12, 1139 (2022), of other motions.
    Roberts, Tweedie, Bernoulli 2, 341 (1996), on the test, and on cutting the mean.
"""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax_md import dataclasses
from jaxtyping import Array, Float

from jmlip.md.integrators import Integrator, make_csvr
from jmlip.md.propagator import Forces, Level, Scalar, evaluate_all, levels_of, with_total_force
from jmlip.md.schedule import Control, at
from jmlip.md.state import MDState, kinetic_energy
from jmlip.md.strain import N_FREE, CellMotion, Tensor, exponential, project, volume

STEPS_BETWEEN = 10
"""Steps between two moves of the cell, each of which costs one evaluation more."""

LONGEST = 0.1
"""Angstrom; the mean of a move at most, so that cells far from equilibrium come back in steps."""

_dataclass: Any = dataclasses.dataclass  # type checkers do not see through it


@_dataclass
class RescaledState:
    """Atoms, and how often the cell has moved; the cell itself stands in `MDState.cell`."""

    position: Any
    momentum: Any
    force: Any
    mass: Any
    rng: Any
    n_accepted: Any


class _Barostat(NamedTuple):
    """What moves of the cell depend on."""

    kT: Control
    pressure: Control
    rate: Scalar  # D V / kT, angstrom^3 / eV
    motion: CellMotion


class _Law(NamedTuple):
    """What a strain is drawn from."""

    mean: Tensor
    variance: Float[Array, ""]


def make_rescaled(
    forces: Forces,
    *,
    dt: Scalar,
    kT: Control,
    pressure: Control,
    tau: Scalar,
    tau_barostat: Scalar,
    compressibility: Scalar,
    motion: CellMotion = "isotropic",
) -> Integrator:
    """Isothermal-isobaric dynamics with a stochastic barostat.

    Args:
        forces: one force function, or levels; the system must be periodic in all directions.
        dt: time step, of the first level.
        kT: eV; as the pressure, a number, or a function of the number of steps made.
        pressure: eV / angstrom^3.
        tau: relaxation time of the velocity rescaling.
        tau_barostat: relaxation time of the volume.
        compressibility: roughly that of the system, angstrom^3 / eV.
        motion: what the cell may do.
    """
    levels = levels_of(forces)
    thermostat = make_csvr(levels, dt=dt, kT=kT, tau=tau)
    rate = compressibility * STEPS_BETWEEN * dt / (3.0 * tau_barostat)
    barostat = _Barostat(kT, pressure, rate, motion)
    move = functools.partial(_move, barostat, levels)

    def init(positions, momenta, mass, cell, neighbors, key):
        state = thermostat.init(positions, momenta, mass, cell, neighbors, key)
        now, none = state.dynamics, jnp.zeros((), jnp.int32)
        dynamics = RescaledState(now.position, now.momentum, now.force, now.mass, now.rng, none)
        return state._replace(dynamics=dynamics)

    def step(state):
        before, state = state.step, thermostat.step(state)
        # a pressure that rises does work on the volume
        rise = at(pressure, state.step) - at(pressure, before)
        state = state._replace(heat=state.heat + rise * volume(state.cell))
        key, draw = jax.random.split(state.dynamics.rng)
        # the key that goes on takes no part: a choice between two uses of it would count as reuse
        state = state._replace(dynamics=state.dynamics.set(rng=None))
        due = state.step % STEPS_BETWEEN == 0
        state = jax.lax.cond(due, move, lambda state, key: state, state, draw)
        return state._replace(dynamics=state.dynamics.set(rng=key))

    return Integrator(init, step, lambda state: _work(barostat, state) - state.heat)


def _move(barostat: _Barostat, levels: Sequence[Level], state: MDState, key: Array) -> MDState:
    """The state with a strain drawn anew, if the test takes it."""
    normal_key, uniform_key = jax.random.split(key)
    there = _law(barostat, state)
    noise = project(jax.random.normal(normal_key, (3, 3), state.cell.dtype), barostat.motion)
    strain = there.mean + jnp.sqrt(there.variance) * noise
    moved = _strained(state, strain, levels)
    back = _log_density(_law(barostat, moved), -strain, barostat.motion)
    forth = _log_density(there, strain, barostat.motion)
    growth = volume(moved.cell) / volume(state.cell)
    change = _enthalpy(barostat, moved) - _enthalpy(barostat, state)
    log_odds = back - forth + jnp.log(growth) - change / at(barostat.kT, state.step)
    drawn = jnp.log(jax.random.uniform(uniform_key, dtype=log_odds.dtype))
    # what went wrong (not finite, too few slots for neighbors) is taken, so that it is seen
    taken = ~(drawn > log_odds) | _overflowed(moved)
    counted = moved.dynamics.set(n_accepted=moved.dynamics.n_accepted + 1)
    moved = moved._replace(dynamics=counted, heat=state.heat + change)
    return jax.lax.cond(taken, lambda: moved, lambda: state)


def _law(barostat: _Barostat, state: MDState) -> _Law:
    size, kT = volume(state.cell), at(barostat.kT, state.step)
    diffusion = kT * barostat.rate / size
    velocity = state.dynamics.momentum / state.dynamics.mass
    internal = jnp.matmul(state.dynamics.momentum.T, velocity, precision="highest")
    outside = _work(barostat, state) * jnp.eye(3, dtype=velocity.dtype)
    mean = diffusion / kT * project(internal - state.virial - outside, barostat.motion)
    edge = jnp.cbrt(size) * jnp.sqrt(jnp.sum(mean**2))
    return _Law(mean * LONGEST / jnp.maximum(edge, LONGEST), 2.0 * diffusion)


def _enthalpy(barostat: _Barostat, state: MDState) -> Float[Array, ""]:
    return state.energy + kinetic_energy(state.dynamics) + _work(barostat, state)


def _work(barostat: _Barostat, state: MDState) -> Float[Array, ""]:
    """P V."""
    return at(barostat.pressure, state.step) * volume(state.cell)


def _strained(state: MDState, strain: Tensor, levels: Sequence[Level]) -> MDState:
    """The state with cell and positions strained, momenta the other way, forces new."""
    now, larger, smaller = state.dynamics, exponential(strain), exponential(-strain)
    position = jnp.matmul(now.position, larger, precision="highest")
    momentum = jnp.matmul(now.momentum, smaller, precision="highest")
    cell = jnp.matmul(state.cell, larger, precision="highest")
    evaluations = evaluate_all(levels, position, cell, state.neighbors)
    moved = state._replace(
        dynamics=now.set(position=position, momentum=momentum), cell=cell, levels=evaluations
    )
    return with_total_force(moved)


def _log_density(law: _Law, strain: Tensor, motion: CellMotion) -> Float[Array, ""]:
    """Logarithm of the density of a strain, but for a constant."""
    distance = jnp.sum((strain - law.mean) ** 2)
    return -0.5 * (distance / law.variance + N_FREE[motion] * jnp.log(law.variance))


def _overflowed(state: MDState) -> Array:
    return jnp.any(jnp.stack([neighbors.status != 0 for neighbors in state.neighbors]))
