"""Train the members of an ensemble at once and one after the other, and compare the times.

    python benchmarks/ensemble_training.py --kinds hipnn mace --members 1 2 4 8 --figure out.svg

Time of a step of all members, without compilation: one compiled program (`jax.vmap` over the
members, as `jmlip ensemble --together`) against as many steps as there are members. Ten ethanol
molecules, forces in the loss, the smallest size of each model.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ase.build
import jax
import numpy as np

from jmlip.core.structure import Structure
from jmlip.factory import make_model
from jmlip.potentials.potential import initial_potential
from jmlip.training.config import TrainingConfig
from jmlip.training.feed import Fed, Feed
from jmlip.training.loss_config import LossConfig, TermConfig
from jmlip.training.optimizers import OptimizerConfig, make_optimizer
from jmlip.training.step import Compilations, Controls, init_state, make_step
from jmlip.training.together import make_joint_step
from jmlip.training.trainer import Asked

FIELDS: dict[str, dict[str, Any]] = {
    "hipnn": {"size": "S"},
    "mace": {"size": "S"},
    "nequip": {"size": "S"},
    "ani": {},
}
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def ethanol(count: int) -> list[Structure]:
    rng, atoms = np.random.default_rng(0), ase.build.molecule("CH3CH2OH")
    return [
        Structure(
            species=atoms.numbers,
            positions=atoms.positions + 0.05 * rng.normal(size=(9, 3)),
            energy=rng.normal(),
            forces=rng.normal(size=(9, 3)),
        )
        for _ in range(count)
    ]


def times(kind: str, members: int, options: argparse.Namespace) -> tuple[float, ...]:
    """Seconds for a step of all members: at once, and one after the other."""
    model = make_model(kind, {"species": [1, 6, 8], **FIELDS[kind]})
    potentials = [
        initial_potential(kind, model, key=jax.random.key(k), reference_energies=(0.0,) * 3)
        for k in range(members)
    ]
    config = TrainingConfig(loss=LossConfig(energy=TermConfig(), forces=TermConfig()))
    optimizer = make_optimizer(OptimizerConfig())
    step = make_step(
        potentials[0].apply,
        config.loss,
        optimizer,
        reference_energies=(0.0,) * 3,
        ema_decay=0.999,
        max_skipped=10,
        compilations=Compilations(),
    )
    feed = Feed(ethanol(options.batch), potentials[0], dtype="float32")
    fed: Fed = next(feed.epoch(0, options.batch))
    controls = Controls(np.float32(1e-3), np.ones(2, np.float32))
    start = lambda: [init_state(p.params, optimizer) for p in potentials]
    joint = make_joint_step(step)

    def at_once(states):
        found = joint([Asked(state, fed, controls) for state in states], [feed] * members)
        return [state for state, _ in found]

    def in_turn(states):
        return [step(state, fed.batch, controls)[0] for state in states]

    ways = {name: (way, start()) for name, way in (("at once", at_once), ("in turn", in_turn))}
    return timed(ways, options.seconds, CLOCKS[options.clock])


def timed(ways: dict, seconds: float, clock: Callable[[], float]) -> tuple[float, ...]:
    """Median times of calls that take turns, so that other work on the machine slows all alike."""
    found: dict[str, list[float]] = {name: [] for name in ways}
    while sum(map(sum, found.values())) < seconds or min(map(len, found.values())) < 7:
        for name, (way, states) in ways.items():
            begun = clock()
            ways[name] = way, jax.block_until_ready(way(states))
            found[name].append(clock() - begun)
    # the first two compile and warm up
    return tuple(float(np.median(each[2:])) for each in found.values())


def draw(rows: list[dict], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(4.5, 3.2), layout="constrained")
    for kind in dict.fromkeys(row["kind"] for row in rows):
        own = [row for row in rows if row["kind"] == kind]
        gain = [row["in_turn_s"] / row["at_once_s"] for row in own]
        axes.plot([row["members"] for row in own], gain, "o-", label=kind)
    axes.axhline(1.0, color="0.6", linewidth=0.8)
    axes.set(xscale="log", xlabel="members", ylabel="time one by one / time at once")
    axes.set_xticks(
        sorted({row["members"] for row in rows}), sorted({row["members"] for row in rows})
    )
    axes.minorticks_off()
    axes.legend(frameon=False)
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kinds", nargs="+", default=["hipnn", "mace"], choices=FIELDS)
    parser.add_argument("--members", nargs="+", type=int, default=[1, 2, 4, 8])
    parser.add_argument("--batch", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument(
        "--clock", choices=CLOCKS, default="wall", help="cpu: that of all cores, on a busy machine"
    )
    parser.add_argument("--json", type=Path)
    parser.add_argument("--figure", type=Path)
    options = parser.parse_args()
    rows = []
    for kind in options.kinds:
        for members in options.members:
            at_once, in_turn = times(kind, members, options)
            rows.append(
                {"kind": kind, "members": members, "at_once_s": at_once, "in_turn_s": in_turn}
            )
            print(
                f"{kind:8s} {members:2d} members: at once {1e3 * at_once:8.2f} ms, one by one "
                f"{1e3 * in_turn:8.2f} ms, gain {in_turn / at_once:.2f}",
                flush=True,
            )
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")
    if options.figure:
        draw(rows, options.figure)


if __name__ == "__main__":
    main()
