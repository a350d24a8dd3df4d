# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Differentiable dynamics
#
# A trajectory is a pure function of the potential's parameters and of the initial state, so what is
# seen in it can be differentiated, and parameters be learned from observations. Three ways, on
# systems small enough to know the answer:
#
# 1. **through the trajectory**: few states kept (checkpoints), or none (run backwards to the bit);
# 2. **around it**: reweight samples, where trajectories are chaotic;
# 3. **at its end**: a minimum is differentiated by the implicit function theorem.

# %%
from typing import NamedTuple

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

from jmlip.md import reweighting
from jmlip.md.checkpointed import checkpointed_scan
from jmlip.md.integrators import make_langevin, make_nve
from jmlip.md.minimum import minimize
from jmlip.md.reversible import reversible_scan
from jmlip.md.state import Evaluation

# %% [markdown]
# ## A system
#
# Three atoms in a row, each bound to its site and by quartic springs to its neighbors. An
# integrator asks for one function: positions, cell, neighbor list to energy, forces, virial. (Of a
# trained potential `jmlip.md.forces.make_force_fn` makes it.) There are no lists here, hence a
# placeholder.


# %%
class NoNeighbors(NamedTuple):
    status: jax.Array


LISTS = (NoNeighbors(jnp.zeros((), jnp.uint8)),)
MASS = jnp.ones((3, 1))


def energy(stiffness, positions):
    bonds = jnp.sum(jnp.diff(positions, axis=0) ** 2)
    return 0.5 * jnp.sum(positions**2) + stiffness * (bonds + 0.2 * bonds**2)


def forces_of(stiffness):
    def force_fn(positions, cell, neighbors):
        value, gradient = jax.value_and_grad(energy, argnums=1)(stiffness, positions)
        return Evaluation(value, -gradient, jnp.zeros((3, 3)), neighbors)

    return force_fn


def start(integrator, stretch=1.0):
    places = stretch * jnp.array([[0.3, 0.0, 0.1], [-0.2, 0.2, 0.0], [0.0, -0.3, 0.2]])
    cell, key = jnp.zeros((3, 3)), jax.random.key(0)
    return integrator.init(places, jnp.zeros((3, 3)), MASS, cell, LISTS, key)


# %% [markdown]
# ## Through the trajectory
#
# Where is the first atom along x, and how does that depend on the springs? Reverse mode keeps what
# every step computed, unless told otherwise: `checkpointed_scan` keeps about $2\sqrt T$ states and
# computes the rest again; `reversible_scan` keeps the last state and goes back from there. It can,
# since its positions and momenta are whole numbers of tiny quanta, to which each step adds a number
# that depends only on what it leaves alone: to subtract it again is exact.

# %%
DT, T = 0.05, 400


def place(stiffness, n_steps, method):
    forces = forces_of(stiffness)
    integrator = make_nve(forces, dt=DT)
    state = start(integrator)
    observe = lambda state: state.dynamics.position[0, 0]
    match method:
        case "checkpointed":
            return checkpointed_scan(integrator.step, state, n_steps, observe)[1]
        case "reversible":
            return reversible_scan(forces, state, n_steps, observe, dt=DT)[1]
        case "plain":
            advance = lambda state, _: (state := integrator.step(state), observe(state))
            return jax.lax.scan(advance, state, length=n_steps)[1]


@jax.jit
def central_difference(stiffness, step=1e-2):
    there, back = (place(stiffness + sign * step, T, "plain") for sign in (1, -1))
    return (there - back) / (2 * step)


tangent = jax.jit(lambda k: jax.jvp(lambda k: place(k, T, "plain"), (k,), (1.0,)))
values, slopes = tangent(1.0)
ends = {
    method: jax.jit(jax.grad(lambda k, method=method: place(k, T, method)[-1]))(1.0)
    for method in ("checkpointed", "reversible")
}
print("at the end:", {name: f"{float(end):.4f}" for name, end in ends.items()})
print("central difference:", f"{float(central_difference(1.0)[-1]):.4f}")

time = DT * np.arange(1, T + 1)
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3), layout="constrained")
left.plot(time, values)
left.set(xlabel="time", ylabel="x of the first atom")
right.plot(time, slopes, label="derivative")
right.plot(time[::8], central_difference(1.0)[::8], "k.", ms=4, label="central difference")
right.plot(time[-1], ends["reversible"], "C3o", label="reversible, at the end")
right.set(xlabel="time", ylabel="d x / d stiffness")
right.legend()

