"""Many small molecules as one batch, and one by one with the same functions, in one run.

    python benchmarks/batched_md.py experiments/acac/potentials/hipnn-S-seed0 --molecules 256

Molecules of 9 to 15 atoms (ASE's g2 set), NVE at 300 K, 0.25 fs, no frames but the first and last.
"One by one" runs some of them (`--sample`) with `simulate` and takes their mean; whole runs count
everything from the call to the end of the files, steps only what the summary counts, compilations
left out.
"""

import argparse
import tempfile
import warnings
from pathlib import Path
from time import perf_counter

import numpy as np
from ase.build import molecule
from ase.collections import g2

import jmlip
from jmlip.data import from_atoms
from jmlip.md.batch_simulate import replicate, simulate_batch
from jmlip.md.config import MDConfig
from jmlip.md.simulate import simulate


def molecules(n: int) -> list:
    all_of_them = [molecule(name) for name in g2.names]
    small = [m for m in all_of_them if 9 <= len(m) <= 15 and set(m.numbers) <= {1, 6, 8}]
    return [from_atoms(small[k % len(small)]) for k in range(n)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("potential", type=Path)
    parser.add_argument("--molecules", type=int, default=256)
    parser.add_argument("--sample", type=int, default=6)
    parser.add_argument("--steps", type=int, default=200)
    options = parser.parse_args()
    potential = jmlip.load_potential(options.potential)
    config = MDConfig(
        ensemble="nve",
        timestep_fs=0.25,
        n_steps=options.steps,
        temperature_K=300.0,
        every=options.steps,
    )
    starts, configs = replicate(molecules(options.molecules), config)
    warnings.simplefilter("ignore")  # the molecules are strange to the potential
    with tempfile.TemporaryDirectory() as name:
        folder, whole, steps = Path(name), [], []
        for k in np.linspace(0, options.molecules - 1, options.sample).astype(int):
            began = perf_counter()
            result = simulate(
                potential, starts[k], configs[k], folder / f"one{k}.xyz", progress=False
            )
            whole.append(perf_counter() - began)
            steps.append(result.seconds)
        began = perf_counter()
        batch = simulate_batch(potential, starts, configs, folder / "all.xyz", progress=False)
        took = perf_counter() - began
    rows = (("whole runs", np.mean(whole), took), ("steps", np.mean(steps), batch.seconds))
    print(f"{options.molecules} molecules, {batch.n_atoms} atoms, {options.steps} steps")
    print("| | one by one, s | batch, s | ratio |\n|---|---|---|---|")
    for name, one, many in rows:
        alone = options.molecules * float(one)
        print(f"| {name} | {alone:.1f} | {many:.1f} | {alone / many:.1f} |")


if __name__ == "__main__":
    main()
