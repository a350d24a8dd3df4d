"""The depth of a pair potential's well from the diffusion constant of its liquid.

Over one picosecond, in which velocities forget, Green and Kubo's integral is

    D = 1/3 int_0^t <v(0) v(t')> dt' = 1/3 <v(0) (x(t) - x(0))>,

an average over initial states of a function of the trajectory from each. Its derivative has two
parts: the ensemble of initial states changes (reweighting), and so does each trajectory (reversible
dynamics, differentiated). Newton's method on ln D against ln epsilon, with the mean slope so far.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.differentiable_md import liquid
from jmlip.core import units
from jmlip.md import reweighting
from jmlip.md.reversible import reversible_scan

START = 0.0070
"""Depth at the start, eV; the other parameters are known."""
N_STEPS = 100
N_ITERATIONS, N_LATE = 8, 5
N_SAMPLES, N_TARGET, EVERY = 16, 128, 40
MAX_STEP = 0.2
TO_ANGSTROM2_PER_PS = units.PS


def with_depth(log_epsilon: jax.Array) -> liquid.Theta:
    truth = liquid.theta_of(liquid.TRUE)
    return truth.at[0].set(log_epsilon)


def contribution(log_epsilon, position, momentum):
    """1/3 <v(0) (x(t) - x(0))> over the atoms of one sample, angstrom^2 / ps."""
    theta = with_depth(log_epsilon)
    _, state = liquid.constant_energy(theta, position, momentum)
    end, _ = reversible_scan(liquid.forces_of(theta), state, N_STEPS, dt=liquid.DT)
    moved = end.dynamics.position - position
    return jnp.sum(momentum / liquid.MASS * moved) / (3 * liquid.N_ATOMS) * TO_ANGSTROM2_PER_PS


def diffusion(log_epsilon, positions, momenta, energies):
    """D of an ensemble, from samples of another with these energies."""
    each = jax.lax.map(
        lambda sample: contribution(log_epsilon, *sample), (positions, momenta), batch_size=8
    )
    now = reweighting.energies_of(
        functools.partial(liquid.energy, with_depth(log_epsilon)), positions
    )
    weights = reweighting.weights(now, energies, kT=liquid.KT)
    return reweighting.average(weights, each), each


value_and_slope = jax.jit(jax.value_and_grad(diffusion, has_aux=True))


def samples(log_epsilon, state, n_samples):
    theta = with_depth(log_epsilon)
    state, drawn = liquid.sample(theta, state, n_samples=n_samples, every=EVERY)
    positions, momenta = (each.reshape(-1, liquid.N_ATOMS, 3) for each in drawn)
    energies = reweighting.energies_of(functools.partial(liquid.energy, theta), positions)
    return state, positions, momenta, energies


@jax.jit
def contributions(log_epsilon, positions, momenta):
    """Forward only."""
    return diffusion(log_epsilon, positions, momenta, jnp.zeros(len(positions)))[1]


def constant(log_epsilon: jax.Array, seed: int) -> tuple[float, float]:
    """D and its standard error over replicas, from a run of its own."""
    theta = with_depth(log_epsilon)
    state = liquid.equilibrate(theta, liquid.first_state(theta, seed), 1500)
    _, positions, momenta, _ = samples(log_epsilon, state, N_TARGET)
    each = np.asarray(contributions(log_epsilon, positions, momenta))
    replicas = each.reshape(liquid.N_REPLICAS, -1).mean(axis=1)
    return float(replicas.mean()), float(replicas.std(ddof=1) / np.sqrt(liquid.N_REPLICAS))


def learn(seed: int) -> dict[str, Any]:
    """One run: what it found, and the diffusion constant of its liquid."""
    target, target_error = constant(jnp.log(liquid.TRUE["epsilon"]), 1000 + seed)
    x = jnp.log(jnp.asarray(START))
    start, start_error = constant(x, 3000 + seed)
    theta = with_depth(x)
    state = liquid.equilibrate(theta, liquid.first_state(theta, seed), 1500)
    path, found, slopes = [float(x)], [], []
    for k in range(N_ITERATIONS):
        state, *drawn = samples(x, state, N_SAMPLES)
        (value, _), slope = value_and_slope(x, *drawn)
        found.append(float(value))
        slopes.append(float(slope / value))
        step = (np.log(target) - np.log(found[-1])) / np.mean(slopes)
        x = x + np.clip(step, -MAX_STEP, MAX_STEP)
        path.append(float(x))
        print(
            f"{seed} {k:2d} D {found[-1]:.4f} of {target:.4f} slope {slopes[-1]:6.2f} epsilon "
            f"{np.exp(path[-1]):.5f}",
            flush=True,
        )
        state = liquid.equilibrate(with_depth(x), state, 300)
    late = np.array(path[-N_LATE:])
    learned, learned_error = constant(jnp.asarray(late.mean()), 2000 + seed)
    return {
        "epsilon": float(np.exp(late.mean())),
        "late_spread": float(np.exp(late.mean()) * late.std(ddof=1)),
        "slope": float(np.mean(slopes)),
        "slope_error": float(np.std(slopes, ddof=1) / np.sqrt(len(slopes))),
        "slope_between": float(np.log(start / target) / np.log(START / liquid.TRUE["epsilon"])),
        "D_target": target,
        "D_target_error": target_error,
        "D_start": start,
        "D_start_error": start_error,
        "D": learned,
        "D_error": learned_error,
        "path": np.exp(path).tolist(),
        "found": found,
    }
