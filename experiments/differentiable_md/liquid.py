"""Liquid argon as the experiments know it: a potential of three parameters, and its sampling.

u(r) = C epsilon [(sigma / r)^n - (sigma / r)^6], the Mie potential, whose minimum is -epsilon;
n = 12 is Lennard-Jones. Parameters are kept as logarithms, so that all are positive and alike.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jmlip.core import units
from jmlip.core.errors import DivergenceError
from jmlip.md.integrators import make_langevin, make_nve
from jmlip.md.state import Evaluation, MDState
from jmlip.md.velocities import maxwell_boltzmann

N_ATOMS, DENSITY, MASS = 64, 0.0191, 39.95  # atoms / angstrom^3, u
LENGTH = (N_ATOMS / DENSITY) ** (1.0 / 3.0)
CUTOFF, ONSET = 0.5 * LENGTH, 0.4 * LENGTH
KT = 100.0 * units.KELVIN
DT = 10.0 * units.FS
TRUE = {"epsilon": 0.0103, "sigma": 3.4, "n": 12.0}  # eV, angstrom
N_REPLICAS = 8
CELL = LENGTH * np.eye(3)
RECEIVERS, SENDERS = np.triu_indices(N_ATOMS, 1)

Theta = Float[Array, "3"]
"""Logarithms of epsilon, sigma and n."""


class NoNeighbors(NamedTuple):
    """All pairs are in; there is nothing to overflow."""

    status: Array


def theta_of(values: dict[str, float]) -> Theta:
    return jnp.log(jnp.array([values[name] for name in TRUE]))


def distances(positions: Float[Array, "atoms 3"]) -> Float[Array, " pairs"]:
    """To the nearest image of each other atom, angstrom."""
    vector = positions[SENDERS] - positions[RECEIVERS]
    vector = vector - LENGTH * jax.lax.stop_gradient(jnp.round(vector / LENGTH))
    return jnp.sqrt(jnp.sum(vector**2, axis=-1))


def pair_energy(theta: Theta, r: Array) -> Array:
    """u(r), smoothly to 0 from `ONSET` to `CUTOFF`, eV."""
    epsilon, sigma, n = jnp.exp(theta)
    scale = n / (n - 6.0) * (n / 6.0) ** (6.0 / (n - 6.0))
    x = sigma / r
    s = jnp.clip((r - ONSET) / (CUTOFF - ONSET), 0.0, 1.0)
    return scale * epsilon * (x**n - x**6) * (1.0 - s) ** 3 * (1.0 + 3.0 * s + 6.0 * s**2)


def energy(theta: Theta, positions: Float[Array, "atoms 3"]) -> Float[Array, ""]:
    """Of one configuration, eV."""
    return jnp.sum(pair_energy(theta, distances(positions)))


def forces_of(theta: Theta) -> Callable:
    def force_fn(positions, cell, neighbors):
        value, gradient = jax.value_and_grad(energy, 1)(theta, positions)
        return Evaluation(value, -gradient, jnp.zeros((3, 3), positions.dtype), neighbors)

    return force_fn


def first_state(theta: Theta, seed: int) -> MDState:
    """Replicas on a lattice with velocities of their own, for `sample`."""
    n = round(N_ATOMS ** (1 / 3))
    sites = np.stack(np.unravel_index(np.arange(N_ATOMS), (n, n, n)), axis=1) * LENGTH / n
    mass = jnp.full((N_ATOMS, 1), MASS)
    lists = (NoNeighbors(jnp.zeros((), jnp.uint8)),)

    def one(key):
        keys = jax.random.split(key)
        momenta = maxwell_boltzmann(mass, kT=KT, key=keys[0])
        start = make_langevin(forces_of(theta), dt=DT, kT=KT, friction=1.0 / units.PS).init
        return start(jnp.asarray(sites), momenta, mass, jnp.asarray(CELL), lists, keys[1])

    return jax.vmap(one)(jax.random.split(jax.random.key(seed), N_REPLICAS))


@jax.jit(static_argnames=("n_samples", "every"))
def sample(theta: Theta, state: MDState, *, n_samples: int, every: int) -> tuple:
    """Langevin dynamics of all replicas: the last state; positions and momenta along the way.

    Their axes are replicas, samples, atoms, directions.
    """
    integrator = make_langevin(forces_of(theta), dt=DT, kT=KT, friction=1.0 / units.PS)

    def some(state, _):
        state = jax.lax.fori_loop(0, every, lambda _, s: integrator.step(s), state)
        return state, (state.dynamics.position, state.dynamics.momentum)

    # forces of the last parameters are in the state: the first steps are thrown away anyway
    return jax.vmap(lambda state: jax.lax.scan(some, state, length=n_samples))(state)


def equilibrate(theta: Theta, state: MDState, n_steps: int) -> MDState:
    """The state some picoseconds later.

    Raises:
        DivergenceError: atoms flew apart.
    """
    state, (positions, _) = sample(theta, state, n_samples=1, every=n_steps)
    if not bool(jnp.isfinite(positions).all()):
        raise DivergenceError(
            f"a liquid must stay finite, found it exploded with {jnp.exp(theta).tolist()}; "
            "take smaller steps of the parameters."
        )
    return state


def constant_energy(theta: Theta, positions: Array, momenta: Array) -> tuple:
    """An integrator and its first state, to differentiate through."""
    integrator = make_nve(forces_of(theta), dt=DT)
    mass = jnp.full((N_ATOMS, 1), MASS)
    lists = (NoNeighbors(jnp.zeros((), jnp.uint8)),)
    key = jax.random.key(0)
    return integrator, integrator.init(positions, momenta, mass, jnp.asarray(CELL), lists, key)