# %% [markdown]
# The derivative grows with time: a phase is a frequency times time. In a chaotic system it would
# grow exponentially; that is no fault of the method, the trajectory is that sensitive.
#
# What each program needs for temporary arrays, as its compiler says:

# %%
lengths = [50, 400, 3200]
figure, axes = plt.subplots(figsize=(4.5, 3), layout="constrained")
for method in ("plain", "checkpointed", "reversible"):
    memory = []
    for n_steps in lengths:
        loss = lambda k, n=n_steps, method=method: place(k, n, method)[-1]
        program = jax.jit(jax.grad(loss)).lower(1.0).compile()
        memory.append(program.memory_analysis().temp_size_in_bytes / 1e3)
    axes.loglog(lengths, memory, "o-", label=method)
    print(f"{method:13s}", [f"{kB:.0f} kB" for kB in memory])
axes.set(xlabel="steps", ylabel="memory (kB)")
axes.legend()

# %% [markdown]
# With a network for a potential a step computes megabytes, and the difference decides whether
# the gradient exists at all.
#
# ## Around it: reweighting
#
# Averages over an ensemble need no path. Samples of one ensemble, weighted by
# $w \propto e^{-(U_\theta - U_0)/kT}$, are samples of its neighbors. Here: which springs give the mean
# squared bond that was observed? Newton's method on the reweighted average, new samples for every
# step.

# %%
KT = 0.1
DRAWS, EVERY = 400, 10


@jax.jit
def sample(stiffness, key):
    integrator = make_langevin(forces_of(stiffness), dt=0.1, kT=KT, friction=1.0)

    def some(state, _):
        state = jax.lax.fori_loop(0, EVERY, lambda _, s: integrator.step(s), state)
        return state, state.dynamics.position

    def replica(key):
        cell = jnp.zeros((3, 3))
        state = integrator.init(jnp.zeros((3, 3)), jnp.zeros((3, 3)), MASS, cell, LISTS, key)
        return jax.lax.scan(some, state, length=DRAWS)[1][DRAWS // 10 :]

    return jax.vmap(replica)(jax.random.split(key, 16)).reshape(-1, 3, 3)


@jax.jit
@jax.value_and_grad
def mean_bond(stiffness, samples, reference):
    energies = lambda k: jax.vmap(lambda x: energy(k, x))(samples)
    weights = reweighting.weights(energies(stiffness), energies(reference), kT=KT)
    squares = jnp.sum(jnp.diff(samples, axis=1) ** 2, axis=(1, 2))
    return reweighting.average(weights, squares)


keys = jax.random.split(jax.random.key(1), 9)
observed, _ = mean_bond(2.0, sample(2.0, keys[0]), 2.0)  # as if measured; the answer is 2
stiffness, path = 0.7, [0.7]
for key in keys[1:]:
    found, slope = mean_bond(stiffness, sample(stiffness, key), stiffness)
    # Newton on logarithms, which are nearly straight lines of each other
    change = jnp.log(observed / found) * found / (stiffness * slope)
    stiffness = float(stiffness * jnp.exp(jnp.clip(change, -0.5, 0.5)))
    path.append(stiffness)
print("stiffness:", [f"{value:.2f}" for value in path])

# %% [markdown]
# ## At its end: a minimum
#
# Pull the first atom with a force along x. Where the atoms come to rest depends on the springs, by
# the implicit function theorem: no derivative of the search is taken.


# %%
def at_rest(stiffness, pull=0.5):
    loaded = lambda x: energy(stiffness, x) - pull * x[0, 0]
    return minimize(loaded, jnp.zeros((3, 3)), tolerance=1e-5).position[:, 0]


stiffnesses = np.linspace(0.2, 3.0, 15)
rest, slope = jax.jit(jax.vmap(lambda k: jax.jvp(at_rest, (k,), (1.0,))))(jnp.asarray(stiffnesses))
figure, axes = plt.subplots(figsize=(4.5, 3), layout="constrained")
for atom in range(3):
    axes.plot(stiffnesses, rest[:, atom], f"C{atom}-", label=f"atom {atom}")
    for k, x, s in list(zip(stiffnesses, rest[:, atom], slope[:, atom]))[::4]:
        axes.plot([k - 0.15, k + 0.15], [x - 0.15 * s, x + 0.15 * s], "k-", lw=2)
axes.set(xlabel="stiffness", ylabel="x at rest", title="curves, and their derivatives in black")
axes.legend()

# %% [markdown]
# `docs/differentiable-md.md` says which method for which question, and
# `experiments/differentiable_md` learns a pair potential from the radial distribution function of a
# liquid, and the depth of its well from a diffusion constant.
