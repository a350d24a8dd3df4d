"""The gradient of a loss on forces, in units of one evaluation of energy and forces.

    python benchmarks/force_loss.py [--kinds mace nequip ...] [--sizes S M]

The systems of `sizes_speed.py`: 20 molecules of acetylacetone in one graph, 216 atoms of silicon.
Both calls are timed in turn, so that what else the machine does falls on both; float32, median.
"""

import argparse
import time

import jax
import jax.numpy as jnp
import numpy as np
from sizes_speed import CUTOFF, FIELDS, crystal, molecules

from jmlip.data import species_of
from jmlip.factory import make_model
from jmlip.graphs.batching import exact_bucket, pad_batch
from jmlip.graphs.frames import make_frame
from jmlip.models.sizes import SIZES
from jmlip.potentials.evaluate import evaluate
from jmlip.potentials.potential import initial_potential


def ratio(kind: str, size: str, structures, seconds: float) -> tuple[float, float]:
    """Milliseconds of energy and forces, and the gradient of the loss in units of that."""
    species = species_of(structures)
    fields = {"species": list(species), "size": size, "cutoff": CUTOFF, **FIELDS.get(kind, {})}
    zeros = (0.0,) * len(species)
    potential = initial_potential(
        kind, make_model(kind, fields), key=jax.random.key(0), reference_energies=zeros
    )
    options = {"species": species, "cutoff": CUTOFF, "reference_energies": zeros}
    frames = [make_frame(structure, **options, dtype=np.float32) for structure in structures]
    batch = pad_batch(frames, exact_bucket(frames), cutoff=CUTOFF, dtype=np.float32)
    graph = jax.device_put(batch.graph)

    def loss(params):
        found = evaluate(potential.apply, params, graph)
        return jnp.mean(found.energy**2) + jnp.mean(found.forces**2)

    params = jax.tree.map(jnp.asarray, potential.params)
    calls = [jax.jit(lambda p: evaluate(potential.apply, p, graph)[:2]), jax.jit(jax.grad(loss))]
    times: list[list[float]] = [[], []]
    start = None
    while start is None or time.perf_counter() - start < seconds or len(times[0]) < 5:
        for call, found in zip(calls, times, strict=True):
            begin = time.perf_counter()
            jax.block_until_ready(call(params))
            if start is not None:
                found.append(time.perf_counter() - begin)
        start = start or time.perf_counter()
    force, gradient = (float(np.median(found)) for found in times)
    return 1.0e3 * force, gradient / force


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--kinds", nargs="+", default=["mace", "nequip"], choices=SIZES)
    parser.add_argument("--sizes", nargs="+", default=["S"])
    parser.add_argument("--seconds", type=float, default=5.0)
    options = parser.parse_args()
    print("| model | system | energy and forces, ms | gradient of the loss |\n|---|---|---|---|")
    for kind in options.kinds:
        for size in options.sizes:
            for name, structures in (("molecules", molecules()), ("silicon", crystal())):
                force, times = ratio(kind, size, structures, options.seconds)
                print(f"| {kind} {size} | {name} | {force:.1f} | {times:.2f} x |", flush=True)


if __name__ == "__main__":
    main()
