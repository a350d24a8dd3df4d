"""Time hippynn's training step; `training_speed.py` runs it in hippynn's own environment.

Usage: python hippynn_step.py DATA.npz RANK BATCH SECONDS THREADS

Prints one JSON line: structures per second (median over steps).
"""

import json
import sys
import time
import warnings

import numpy as np

warnings.filterwarnings("ignore")
path, rank, batch, seconds, threads = sys.argv[1], *(float(x) for x in sys.argv[2:])

import torch  # noqa: E402

torch.set_num_threads(int(threads))

import hippynn  # noqa: E402
from hippynn.graphs import inputs, networks, physics, targets  # noqa: E402

torch.manual_seed(0)
data = np.load(path)
species, positions = inputs.SpeciesNode(db_name="Z"), inputs.PositionsNode(db_name="R")
parameters = {
    "possible_species": [0, 1, 6, 8],
    "n_features": 64,
    "n_sensitivities": 20,
    "dist_soft_min": 0.85,
    "dist_soft_max": 5.0,
    "dist_hard_max": 5.5,
    "n_interaction_layers": 2,
    "n_atom_layers": 3,
}
kinds = {0: networks.Hipnn, 1: networks.HipnnVec, 2: networks.HipnnQuad}
network = kinds[int(rank)]("hipnn", (species, positions), module_kwargs=parameters)
energy = targets.HEnergyNode("energy", network)
forces = physics.GradientNode("forces", (energy, positions), sign=-1)
model = hippynn.graphs.GraphModule((species, positions), (energy.mol_energy, forces))
optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)


def step(index):
    numbers, places, energies, gradients = (torch.as_tensor(data[k][index]) for k in "ZREF")
    places.requires_grad_(True)
    predicted_energy, predicted_forces = model(numbers, places)
    value = ((predicted_energy - energies) ** 2).mean()
    value = value + ((predicted_forces - gradients) ** 2).mean()
    optimizer.zero_grad()
    value.backward()
    optimizer.step()


generator = np.random.default_rng(0)
pick = lambda: generator.integers(0, len(data["E"]), int(batch))
for _ in range(5):
    step(pick())
times = []
start = time.perf_counter()
while time.perf_counter() - start < seconds:
    begin = time.perf_counter()
    step(pick())
    times.append(time.perf_counter() - begin)
print(
    json.dumps(
        {
            "structures_per_s": batch / float(np.median(times)),
            "versions": {"hippynn": hippynn.__version__, "torch": torch.__version__},
        }
    )
)
