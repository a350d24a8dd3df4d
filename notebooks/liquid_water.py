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
# # A liquid with two time steps
#
# Water from a lattice of molecules, with the potentials of the
# [study](../experiments/mts_water/README.md): melted with the small part of a pair, which costs an
# eighth of the large one; then sampled with the pair and two time steps. The study has longer runs,
# errors, and what goes wrong with outer steps that are too long.

# %%
from pathlib import Path
from tempfile import mkdtemp

import matplotlib.pyplot as plt
import numpy as np
from ase import Atoms
from ase.build import molecule

import jmlip
from jmlip.analysis.radial import radial_distributions
from jmlip.data import from_atoms
from jmlip.data.trajectory_reading import read_trajectory
from jmlip.factory import split_pair
from jmlip.md.config import MDConfig
from jmlip.md.simulate import simulate

STUDY = Path(jmlip.__file__).parents[1] / "experiments" / "mts_water"
pair = jmlip.load_potential(STUDY / "potentials" / "pair-seed0")
small, _ = split_pair(pair)
folder = Path(mkdtemp())

# %% [markdown]
# ## A start
#
# Twenty-seven molecules, each turned at random, at the density of water.

# %%
N, SPACING, SEED = 3, 3.105, 0  # molecules along an edge, angstrom
rng = np.random.default_rng(SEED)
atoms = Atoms(cell=N * SPACING * np.eye(3), pbc=True)
for site in np.ndindex(N, N, N):
    water = molecule("H2O")
    water.euler_rotate(*rng.uniform(0.0, 360.0, size=3), center="COM")
    water.translate(SPACING * np.array(site) - water.get_center_of_mass())
    atoms += water
start = from_atoms(atoms)
print(start.formula, f"{atoms.get_masses().sum() / atoms.get_volume() * 1.66054:.3f} g/cm3")


# %% [markdown]
# ## Melt with the small part, sample with both
#
# The small part is a potential like any other. `n_inner` of the second run puts four of its steps
# into each step of the pair.


# %%
def run(potential, structure, name, **fields):
    config = MDConfig(ensemble="langevin", temperature_K=330.0, seed=SEED, **fields)
    return simulate(potential, structure, config, folder / f"{name}.h5md", progress=False)


melted = run(small, start, "small", timestep_fs=0.5, n_steps=800, every=20)
print(melted.summary())
sampled = run(pair, melted.structure, "pair", timestep_fs=2.0, n_inner=4, n_steps=60, every=3)
print(sampled.summary())

# %% [markdown]
# ## What it looks like
#
# The distributions of distances in the second half of the first run, and in all of the second.
# Both are short: the study has 5 ps of each, and errors.

# %%
OXYGEN, HYDROGEN = 8, 1
pairs = {"O-O": (OXYGEN, OXYGEN), "O-H": (OXYGEN, HYDROGEN)}
figure, panels = plt.subplots(1, 2, figsize=(9, 3), layout="constrained")
for name, skip_ps in (("small", 0.2), ("pair", 0.0)):
    frames = read_trajectory(folder / f"{name}.h5md").select(skip_ps=skip_ps).structures()
    found = radial_distributions(frames, list(pairs.values()), r_max=4.6, n_bins=70)
    for axes, (label, elements) in zip(panels, pairs.items(), strict=True):
        axes.plot(found[elements].distance, found[elements].value, label=name)
        axes.set(xlabel=f"{label} distance, Å", ylabel="g(r)", ylim=(0, 4))
panels[0].legend()
near = found[pairs["O-O"]]
first = near.distance[np.argmax(near.value)]
print(f"first O-O peak of the pair at {first:.2f} angstrom")

# %% [markdown]
# Next: [how pairs are trained and run](../docs/pairs.md), [what the choice of the outer step
# does](two_time_steps.py), `jmlip analyse --rdf --msd` for longer runs.
