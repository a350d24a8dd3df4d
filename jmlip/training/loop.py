"""Fitting a potential: what is built before the first step, and the ways a run can end.

Nothing that depends on the clock enters a step: the order of the data follows from seed and epoch,
schedules from the number of the step. So a run that was killed at any moment and resumed ends with
the same bits as one that was not (on a CPU; on other devices as far as their sums are
deterministic).
"""

import contextlib
import dataclasses
import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, cast

import jax
import jax.numpy as jnp
import optax

from jmlip.core.checkpoint import remove_partial, write_json
from jmlip.core.config import to_dict
from jmlip.core.interrupts import Interrupt, deferred_interrupts
from jmlip.core.lock import only_writer
from jmlip.core.structure import Structure
from jmlip.core.types import Params
from jmlip.data.hashing import data_hash
from jmlip.graphs.frames import head_name
from jmlip.graphs.graph import AtomGraph, Batch
from jmlip.graphs.output import AtomicOutput
from jmlip.potentials.evaluate import ApplyFn
from jmlip.potentials.potential import Potential, save_potential
from jmlip.training.checkpoints import DIRECTORY, STRUCTURES
from jmlip.training.config import TrainingConfig
from jmlip.training.devices import Devices, has_precisions, make_devices
from jmlip.training.feed import Feed
from jmlip.training.optimizers import make_optimizer
from jmlip.training.processes import require_same_run, writes
from jmlip.training.progress import Display, make_display
from jmlip.training.records import Records, columns
from jmlip.training.requirements import (
    notices,
    require_divisible,
    require_groups,
    require_no_run,
    require_orders,
)
from jmlip.training.residuals import Residuals
from jmlip.training.rows import own
from jmlip.training.run_files import POTENTIAL, SUMMARY, RunFiles
from jmlip.training.step import Compilations, Step, init_state, make_step, make_validation_step
from jmlip.training.trainer import Trainer
from jmlip.training.validation import has_label, require_labels


def fit(
    potential: Potential,
    train: Sequence[Structure],
    validation: Sequence[Structure],
    config: TrainingConfig,
    run_dir: str | Path,
    *,
    resume: bool = False,
    progress: bool = True,
    told: set[str] | None = None,
) -> Potential:
    """Fit the parameters of a potential to labelled structures.

    The run directory receives `potential/`, the averaged parameters that were best on the
    validation set; `metrics.csv` and `metrics.jsonl`, one record per epoch; `checkpoints/`; and
    `summary.json`: why the run ended, its best epoch, its cost.

    Args:
        potential: where training starts; its reference energies stay as they are.
        train: structures to learn from; labels may be missing here and there.
        validation: structures that select the parameters to keep.
        config: loss, optimizer and course.
        run_dir: directory of the run; of several processes the first one writes it.
        resume: go on from the last checkpoint in `run_dir`, or start where there is none.
        progress: show the progress on standard error.
        told: notices that were given before and are not repeated; those of this run are added.

    Returns:
        The potential that was best on the validation set.

    Raises:
        ConfigError: labels the loss needs are missing; the directory holds another run; or a
            resumed run differs in a key from the one that was started.
        DivergenceError: too many steps in a row were not finite; checkpoints are kept.
        KeyboardInterrupt: the run was interrupted; a checkpoint was written first.
    """
    run_dir, begun, loop = Path(run_dir), time.monotonic(), config.training
    require_divisible(loop)
    require_labels(config, train, validation)
    require_groups(potential, config)
    require_orders(potential, chain(train, validation), config)
    if writes():
        if not resume:
            require_no_run(run_dir)
        run_dir.mkdir(parents=True, exist_ok=True)
    with (
        only_writer(run_dir) if writes() else contextlib.nullcontext(),
        jax.enable_x64(loop.dtype == "float64"),
        deferred_interrupts() as interrupt,
        make_display(progress and writes()) as display,
    ):
        if writes():
            remove_partial(run_dir, run_dir / DIRECTORY)
        devices = make_devices(
            loop.devices, accumulate=loop.accumulate, parallel=loop.parallel or "sharding"
        )
        trainer = make_trainer(
            *(potential, train, validation, config, run_dir, begun, display, interrupt),
            devices=devices,
            compared_on=devices,
        )
        begin(trainer, train, resume=resume, told=set() if told is None else told)
        reason = trainer.run()
        return finish(trainer, potential, reason)


def begin(trainer: Trainer, train: Sequence[Structure], *, resume: bool, told: set[str]) -> None:
    """Say what is odd and was not told yet, and start, or go on from the last checkpoint."""
    for text in notices(train, trainer.config, trainer.state.average):
        if text not in told:
            trainer.display.note(f"notice: {text}")
            told.add(text)
    found = trainer.files.load(like=own(trainer.state)) if resume else None
    require_same_run(trainer.files.identity, -1 if found is None else found.course.step)
    trainer.start() if found is None else trainer.restore(found)


