"""Training the members of an ensemble, one by one or at once, and comparing them on test sets."""

import contextlib
import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jmlip.cli.config import FILE_FIELDS, RunConfig
from jmlip.cli.description import describe
from jmlip.cli.kernels import mention_kernels
from jmlip.cli.run_directory import CONFIG, PLAN, run_directory
from jmlip.cli.sets import Sets
from jmlip.cli.workflow import fit_config, prepare, write_config, write_heads
from jmlip.core.checkpoint import read_json, write_json
from jmlip.core.config import load_toml, to_dict
from jmlip.core.errors import ConfigError, JmlipError
from jmlip.core.structure import Structure
from jmlip.data import data_hash
from jmlip.factory import load_potential
from jmlip.potentials.ensembles import combine, is_ensemble, read_members, write_ensemble
from jmlip.potentials.potential import Potential
from jmlip.training.checkpoints import STRUCTURES, require_same
from jmlip.training.evaluation import evaluate_predictions
from jmlip.training.metrics import root_mean_square
from jmlip.training.requirements import require_divisible
from jmlip.training.run_files import POTENTIAL, SUMMARY
from jmlip.training.together import Run, fit_together, require_shared, require_spread

ENSEMBLE = "ensemble"


def member_config(config: RunConfig, number: int) -> RunConfig:
    """The configuration of one member: seed and split seed are larger by its number."""
    data = dataclasses.replace(config.data, split_seed=config.data.split_seed + number)
    training = dataclasses.replace(config.training, seed=config.training.seed + number)
    return dataclasses.replace(config, data=data, training=training)


def train_members(
    config: RunConfig,
    run_dir: Path,
    sets: Sets,
    *,
    members: int,
    command: str,
    together: int | None = None,
    told: set[str] | None = None,
) -> list[Potential]:
    """Train the members that are not yet trained, and write the ensemble of all.

    `run_dir` receives a run directory for each member, `member_0` ..., and `ensemble`.

    Args:
        config: of the first member; the others differ in seed and in the split of the data.
        run_dir: what it holds already is used, if it belongs to the same configuration and data.
        sets: the data, as the configuration of the first member splits them.
        members: how many.
        command: what goes into the provenance.
        together: train at most so many at once, by one compiled program, the first of them first;
            `None`: one after the other.
        told: notices that were given before and are not repeated; those of these runs are added.

    Raises:
        ConfigError: as `require_members`; `run_dir` holds others, or members that shall be trained
            together do not have the same model.
        DivergenceError: training left the finite numbers.
        JmlipError: a member was stopped by the clock, or members do not fit into memory together.
    """
    require_members(config, members, together)
    told = set() if told is None else told
    plan, potentials = _plan(config, sets), []
    _require_no_fewer(run_dir / ENSEMBLE, members)
    with run_directory(run_dir, resume=True):
        if (run_dir / PLAN).exists():
            require_same(read_json(run_dir / PLAN), plan)
        for first in range(0, members, together) if together else ():
            group = range(first, min(first + (together or 1), members))
            _train_together(config, run_dir, group, members, command=command, told=told)
            write_json(run_dir / PLAN, plan)
        for number in range(members):
            place, own = run_dir / f"member_{number}", member_config(config, number)
            if _has_ended(place, own):
                print(f"member {number} of {members} is trained.", flush=True)
            elif not together:
                print(f"member {number} of {members}:", flush=True)
                fit_config(own, place, command=command, resume=True, told=told)
            write_json(run_dir / PLAN, plan)
            if not _has_ended(place, own):
                raise JmlipError(
                    f"all members must be trained to their end, and member {number} was stopped "
                    "by training.max_minutes; go on with the same command and --resume."
                )
            potentials.append(load_potential(place / POTENTIAL))
        write_ensemble(potentials, run_dir / ENSEMBLE)
    return potentials


def require_members(config: RunConfig, members: int, together: int | None) -> None:
    """Refuse numbers of members and of devices that do not go together.

    Raises:
        ConfigError: naming them.
    """
    if members < 1:
        raise ConfigError(f"an ensemble must have at least one member, found --members {members}.")
    if together is None:
        require_divisible(config.training)
        return
    devices, most = config.training.devices, min(members, together)
    if devices > most:
        raise ConfigError(
            "every device must have a member where members are trained together, found "
            f"training.devices = {devices} and {most} at once; lower training.devices, or train "
            "one after the other, each on all devices."
        )
    require_spread(config.training)


