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
# # Two time steps for a molecule
#
# Aspirin, and a *pair* of models that were trained together: a small one for what varies fast, as
# bonds that stretch, and a large one for the rest. Molecular dynamics evaluates the large one once
# in several small steps (r-RESPA). The potentials are those of the
# [study](../experiments/mts_molecule/README.md), which says how they were trained, how accurate
# they are, and how much faster dynamics gets.

# %%
from pathlib import Path
from tempfile import mkdtemp

import matplotlib.pyplot as plt
import numpy as np

import jmlip
from jmlip.data.trajectory_reading import read_trajectory
from jmlip.factory import split_pair
from jmlip.md.config import MDConfig
from jmlip.md.simulate import simulate

ROOT = Path(jmlip.__file__).parents[1]
pair = jmlip.load_potential(ROOT / "experiments" / "mts_molecule" / "potentials" / "pair-seed0")
fast, slow = split_pair(pair)
for name, part in (("pair", pair), ("small", fast), ("large", slow)):
    print(f"{name}: {part.n_parameters} parameters, cutoff {part.cutoff} angstrom")

aspirin = jmlip.read(ROOT / "notebooks" / "aspirin.xyz")[0]  # at a minimum of the pair
folder = Path(mkdtemp())


# %% [markdown]
# ## One run, with one or two time steps
#
# `n_inner` small steps go into each time step, so the time step is `n_inner` times 0.5 fs. A run is
# 200 fs long, at constant energy, from the same velocities.

# %%
SMALL_FS, LENGTH_FS = 0.5, 200.0


def run(n_inner, every_fs=4.0):
    timestep = n_inner * SMALL_FS
    config = MDConfig(
        ensemble="nve",
        timestep_fs=timestep,
        n_steps=round(LENGTH_FS / timestep),
        temperature_K=600.0,  # half of it goes into the positions
        every=max(1, round(every_fs / timestep)),
        n_inner=n_inner,
        seed=1,
    )
    path = folder / f"n{n_inner}-{every_fs}.h5md"
    simulate(pair, aspirin, config, path, progress=False)
    return read_trajectory(path)


# %% [markdown]
# ## Which forces are slow?
#
# A frame every 0.5 fs, and the forces of both parts in each. The large part's should be small, and
# should vary slowly: what it has beyond the dashed line varies within 8 fs, too fast for an outer
# step of 4 fs, the half of it.

# %%
trajectories = {1: run(1, every_fs=SMALL_FS)}
frames = list(trajectories[1].structures())
forces = {
    name: np.stack([p.forces for p in part.predict(frames)])
    for name, part in (("small", fast), ("large", slow))
}
whole = forces["small"] + forces["large"]
rms = {name: np.sqrt(np.mean(values**2)) for name, values in forces.items()}
share = rms["large"] / np.sqrt(np.mean(whole**2))
print(f"RMS of the large part's forces over that of all: {share:.3f}")

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3), layout="constrained")
for name, values in forces.items():
    left.plot(SMALL_FS * np.arange(len(values)), values[:, 0, 0], label=f"{name} part")
    power = np.abs(np.fft.rfft(values - values.mean(axis=0), axis=0)) ** 2
    frequency = np.fft.rfftfreq(len(values), SMALL_FS)
    right.semilogy(frequency, power.sum(axis=(1, 2)), label=f"{name} part")
left.set(xlabel="time, fs", ylabel="force on an atom along x, eV/Å")
right.axvline(1 / 8, color="0.5", ls="--", lw=1)
right.set(xlabel="frequency, 1/fs", ylabel="power of the forces", xlim=(0, 0.3))
left.legend()
right.legend()

# %% [markdown]
# ## How long may the outer step be?
#
# The energy must not drift, and its error should stay that of the small step. Where the outer step
# comes near half the period of a stiff bond, two time steps resonate with it: O-H has a period of
# 9 fs, so 4 fs are too long.

# %%
figure, axes = plt.subplots(figsize=(6, 3), layout="constrained")
trajectories |= {n: run(n) for n in (4, 8)}
for n_inner, trajectory in trajectories.items():
    energy = trajectory.observables["conserved_energy"]
    per_atom = 1000.0 * (energy - energy[0]) / aspirin.n_atoms
    label = f"n = {n_inner}, {n_inner * SMALL_FS:g} fs"
    axes.plot(1000.0 * trajectory.times_ps, per_atom, label=label)
    print(f"n = {n_inner}: energy error {per_atom.std():.3f} meV/atom")
axes.set(xlabel="time, fs", ylabel="total energy, meV/atom")
axes.legend()

# %% [markdown]
# ## What it saves
#
# With c the cost of the small part relative to the large one, n small steps cost as much as
# $n c + 1$ steps of the large model instead of $n$: the speed-up over the large model alone is
# $1 / (c + 1/n)$, at most $1/c$.

# %%
for cost in (0.163, 0.05):
    print(f"c = {cost}:", {n: round(1 / (cost + 1 / n), 2) for n in (2, 4, 6, 8)})

# %% [markdown]
# On the command line the same is
#
# ```bash
# jmlip md pair/potential aspirin.xyz --n-inner 4 --timestep-fs 2 --ensemble langevin \
#     --temperature-K 300 --steps 20000 --out run.h5md
# ```
#
# Next: [how to train a pair](../docs/pairs.md), and [the liquid](liquid_water.py).