def make_trainer(
    potential: Potential,
    train: Sequence[Structure],
    validation: Sequence[Structure],
    config: TrainingConfig,
    run_dir: Path,
    begun: float,
    display: Display,
    interrupt: Interrupt,
    *,
    devices: Devices,
    compared_on: Devices,
) -> Trainer:
    """Everything a run needs before its first step.

    Args are those of `fit`, and:
        devices: where steps are taken.
        compared_on: where predictions are compared with the validation set.
    """
    compilations, optimizer = Compilations(), make_optimizer(config.optimizer)
    loop = config.training
    feed_of = lambda structures, on, **fields: Feed(
        structures, potential, dtype=loop.dtype, n_shares=on.n_shares, mine=on.mine, **fields
    )
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, loop.dtype), potential.params)
    identity = _identity(potential, train, validation, config)
    return Trainer(
        config=config,
        begun=begun,
        step=_step(potential, config, optimizer, compilations=compilations, devices=devices),
        compare=_comparison(
            potential, validation, config, compilations=compilations, devices=compared_on
        ),
        devices=devices,
        compared_on=compared_on,
        train=feed_of(train, devices, seed=loop.seed),
        validation=feed_of(validation, compared_on),
        state=devices.everywhere(init_state(params, optimizer)),
        files=_files(potential, config, run_dir, identity),
        display=display,
        interrupt=interrupt,
        compilations=compilations,
    )


def _step(
    potential: Potential,
    config: TrainingConfig,
    optimizer: optax.GradientTransformation,
    **shared: Any,
) -> Step:
    loop = config.training
    return make_step(
        without_gradient(potential.apply, _frozen_groups(config)),
        config.loss,
        optimizer,
        reference_energies=potential.reference_energies,
        ema_decay=loop.ema_decay,
        max_skipped=loop.max_skipped,
        precision=loop.matmul_precision if has_precisions() else None,
        parts=_parts(potential, config),
        force_gradient=loop.force_gradient,
        force_gradient_eps=loop.force_gradient_eps,
        **shared,
    )


def _comparison(
    potential: Potential,
    validation: Sequence[Structure],
    config: TrainingConfig,
    **shared: Any,
) -> Callable[[Params, Batch], Residuals]:
    labels = ("forces", "stress")
    labelled = any(has_label(s, label) for s in validation for label in labels)
    return make_validation_step(
        potential.apply,
        reference_energies=potential.reference_energies,
        with_gradient=config.loss.needs_gradient or labelled,
        parts=_parts(potential, config),
        **shared,
    )


def _parts(potential: Potential, config: TrainingConfig) -> Sequence[ApplyFn]:
    """The parts of a pair, where the loss asks for them."""
    if not config.loss.needs_parts:
        return ()
    model = cast(Any, potential.model)
    return [without_gradient(part, _frozen_groups(config)) for part in model.part_functions()]


def _files(
    potential: Potential, config: TrainingConfig, run_dir: Path, identity: Mapping[str, Any]
) -> RunFiles:
    def write_potential(best: Params, summary: Mapping[str, Any]) -> None:
        save_potential(_fitted(potential, best, summary), run_dir / POTENTIAL)

    return RunFiles(
        run_dir,
        Records(run_dir, columns(config)),
        identity=identity,
        write_potential=write_potential,
        writes=writes(),
    )


def _frozen_groups(config: TrainingConfig) -> list[str]:
    return [name for name, f in (config.optimizer.rate_factors or {}).items() if f == 0.0]


def without_gradient(apply_fn: ApplyFn, groups: Sequence[str]) -> ApplyFn:
    """The same function with no derivative in some groups of parameters.

    Such groups cost no backward pass, and their gradient does not enter the norm that is clipped.
    """
    if not groups:
        return apply_fn

    def apply_frozen(params: Params, graph: AtomGraph) -> AtomicOutput:
        stopped = {name: jax.lax.stop_gradient(params[name]) for name in groups}
        return apply_fn({**params, **stopped}, graph)

    return apply_frozen


def _identity(
    potential: Potential,
    train: Sequence[Structure],
    validation: Sequence[Structure],
    config: TrainingConfig,
) -> dict[str, Any]:
    heads = potential.heads
    names = [head_name(s, heads) for s in (*train, *validation)] if heads else []
    return {
        **to_dict(config),
        **({"heads": hashlib.sha256(" ".join(names).encode()).hexdigest()} if heads else {}),
        "model": {"kind": potential.kind, **to_dict(potential.model.config)},
        "reference_energies": list(potential.reference_energies),
        STRUCTURES: {"train": data_hash(train), "validate": data_hash(validation)},
    }


def finish(trainer: Trainer, potential: Potential, reason: str) -> Potential:
    """Write the best potential and the summary of a run that has ended."""
    assert trainer.best is not None  # a run that ends has found finite errors
    summary = trainer.summary(reason)
    fitted = _fitted(potential, trainer.best, summary)
    if writes():
        save_potential(fitted, trainer.run_dir / POTENTIAL)
        write_json(trainer.run_dir / SUMMARY, summary)
    trainer.display.note(
        f"stopped by {reason} after {summary['epochs']} epochs and {summary['steps']} steps "
        f"({summary['skipped_steps']} skipped); best epoch {summary['best_epoch']}."
    )
    if summary["time_to_first_step_s"] is not None:
        trainer.display.note(
            f"first step after {summary['time_to_first_step_s']} s; "
            f"{summary['compilations']} compilations."
        )
    return fitted


def _fitted(potential: Potential, params: Params, summary: Mapping[str, Any]) -> Potential:
    provenance = {**potential.provenance, "training": dict(summary)}
    return dataclasses.replace(potential, params=params, provenance=provenance)