def _require_no_fewer(ensemble: Path, members: int) -> None:
    there = len(read_members(ensemble)) if is_ensemble(ensemble) else 0
    if members < there:
        raise ConfigError(
            f"{ensemble} must keep its {there} members, found {members} asked for; ask for {there} "
            "or more, or start a new run in another directory."
        )


def _train_together(
    config: RunConfig,
    run_dir: Path,
    group: range,
    members: int,
    *,
    command: str,
    told: set[str],
) -> None:
    """Train those members of a group that are not yet trained at once."""
    configs = {run_dir / f"member_{k}": member_config(config, k) for k in group}
    left = {place: own for place, own in configs.items() if not _has_ended(place, own)}
    if not left:
        return
    devices = min(config.training.devices, len(left))
    where = f" on {devices} devices" if devices > 1 else ""
    prepared = {place: prepare(own, command=command) for place, own in left.items()}
    first = next(iter(prepared.values()))
    print(
        f"{len(left)} of {members} members together{where}, the first:\n{describe(*first[:3])}",
        flush=True,
    )
    mention_kernels(first.potential.model)
    runs = [
        Run(p.potential, p.sets.train, p.sets.validation, p.training, place)
        for place, p in prepared.items()
    ]
    require_shared(runs)
    with contextlib.ExitStack() as stack:
        for place, p in prepared.items():
            stack.enter_context(run_directory(place, resume=True))
            write_config(place, p.config)
        for place, fitted in zip(prepared, fit_together(runs, told=told), strict=True):
            write_heads(place, fitted)


def _plan(config: RunConfig, sets: Sets) -> dict[str, Any]:
    """What all members of one ensemble share."""
    values = to_dict(config)
    for name in FILE_FIELDS:  # what stands in them counts, not where they are
        values["data"].pop(name, None)
    hashes = {"train": data_hash(sets.train), "validate": data_hash(sets.validation)}
    return json.loads(json.dumps({**values, STRUCTURES: hashes}))


def _has_ended(place: Path, config: RunConfig) -> bool:
    if not ((place / SUMMARY).exists() and (place / CONFIG).exists()):
        return False
    # all else that decides where it ends is compared with the plan
    trained = load_toml(place / CONFIG)["training"]["max_epochs"]
    stopped_by = read_json(place / SUMMARY)["stopped_by"]
    return trained == config.training.max_epochs and stopped_by != "max_minutes"


class Compared(NamedTuple):
    """Errors of potentials and of the mean of some of them on one test set."""

    errors: Mapping[str, Mapping[str, float]]  # by name
    energy_spread: float | None  # root mean square over structures, meV; None of one member
    forces_spread: float | None  # root mean square over components, meV / angstrom


def compare_tests(
    members: Mapping[str, Potential],
    tests: Mapping[str, Sequence[Structure]],
    *,
    dtype: Any,
    others: Mapping[str, Potential] | None = None,
) -> dict[str, Compared]:
    """`compare_members` on each test set; sets without labels are left out."""
    return {
        name: compare_members(members, structures, dtype=dtype, others=others)
        for name, structures in tests.items()
        if any(s.energy is not None or s.forces is not None for s in structures)
    }


def compare_members(
    members: Mapping[str, Potential],
    structures: Sequence[Structure],
    *,
    dtype: Any,
    others: Mapping[str, Potential] | None = None,
) -> Compared:
    """Errors of the members of an ensemble, of their mean, and of other potentials.

    Args:
        members: by name; they enter the mean and the spread.
        structures: a test set.
        dtype: precision.
        others: further potentials by name; they come first.
    """
    named = {**(others or {}), **members}
    said = {name: p.predict(structures, dtype=dtype) for name, p in named.items()}
    combined = [combine(each) for each in zip(*(said[name] for name in members), strict=True)]
    if len(members) > 1:
        said = {f"mean of {len(members)}": [found.mean for found in combined], **said}
    order = [*(others or {}), *(name for name in said if name not in (others or {}))]
    species = next(iter(members.values())).species
    energy = np.array([found.energy_spread for found in combined])
    forces = np.concatenate([found.forces_spread for found in combined])
    return Compared(
        {
            name: evaluate_predictions(said[name], structures, species=species).metrics
            for name in order
        },
        *(root_mean_square(1000.0 * x) if len(members) > 1 else None for x in (energy, forces)),
    )
