"""Milliseconds to renew the neighbor list of argon under `jit`: all pairs tried, or bins.

    python benchmarks/neighbors_speed.py [--edges 4 8 ...] [--seconds S] [--json FILE]

Atoms at the density of solid argon on a rattled cubic lattice in a periodic cell, reach (cutoff and
skin) 5.5 angstrom, float32. Every call builds the list; the two alternate, and the fastest call of
each counts, with compilation left out. "allocate" is the list made on the host, at the second call;
"used" is what `allocate` chooses.
"""

import argparse
import json
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from jmlip.graphs.bins import NO_BINS, choose_bins
from jmlip.graphs.device_neighbors import DeviceNeighbors, allocate, update
from jmlip.graphs.search import reciprocal

CUTOFF, SKIN = 5.0, 0.5
SPACING = 3.314  # angstrom; of a cubic lattice with the density of argon at 4 K
PBC = (True, True, True)


def argon(edge: int) -> tuple[np.ndarray, np.ndarray]:
    """Positions and cell of edge ** 3 atoms."""
    sites = np.stack(np.unravel_index(np.arange(edge**3), (edge,) * 3), axis=1)
    rattle = np.random.default_rng(0).normal(scale=0.3, size=sites.shape)
    cell = SPACING * edge * np.eye(3)
    return (SPACING * sites + rattle).astype(np.float32), cell.astype(np.float32)


def renew(positions: np.ndarray, cell: np.ndarray, listed: DeviceNeighbors) -> DeviceNeighbors:
    return update(positions, cell, listed, pbc=PBC, cutoff=CUTOFF, skin=SKIN)


def fastest(calls: dict, seconds: float) -> dict[str, float]:
    """Milliseconds of each call, in five rounds in which each has its turn."""
    best = dict.fromkeys(calls, np.inf)
    for name, call in 5 * list(calls.items()):
        start = begin = time.perf_counter()
        while begin - start < seconds / 10.0:
            jax.block_until_ready(call())
            end = time.perf_counter()
            best[name], begin = min(best[name], 1e3 * (end - begin)), end
    return best


def row(edge: int, seconds: float) -> dict:
    positions, cell = map(jnp.asarray, argon(edge))
    options = {"cutoff": CUTOFF, "skin": SKIN}
    allocate(positions, cell, PBC, **options)
    begin = time.perf_counter()
    listed = allocate(positions, cell, PBC, **options)
    allocated = time.perf_counter() - begin
    bins = choose_bins(
        positions, cell, reciprocal(cell, PBC), PBC,
        reach=CUTOFF + SKIN, capacity_factor=1.25, advantage=0.0,
    )  # fmt: skip
    stale = listed._replace(reference_positions=positions + 1.0)
    lists = {"all pairs": jnp.asarray(NO_BINS), "bins": bins}
    lists = {name: stale._replace(bins=choice) for name, choice in lists.items()}
    one, two = (renew(positions, cell, lists[name]) for name in lists)
    for field in ("senders", "shifts", "reverse", "mask", "status"):
        np.testing.assert_array_equal(getattr(one, field), getattr(two, field))
    calls = {name: lambda old=old: renew(positions, cell, old) for name, old in lists.items()}
    return {
        "atoms": len(positions),
        "slots": len(listed.senders) // len(positions),
        "candidates": bins.shape[3],
        "used": "bins" if listed.bins.shape[3] else "all pairs",
        "allocate": 1e3 * allocated,
        **fastest(calls, seconds),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    edges = [4, 6, 8, 10, 12, 16, 20, 24, 32]
    parser.add_argument("--edges", nargs="+", type=int, default=edges, help="atoms along each edge")
    parser.add_argument("--seconds", type=float, default=5.0, help="of timing, each")
    parser.add_argument("--json", type=Path, help="write the rows here too")
    options = parser.parse_args()
    rows = []
    print("| atoms | slots | candidates | all pairs, ms | bins, ms | allocate, ms | used |")
    print("|---|---|---|---|---|---|---|", flush=True)
    for edge in options.edges:
        rows.append(found := row(edge, options.seconds))
        figures = " | ".join(f"{found[name]:.2f}" for name in ("all pairs", "bins", "allocate"))
        counts = f"{found['atoms']:,} | {found['slots']} | {found['candidates']}"
        print(f"| {counts} | {figures} | {found['used']} |", flush=True)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
