"""Floating-point operations of HIP-NN by rank and number of sensitivities, as XLA counts them.

    python benchmarks/hipnn_flops.py

Prints the table of docs/hip-nn.md: ten ethanol molecules of 9 atoms, 3 elements, other options at
their defaults. Counts, unlike timings, do not depend on the machine.
"""

import ase.build
import jax
import numpy as np

from jmlip.data import from_atoms
from jmlip.factory import make_model
from jmlip.graphs.batching import exact_bucket, pad_batch
from jmlip.graphs.frames import make_frame
from jmlip.potentials.evaluate import energies, evaluate
from jmlip.potentials.potential import initial_potential

CUTOFF, SPECIES = 5.0, (1, 6, 8)


def main() -> None:
    graph = ten_molecules()
    print("| `n_sensitivities` | `max_rank` | parameters | energy | forces | gradient of a loss |")
    print("|---|---|---|---|---|---|")
    for n_sensitivities in (20, 8):
        for rank in (0, 1, 2):
            cells = count(graph, n_sensitivities, rank)
            print(f"| {n_sensitivities} | {rank} | " + " | ".join(cells) + " |")


def ten_molecules():
    frame = make_frame(
        from_atoms(ase.build.molecule("CH3CH2OH")),
        species=SPECIES,
        cutoff=CUTOFF,
        reference_energies=(0.0, 0.0, 0.0),
    )
    frames = [frame] * 10
    return pad_batch(frames, exact_bucket(frames), cutoff=CUTOFF).graph


def count(graph, n_sensitivities: int, rank: int) -> list[str]:
    fields = {"species": SPECIES, "cutoff": CUTOFF, "r_high": 4.5}
    fields |= {"n_sensitivities": n_sensitivities, "max_rank": rank}
    model = make_model("hipnn", fields)
    potential = initial_potential(
        "hipnn", model, key=jax.random.key(0), reference_energies=np.zeros(3).tolist()
    )

    def energy(params, graph):
        return energies(potential.apply, params, graph)

    def forces(params, graph):
        return evaluate(potential.apply, params, graph)[:2]

    def loss(params, graph):
        return sum((x**2).sum() for x in forces(params, graph))

    found = [megaflop(f, potential.params, graph) for f in (energy, forces, jax.grad(loss))]
    return [f"{potential.n_parameters:,}", *(f"{number:.0f}" for number in found)]


def megaflop(function, *arguments) -> float:
    compiled = jax.jit(function).lower(*arguments).compile()
    return compiled.cost_analysis()["flops"] / 1e6


if __name__ == "__main__":
    main()
