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
# # From data to a trajectory
#
# In a dozen cells: label some structures, look at them, fit a small neural-network potential,
# check it, run molecular dynamics with it, and save it. Along the way you see that a potential is
# nothing but a **pure function of parameters and atoms**, so that everything JAX does to functions
# (differentiate, compile, vectorize) it does to potentials.
#
# The system is the nanoalloy Cu-Au, clusters of 13 atoms. The energies come from ASE's effective
# medium theory, so that everything is made on the spot, in seconds. With your own data, start at
# *Read*.
#
# This file is a plain Python script in the percent format: open it as a notebook in JupyterLab or
# VS Code through jupytext, or convert it by
# `jupytext --to ipynb notebooks/from_data_to_trajectory.py`.

# %%
import csv
import tempfile
from pathlib import Path

import ase.cluster
import jax
import matplotlib.pyplot as plt
import numpy as np
from ase.calculators.emt import EMT
from ase.data import chemical_symbols
from ase.visualize.plot import plot_atoms

import jmlip
from jmlip import data

folder = Path(tempfile.mkdtemp())  # everything this notebook writes
rng = np.random.default_rng(0)

# %% [markdown]
# ## Make data
#
# Icosahedra with random occupations, strained and rattled. That explores energies well enough for
# a lesson; for research, sample the ensemble you are interested in.


# %%
def labelled_cluster():
    atoms = ase.cluster.Icosahedron("Cu", 2)
    atoms.symbols[rng.random(len(atoms)) < 0.5] = "Au"
    atoms.positions *= rng.uniform(0.98, 1.12)
    atoms.positions += rng.normal(scale=rng.uniform(0.02, 0.16), size=atoms.positions.shape)
    atoms.calc = EMT()
    atoms.get_forces()
    return data.from_atoms(atoms)


data.write(folder / "clusters.xyz", (labelled_cluster() for _ in range(300)))

# %% [markdown]
# ## Read
#
# `read` turns any file (extended XYZ, ANI's HDF5, MD17's npz, whatever ASE knows) into
# `Structure`s: NumPy arrays in eV and angstrom. A label that a frame lacks is `None`.

# %%
structures = data.read(folder / "clusters.xyz")
first = structures[0]
print(len(structures), "structures; the first:", first.formula, first.positions.shape)
print(f"energy {first.energy:.3f} eV, largest force component {abs(first.forces).max():.2f} eV/Å")

figure, panels = plt.subplots(1, 6, figsize=(11, 2))
for axes, structure in zip(panels, structures, strict=False):
    plot_atoms(data.to_atoms(structure), axes)
    axes.set_title(f"{structure.formula}  {structure.energy:.1f} eV", fontsize=9)
    axes.axis("off")

# %% [markdown]
# ## Look before you train
#
# `curate` lists what is missing, repeated, or out of line, and tells from the data alone whether
# the forces are $-\partial E/\partial R$ or, as in some published sets, $+\partial E/\partial R$.

# %%
print(data.curate(structures))

# %% [markdown]
# Total energies consist mostly of what the *elements* contribute whatever their arrangement. These
# **reference energies** are subtracted in float64 before training and added back in float64 after
# prediction, so that the network, in float32, sees only the interaction energy.

# %%
split = data.split_random(len(structures), {"train": 250, "validation": 50}, seed=0)
train = data.Subset(structures, split["train"])
validation = data.Subset(structures, split["validation"])

species = data.species_of(train)
references = data.reference_energies_least_squares(train, species)
statistics = data.compute_statistics(
    train, cutoff=5.5, species=species, reference_energies=references
)
for number, energy in zip(species, references, strict=True):
    print(f"{chemical_symbols[number]} contributes {energy:.3f} eV")
print(
    f"the rest spreads by {statistics.energy_std:.2f} eV, forces by {statistics.force_rms:.2f} eV/Å"
)

# %% [markdown]
# ## A model is a function of a graph
#
# HIP-NN with tensor sensitivities of rank 1, small. The radial functions start between the
# shortest distance in the data and somewhat below the cutoff.

# %%
from jmlip.factory import make_model
from jmlip.potentials.potential import initial_potential

