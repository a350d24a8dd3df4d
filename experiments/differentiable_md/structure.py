"""All parameters of a pair potential from the radial distribution function of its liquid.

With g(r; theta) of reweighted samples and its Jacobian J, each Gauss-Newton step minimizes
sum_b (g_b - target_b)^2 / variance_b. Steps are halved until 40 % of the samples count in the new
ensemble; then new samples are drawn there. What is learned is the mean of the late iterates, each
of samples of its own.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.differentiable_md import liquid
from jmlip.md import reweighting

START = {"epsilon": 0.0070, "sigma": 3.2, "n": 9.0}
EDGES = np.linspace(3.0, 7.0, 51)  # angstrom
N_ITERATIONS, N_LATE = 20, 8
N_SAMPLES, N_TARGET, EVERY = 64, 512, 20
FRACTION = 0.4
FLOOR = 0.005
"""Least standard error of g: bins that no atom reached know that not exactly."""


@jax.jit
def histograms(positions: jax.Array) -> tuple[jax.Array, jax.Array]:
    """g(r) of each sample, and its distances."""
    r = jax.lax.map(liquid.distances, positions, batch_size=64)
    count = jax.vmap(lambda each: jnp.histogram(each, jnp.asarray(EDGES, each.dtype))[0])(r)
    shells = 4.0 / 3.0 * np.pi * np.diff(EDGES**3) / liquid.LENGTH**3
    return count / jnp.asarray(shells * len(liquid.SENDERS), r.dtype), r


def measured(theta: liquid.Theta, state: Any, n_samples: int) -> tuple:
    """State, g(r) of each sample, its distances, mean and standard error over replicas."""
    state, (positions, _) = liquid.sample(theta, state, n_samples=n_samples, every=EVERY)
    g, r = histograms(positions.reshape(-1, liquid.N_ATOMS, 3))
    replicas = np.asarray(g).reshape(liquid.N_REPLICAS, n_samples, -1).mean(axis=1)
    error = replicas.std(axis=0, ddof=1) / np.sqrt(liquid.N_REPLICAS)
    return state, g, r, replicas.mean(axis=0), np.maximum(error, FLOOR)


@jax.jit
def reweighted(theta, theta_samples, g, r):
    """g(r) of an ensemble from samples of another, and how many of them count."""
    energies = lambda theta: reweighting.energies_of(
        lambda r: jnp.sum(liquid.pair_energy(theta, r)), r, batch_size=64
    )
    weights = reweighting.weights(energies(theta), energies(theta_samples), kT=liquid.KT)
    return reweighting.average(weights, g), reweighting.effective_number(weights) / len(r)


jacobian = jax.jit(jax.jacfwd(lambda *arguments: reweighted(*arguments)[0]))


def gauss_newton(theta, g, r, target, error):
    """The next parameters, and the fraction of samples that count there."""
    J = np.asarray(jacobian(theta, theta, g, r), np.float64) / error[:, None]
    residual = (target - np.asarray(reweighted(theta, theta, g, r)[0])) / error
    step = np.linalg.lstsq(J, residual, rcond=1e-3)[0]
    step *= min(1.0, 0.15 / np.abs(step).max())
    while True:
        proposed = theta + jnp.asarray(step, theta.dtype)
        fraction = float(reweighted(proposed, theta, g, r)[1])
        if fraction >= FRACTION:
            return proposed, fraction
        step *= 0.5


def chi_square(mean, error, target, target_error) -> float:
    return float(np.mean((mean - target) ** 2 / (error**2 + target_error**2)))


def learn(seed: int) -> dict[str, Any]:
    """One run: what it found, and how well its liquid is the target's."""
    truth, theta = liquid.theta_of(liquid.TRUE), liquid.theta_of(START)
    state = liquid.equilibrate(truth, liquid.first_state(truth, 1000 + seed), 1500)
    _, _, _, target, target_error = measured(truth, state, N_TARGET)
    state = liquid.equilibrate(theta, liquid.first_state(theta, seed), 1500)
    path, chi = [np.asarray(theta)], []
    for k in range(N_ITERATIONS):
        state, g, r, mean, error = measured(theta, state, N_SAMPLES)
        chi.append(chi_square(mean, error, target, target_error))
        if k == 0:
            first = mean
        theta, fraction = gauss_newton(theta, g, r, target, np.hypot(error, target_error))
        path.append(np.asarray(theta))
        print(
            f"{seed} {k:2d} chi2 {chi[-1]:9.2f} count {fraction:.2f} {np.exp(path[-1])}", flush=True
        )
        state = liquid.equilibrate(theta, state, 200)
    late = np.exp(np.array(path[-N_LATE:]))
    theta = jnp.asarray(np.log(late.mean(axis=0)), theta.dtype)
    state = liquid.equilibrate(theta, liquid.first_state(theta, 2000 + seed), 1500)
    _, _, _, mean, error = measured(theta, state, N_TARGET)
    return {
        **dict(zip(liquid.TRUE, late.mean(axis=0).tolist(), strict=True)),
        "late_spread": late.std(axis=0, ddof=1).tolist(),
        "chi_square_start": chi[0],
        "chi_square": chi_square(mean, error, target, target_error),
        "path": np.exp(np.array(path)).tolist(),
        "r": (0.5 * (EDGES[1:] + EDGES[:-1])).tolist(),
        "g_start": first.tolist(),
        "g": mean.tolist(),
        "g_target": target.tolist(),
    }
