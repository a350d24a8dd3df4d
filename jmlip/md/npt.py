"""Constant temperature and pressure: the Martyna-Tobias-Klein barostat with Nose-Hoover chains.

The rows of `cell` are lattice vectors, N_f the degrees of freedom, v the symmetric rate at which
cell and positions are strained, W its mass, P the external pressure, p_i momenta, r (x) dE/dr the
virial (of all pairs):

    dr_i/dt = p_i / m_i + v r_i            dp_i/dt = f_i - v p_i - (tr v / N_f) p_i
    dcell/dt = cell v                      W dv/dt = G

    G = sum_i p_i (x) p_i / m_i - virial - P V + (sum_i p_i^2 / m_i) / N_f

and v, G are projected onto what the cell may do: scale ("isotropic", G = tr G / 3), stretch along
x, y and z ("anisotropic", the diagonal), any shape ("full", symmetric, so that it does not rotate).
One chain of thermostats acts on the atoms, another on the cell. Conserved is

    E + sum_i p_i^2 / 2 m_i + W tr v^2 / 2 + P V + the energies of both chains.

References:
    Martyna, Tobias, Klein, J. Chem. Phys. 101, 4177 (1994).
    Tuckerman, Alejandre, Lopez-Rendon, Jochim, Martyna, J. Phys. A 39, 5629 (2006).
"""

from typing import Any

import jax.numpy as jnp
from jax_md import dataclasses
from jaxtyping import Array

from jmlip.analysis.thermodynamics import degrees_of_freedom
from jmlip.md.chains import make_chain
from jmlip.md.integrators import Integrator, counted
from jmlip.md.propagator import Scalar, evaluate_all, kick, levels_of, position_step, renewed
from jmlip.md.state import ForceFn, MDState, kinetic_energy, make_state
from jmlip.md.strain import N_FREE, CellMotion, Tensor, exponential, project, volume

_dataclass: Any = dataclasses.dataclass  # type checkers do not see through it


@_dataclass
class NPTState:
    """Atoms and the rate of the cell; the cell itself stands in `MDState.cell`."""

    position: Any
    momentum: Any
    force: Any
    mass: Any
    rate: Any  # v, 1 / (internal time unit)
    chain: Any
    cell_chain: Any


def make_npt(
    force_fn: ForceFn,
    *,
    dt: Scalar,
    kT: Scalar,
    pressure: Scalar,
    tau: Scalar,
    tau_barostat: Scalar,
    motion: CellMotion = "isotropic",
    chain_length: int = 3,
) -> Integrator:
    """Isothermal-isobaric dynamics.

    Args:
        force_fn: forces and virial; the system must be periodic in all directions.
        dt: time step.
        kT: eV.
        pressure: eV / angstrom^3.
        tau: period of the thermostats of the atoms; those of the cell have `tau_barostat`.
        tau_barostat: period of the cell, which sets its mass W = (N_f + 3) kT tau_barostat^2 / 3.
        motion: what the cell may do.
        chain_length: thermostats in each chain.
    """
    levels = levels_of(force_fn)
    chain = make_chain(dt=dt, kT=kT, tau=tau, length=chain_length)
    cell_chain = make_chain(dt=dt, kT=kT, tau=tau_barostat, length=chain_length)

    def mass(dynamics):
        n_free = degrees_of_freedom(len(dynamics.position))
        return (n_free + 3) * kT * tau_barostat**2 / 3.0

    def cell_kinetic(dynamics):
        return 0.5 * mass(dynamics) * (dynamics.rate**2).sum()

    def init(positions, momenta, masses, cell, neighbors, key):
        del key
        rate = jnp.zeros((3, 3), positions.dtype)
        dynamics = NPTState(positions, momenta, positions, masses, rate, None, None)
        n_free = degrees_of_freedom(len(positions))
        dynamics = dynamics.set(
            chain=chain.init(n_free, kinetic_energy(dynamics)),
            cell_chain=cell_chain.init(N_FREE[motion], cell_kinetic(dynamics)),
        )
        return make_state(dynamics, cell, evaluate_all(levels, positions, cell, neighbors))

    def heat(state):
        now = state.dynamics
        momentum, bath = chain.half_step(now.momentum, kinetic_energy(now), now.chain)
        rate, cell_bath = cell_chain.half_step(now.rate, cell_kinetic(now), now.cell_chain)
        now = now.set(momentum=momentum, chain=bath, rate=rate, cell_chain=cell_bath)
        return state._replace(dynamics=now)

    def push(state):
        """Half a step of the cell's rate."""
        now = state.dynamics
        drive = project(_drive(state, pressure), motion)
        return state._replace(dynamics=now.set(rate=now.rate + 0.5 * dt * drive / mass(now)))

    def step(state):
        state = _half_kick(push(heat(state)), dt)
        state = renewed(_drift(state, dt), levels, 0)
        return counted(heat(push(_half_kick(state, dt))))

    def bath_energy(state):
        now = state.dynamics
        baths = chain.energy(now.chain) + cell_chain.energy(now.cell_chain)
        return cell_kinetic(now) + pressure * volume(state.cell) + baths

    return Integrator(init, step, bath_energy)


def _drive(state: MDState, pressure: Scalar) -> Tensor:
    """G: what strains the cell."""
    momentum, velocity = state.dynamics.momentum, state.dynamics.momentum / state.dynamics.mass
    internal = jnp.matmul(momentum.T, velocity, precision="highest") - state.virial
    n_free = degrees_of_freedom(len(momentum))
    outside = 2.0 * kinetic_energy(state.dynamics) / n_free - pressure * volume(state.cell)
    return internal + outside * jnp.eye(3, dtype=momentum.dtype)


def _half_kick(state: MDState, dt: Scalar) -> MDState:
    """Half a step of the momenta, under forces and the strain of the cell: a palindrome."""
    now = state.dynamics
    drag = now.rate + jnp.trace(now.rate) / degrees_of_freedom(len(now.position)) * jnp.eye(
        3, dtype=now.rate.dtype
    )
    shrink = exponential(-0.25 * dt * drag)
    state = _with_momentum(state, jnp.matmul(now.momentum, shrink, precision="highest"))
    state = kick(state, state.levels[0].forces, 0.5 * dt)
    momentum = jnp.matmul(state.dynamics.momentum, shrink, precision="highest")
    return _with_momentum(state, momentum)


def _drift(state: MDState, dt: Scalar) -> MDState:
    """Half a strain of positions, their motion, the other half; the cell strains with them."""
    half = exponential(0.5 * dt * state.dynamics.rate)

    def strained(state):
        position = jnp.matmul(state.dynamics.position, half, precision="highest")
        return state._replace(
            dynamics=state.dynamics.set(position=position),
            cell=jnp.matmul(state.cell, half, precision="highest"),
        )

    return strained(position_step(strained(state), dt))


def _with_momentum(state: MDState, momentum: Array) -> MDState:
    return state._replace(dynamics=state.dynamics.set(momentum=momentum))