model = make_model(
    "hipnn",
    {
        "species": species,
        "cutoff": 5.5,
        "r_low": 0.95 * statistics.shortest_distance,
        "r_high": 4.7,
        "n_features": 24,
        "n_sensitivities": 8,
        "n_interactions": 1,
        "n_onsite": 2,
        "max_rank": 1,
    },
)
potential = initial_potential(
    "hipnn",
    model,
    key=jax.random.key(0),
    reference_energies=references,
    statistics=statistics.to_dict(),
)
print(f"{potential.n_parameters} parameters, among them those of the interaction layer:")
print(jax.tree.map(np.shape, potential.params["interaction_1"]))

# %% [markdown]
# The model sees pair vectors, never positions or cells. `make_frame` finds the neighbors of one
# structure, `pad_batch` puts some structures side by side into one graph of fixed size, and
# `potential.apply(params, graph)` gives the energy of every atom.

# %%
from jmlip.graphs.batching import exact_bucket, pad_batch
from jmlip.graphs.frames import make_frame

frame = make_frame(first, species=species, cutoff=potential.cutoff, reference_energies=references)
graph = pad_batch([frame], exact_bucket([frame]), cutoff=potential.cutoff).graph
output = jax.jit(potential.apply)(potential.params, graph)
print("atomic energies before training:", output.energy[:4], "... eV")

# %% [markdown]
# **Forces by hand.** `make_position_energy` composes the model with a neighbor list that lives on
# the device, into an energy as a function of positions: let JAX differentiate it. The library's
# `evaluate` does the same at less cost, because one derivative with respect to the pair vectors
# gives forces, virial and stress together. The two must agree to rounding.

# %%
from jmlip.graphs.device_neighbors import allocate
from jmlip.potentials.evaluate import evaluate
from jmlip.potentials.positions import make_position_energy

energy_of = make_position_energy(potential)
positions, cell = np.float32(first.positions), np.float32(first.cell)
neighbors = allocate(positions, cell, (False,) * 3, cutoff=potential.cutoff, skin=0.5)
index = potential.species_index(first)

gradient = jax.jit(jax.grad(energy_of, argnums=2))
by_hand = -gradient(potential.params, index, positions, cell, neighbors)
evaluation = jax.jit(evaluate, static_argnums=0)(potential.apply, potential.params, graph)
print(f"largest difference {abs(by_hand - evaluation.forces).max():.1e} eV/Å", end=" ")
print(f"of forces up to {abs(by_hand).max():.1e} eV/Å")

# %% [markdown]
# ## Train
#
# `fit` takes a potential and returns a better one. Loss: mean squares of energies (eV) and force
# components (eV/Å). Muon with a cosine schedule reaches a good fit in few epochs.

# %%
from jmlip.core.config import from_dict
from jmlip.training.config import TrainingConfig
from jmlip.training.loop import fit

config = from_dict(
    TrainingConfig,
    {
        "loss": {"energy": {"weight": 0.1}, "forces": {"weight": 1.0}},
        "optimizer": {"name": "muon", "learning_rate": 0.01, "schedule": "cosine"},
        "training": {"batch_size": 10, "max_epochs": 50, "ema_decay": 0.99},
    },
)
potential = fit(potential, train, validation, config, folder / "run", progress=False)
summary = potential.provenance["training"]
print(f"{summary['steps']} steps, {summary['compilations']} compilations,", end=" ")
print(f"best on validation after epoch {summary['best_epoch']}")

# %% [markdown]
# ## Is it any good?
#
# `fit` wrote one line per epoch to `metrics.csv`. The parity plots compare predicted and true
# values on structures the network was not trained on.

# %%
from jmlip.training.evaluation import evaluate_set

with (folder / "run" / "metrics.csv").open() as file:
    epochs = list(csv.DictReader(file))
result = evaluate_set(potential, validation)

figure, (left, middle, right) = plt.subplots(1, 3, figsize=(11, 3.2), layout="constrained")
left.semilogy([float(row["validation_forces_rmse_meV_A"]) for row in epochs])
left.set(xlabel="epoch", ylabel="force RMSE (meV/Å)", title="validation")
middle.plot(result.energy_label, result.energy, "o", ms=3)
middle.set(xlabel="EMT (eV)", ylabel="HIP-NN (eV)", title="energies")
right.plot(result.forces_label.ravel(), result.forces.ravel(), ".", ms=2)
right.set(xlabel="EMT (eV/Å)", ylabel="HIP-NN (eV/Å)", title="force components")
for axes, true in ((middle, result.energy_label), (right, result.forces_label)):
    axes.axline((true.min(),) * 2, (true.max(),) * 2, color="gray", lw=0.8, zorder=0)
