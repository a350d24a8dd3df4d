"""Run by `test_devices.py` in processes of their own: the same run on other devices.

    python -m tests.training.divided DIRECTORY [NAME PROCESS PORT]

NAME is a key of `RUNS`, PROCESS the number of one of two processes, which meet at PORT.
"""

import dataclasses
import json
import os
import shutil
import signal
import sys
from pathlib import Path

import jax
import numpy as np

from jmlip.core.config import from_dict
from jmlip.training import trainer
from jmlip.training.config import TrainingConfig
from jmlip.training.loop import fit
from jmlip.training.together import Run, fit_together
from tests.training import argon

RUNS = {
    "one": {},
    "two": {"devices": 2},
    "eight": {"devices": 8},
    "pmap": {"devices": 2, "parallel": "pmap", "accumulate": 2},
}
MEMBERS = 3
TOLD_AT = 3
"""Step at which one of two processes is interrupted; they ask each other at the sixteenth."""


def structures():
    """Batches are of 7 and 6 structures: of eight devices, one or two have none."""
    return [s if k % 3 else s.replace(forces=None) for k, s in enumerate(argon.clusters()[:33])]


def configured(**fields) -> TrainingConfig:
    values = {
        "loss": {"energy": {"kind": "rmse+mae"}, "forces": {"kind": "rmse+mae"}},
        "optimizer": {
            "name": "adam",
            "learning_rate": 0.01,
            "schedule": "constant",
            "warmup_steps": 0,
        },
        "training": {"batch_size": 8, "max_epochs": 5, "ema_decay": 0.9, "dtype": "float64"},
    }
    values["training"] |= fields
    return from_dict(TrainingConfig, values)


def train(directory: Path, name: str, *, resume: bool = False, **fields):
    config, data = configured(**RUNS[name] | fields), structures()
    options = {"resume": resume, "progress": False}
    return fit(argon.untrained(), data[:27], data[27:], config, directory / name, **options)


def train_members(directory: Path, name: str, **fields) -> None:
    """Members that differ in first parameters, order of the data and number of epochs."""
    first, data, runs = argon.untrained(), structures(), []
    for number in range(MEMBERS):
        params = jax.tree.map(lambda leaf, k=number: (1.0 + 0.01 * k) * leaf, first.params)
        config = configured(**{"seed": number, "max_epochs": 2 + number % 2, **fields})
        potential = dataclasses.replace(first, params=params)
        place = directory / f"members-{name}" / f"member_{number}"
        runs.append(Run(potential, data[:27], data[27:], config, place))
    for number, fitted in enumerate(fit_together(runs, progress=False)):
        save(directory / f"members-{name}-{number}.npy", fitted.params)


def spread_members(directory: Path) -> None:
    """On one device, on two, stopped after the first step and resumed there, and on one."""
    train_members(directory, "one")
    took, placed = trainer.Trainer._took, {}

    def took_and_looked(self, fed, state, report):
        shards = jax.tree.leaves(state.stacked)[0].addressable_shards
        placed.update({s.device.id: len(s.data) for s in shards})
        took(self, fed, state, report)

    trainer.Trainer._took = took_and_looked
    train_members(directory, "two", devices=2)
    trainer.Trainer._took = took
    (directory / "placed.json").write_text(json.dumps(sorted(placed.items())))
    train_members(directory, "resumed", devices=2, max_minutes=1e-9)
    shutil.copytree(directory / "members-resumed", directory / "members-moved")
    train_members(directory, "resumed", devices=2)
    train_members(directory, "moved")


def save(path: Path, params) -> None:
    np.save(path, np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(params)]))


def interrupted(directory: Path, name: str, process: int, port: str) -> None:
    """One of two processes is told to stop; both do, at the same step, and go on."""
    jax.distributed.initialize(f"localhost:{port}", num_processes=2, process_id=process)
    took = trainer.Trainer._took

    def took_and_interrupt(self, *arguments):
        took(self, *arguments)
        if process == 1 and self.course.step == TOLD_AT:
            os.kill(os.getpid(), signal.SIGTERM)

    trainer.Trainer._took = took_and_interrupt
    try:
        train(directory, name)
    except KeyboardInterrupt:
        trainer.Trainer._took = took
    else:
        raise AssertionError("an interrupted run must say so")
    fitted = train(directory, name, resume=True)
    save(directory / f"{name}-{process}.npy", fitted.params)


def main(directory: Path, names: list[str]) -> None:
    for name in names:
        save(directory / f"{name}.npy", train(directory, name).params)
    # on two devices, stopped after its first step and resumed there, and on one
    train(directory / "parts", "two", max_minutes=1e-9)
    shutil.copytree(directory / "parts" / "two", directory / "parts" / "one")
    save(directory / "resumed.npy", train(directory / "parts", "two", resume=True).params)
    save(directory / "moved.npy", train(directory / "parts", "one", resume=True).params)
    spread_members(directory)
    sys.stdout.write(json.dumps(len(jax.devices())))


if __name__ == "__main__":
    if len(sys.argv) == 5:
        interrupted(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4])
    else:
        main(Path(sys.argv[1]), [*RUNS])
