"""Forces of every model at every size: parameters, and microseconds for each atom.

    python benchmarks/sizes_speed.py [--kinds mace hipnn ...] [--sizes S M L] [--json FILE]

Two systems that it makes itself: acetylacetone, 20 molecules in one graph, each alone, cutoff 5
angstrom as in `experiments/acac`; silicon, 216 atoms in a periodic cell, cutoff 5 angstrom. Energy
and forces, float32, parameters at random; the median call of each in microseconds for an atom.
"""

import argparse
import json
import time
from pathlib import Path

import jax
import numpy as np
from ase import Atoms
from ase.build import bulk

from jmlip.core.structure import Structure
from jmlip.data import from_atoms, species_of
from jmlip.factory import make_model
from jmlip.graphs.batching import exact_bucket, pad_batch
from jmlip.graphs.frames import make_frame
from jmlip.models.sizes import SIZES
from jmlip.potentials.evaluate import evaluate
from jmlip.potentials.potential import initial_potential

CUTOFF = 5.0
FIELDS = {"hipnn": {"r_high": 4.25}}  # below the cutoff
# acetylacetone as an enol, optimized with GFN2-xTB
SYMBOLS = "CCCOCOCHHHHHHHH"
POSITIONS = np.array(
    [
        [-1.26, 0.36, 0.00], [0.00, -0.33, 0.00], [1.23, 0.35, 0.00], [-1.28, 1.68, 0.00],
        [2.51, -0.43, 0.00], [1.25, 1.61, 0.00], [-2.55, -0.39, 0.00], [0.01, -1.41, 0.00],
        [-3.13, -0.09, 0.88], [-3.13, -0.09, -0.88], [-2.40, -1.47, 0.00], [-0.33, 1.98, 0.00],
        [3.10, -0.15, 0.87], [3.10, -0.15, -0.87], [2.33, -1.51, 0.00],
    ]
)  # fmt: skip


def molecules() -> list[Structure]:
    rng = np.random.default_rng(0)
    frames = [POSITIONS + rng.normal(scale=0.03, size=POSITIONS.shape) for _ in range(20)]
    return [from_atoms(Atoms(SYMBOLS, positions)) for positions in frames]


def crystal() -> list[Structure]:
    atoms = bulk("Si", cubic=True).repeat(3)
    atoms.rattle(0.05, seed=0)
    return [from_atoms(atoms)]


def microseconds(kind: str, size: str, structures: list[Structure], seconds: float):
    """Of energy and forces, for each atom; and the number of parameters."""
    species = species_of(structures)
    fields = {"species": list(species), "size": size, "cutoff": CUTOFF, **FIELDS.get(kind, {})}
    model = make_model(kind, fields)
    zeros = (0.0,) * len(species)
    potential = initial_potential(kind, model, key=jax.random.key(0), reference_energies=zeros)
    options = {"species": species, "cutoff": CUTOFF, "reference_energies": zeros}
    frames = [make_frame(structure, **options, dtype=np.float32) for structure in structures]
    bucket = exact_bucket(frames)
    batch = pad_batch(frames, bucket, cutoff=CUTOFF, dtype=np.float32)
    graph = jax.device_put(batch.graph)
    call = jax.jit(lambda params: evaluate(potential.apply, params, graph)[:2])
    params = jax.tree.map(jax.numpy.asarray, potential.params)
    jax.block_until_ready(call(params))
    times, start = [], time.perf_counter()
    while time.perf_counter() - start < seconds or len(times) < 5:
        begin = time.perf_counter()
        jax.block_until_ready(call(params))
        times.append(time.perf_counter() - begin)
    n_atoms = sum(structure.n_atoms for structure in structures)
    return float(np.median(times)) / n_atoms * 1e6, potential.n_parameters


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--kinds", nargs="+", choices=[*SIZES], default=[*SIZES], metavar="KIND")
    parser.add_argument("--sizes", nargs="+", choices=["S", "M", "L"], default=["S", "M", "L"])
    parser.add_argument("--seconds", type=float, default=2.0, help="of timing, each")
    parser.add_argument("--json", type=Path, help="write the rows here too")
    options = parser.parse_args()
    rows = []
    print("| model | parameters | acetylacetone, us/atom | silicon, us/atom |", flush=True)
    print("|---|---|---|---|")
    for kind in options.kinds:
        for size in options.sizes:
            molecule, n = microseconds(kind, size, molecules(), options.seconds)
            solid, _ = microseconds(kind, size, crystal(), options.seconds)
            rows.append(
                {"kind": kind, "size": size, "parameters": n, "acac": molecule, "Si": solid}
            )
            print(f"| {kind} {size} | {n:,} | {molecule:.1f} | {solid:.1f} |", flush=True)
            jax.clear_caches()
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