print(f"energy MAE {result.energy_per_atom_mae_meV:.2f} meV/atom,", end=" ")
print(f"force RMSE {result.forces_rmse_meV_A:.0f} meV/Å")

# %% [markdown]
# ## Molecular dynamics
#
# From the structure of lowest energy, at constant energy, with velocities drawn at 600 K, of which
# about half will go into potential energy. The loop, neighbor list included, is one compiled
# program; the host only writes frames. In float64 the total energy shows what the integrator does,
# not what rounding does.

# %%
from jmlip.md.config import MDConfig
from jmlip.md.simulate import simulate

start = min(structures, key=lambda structure: structure.energy)
md = MDConfig(
    ensemble="nve", timestep_fs=2.0, n_steps=5000, temperature_K=600, every=10, dtype="float64"
)
dynamics = simulate(potential, start, md, folder / "nve.xyz", progress=False)
print(dynamics.summary())

# %%
trajectory = data.read(folder / "nve.xyz")
observable = lambda name: np.array([structure.info[name] for structure in trajectory])
time_ps = 1e-3 * observable("time_fs")
total, kinetic = observable("conserved_energy"), observable("kinetic_energy")

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3), layout="constrained")
for name, energy in (("kinetic", kinetic), ("potential", total - kinetic)):
    left.plot(time_ps, 1000 * (energy - energy.mean()) / start.n_atoms, lw=0.8, label=name)
left.set(xlabel="time (ps)", ylabel="energy (meV/atom)", title="what is exchanged")
left.legend()
right.plot(time_ps, 1000 * (total - total.mean()) / start.n_atoms, lw=0.8)
right.set(xlabel="time (ps)", ylabel="total energy (meV/atom)", title="what remains of their sum")
print(f"the total energy fluctuates by {1000 * total.std() / start.n_atoms:.3f} meV/atom,", end=" ")
print(f"the kinetic energy by {1000 * kinetic.std() / start.n_atoms:.1f} meV/atom")

# %% [markdown]
# Velocity Verlet conserves an energy near the true one, whose ripple therefore shrinks with the
# square of the time step. Try `timestep_fs=1.0`: the fluctuation falls to a quarter.
#
# ## Everything that speaks ASE
#
# `Calculator` gives the potential to ASE's optimizers, phonons, nudged elastic bands and so on.
# Here the cluster breathes; the curve is one the network has never seen as such.

# %%
from jmlip.interop.ase import Calculator

atoms = data.to_atoms(start)
scales = np.linspace(0.95, 1.12, 18)
curves = {"EMT": [], "HIP-NN": []}
for name, calculator in (("EMT", EMT()), ("HIP-NN", Calculator(potential))):
    for scale in scales:
        image = atoms.copy()
        image.positions *= scale
        image.calc = calculator
        curves[name].append(image.get_potential_energy())

figure, axes = plt.subplots(figsize=(4.5, 3), layout="constrained")
axes.plot(scales, curves["EMT"], "k-", label="EMT")
axes.plot(scales, curves["HIP-NN"], "o", ms=4, label="HIP-NN")
axes.set(xlabel="scale of the positions", ylabel="energy (eV)")
axes.legend()
deviation = np.abs(np.subtract(curves["EMT"], curves["HIP-NN"])).max() / len(atoms)
print(f"largest deviation {1000 * deviation:.1f} meV/atom")

# %% [markdown]
# ## Save and load
#
# A potential is a directory of JSON and safetensors, no pickle: safe to load from a stranger. It
# carries its reference energies, what it was trained on, and how.

# %%
from jmlip.potentials.potential import save_potential

save_potential(potential, folder / "cu-au")
loaded = jmlip.load_potential(folder / "cu-au")
(again,), (before,) = loaded.predict([start]), potential.predict([start])
print(sorted(path.name for path in (folder / "cu-au").iterdir()))
print("same energy after loading:", again.energy == before.energy)

# %% [markdown]
# The command line does the same with the directory: `jmlip info`, `jmlip evaluate`, `jmlip md`,
# `jmlip relax`. Where to go next: `docs/quickstart.md` for the commands, `docs/training.md` for all
# options of a fit, `docs/hip-nn.md` for the equations behind the network, `docs/api.md` for the
# other pure functions (Hessian-vector products, atomic virials, neighbor lists under `jit`).
