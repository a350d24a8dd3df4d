"""Fitting a potential: what is built before the first step, and the ways a run can end.

Nothing that depends on the clock enters a step: the order of the data follows from seed and epoch,
schedules from the number of the step. So a run that was killed at any moment and resumed ends with
the same bits as one that was not (on a CPU; on other devices as far as their sums are
deterministic).
"""

import contextlib
import dataclasses
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import jax
import jax.numpy as jnp

from jmlip.core.checkpoint import write_json
from jmlip.core.config import to_dict, unknown
from jmlip.core.errors import ConfigError
from jmlip.core.interrupts import Interrupt, deferred_interrupts
from jmlip.core.lock import only_writer
from jmlip.core.structure import Structure
from jmlip.core.types import Params
from jmlip.data.hashing import data_hash
from jmlip.potentials.potential import Potential, save_potential
from jmlip.training.checkpoints import DIRECTORY, remove_partial
from jmlip.training.config import TrainingConfig
from jmlip.training.devices import has_precisions, make_devices
from jmlip.training.feed import Feed
from jmlip.training.losses import PAIR_TERMS
from jmlip.training.optimizers import make_optimizer
from jmlip.training.processes import require_same_run, writes
from jmlip.training.progress import Display, make_display
from jmlip.training.records import CSV_NAME, JSONL_NAME, Records, columns
from jmlip.training.run_files import RunFiles
from jmlip.training.step import Compilations, init_state, make_step, make_validation_step
from jmlip.training.trainer import Trainer
from jmlip.training.validation import has_label, require_labels

POTENTIAL, SUMMARY = "potential", "summary.json"


def fit(
    potential: Potential,
    train: Sequence[Structure],
    validation: Sequence[Structure],
    config: TrainingConfig,
    run_dir: str | Path,
    *,
    resume: bool = False,
    progress: bool = True,
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

    Returns:
        The potential that was best on the validation set.

    Raises:
        ConfigError: labels the loss needs are missing; the directory holds another run; or a
            resumed run differs in a key from the one that was started.
        DivergenceError: too many steps in a row were not finite; checkpoints are kept.
        KeyboardInterrupt: the run was interrupted; a checkpoint was written first.
    """
    run_dir, begun = Path(run_dir), time.monotonic()
    require_labels(config, train, validation)
    _require_groups(potential, config)
    if writes():
        if not resume:
            _require_no_run(run_dir)
        run_dir.mkdir(parents=True, exist_ok=True)
    with (
        only_writer(run_dir) if writes() else contextlib.nullcontext(),
        jax.enable_x64(config.training.dtype == "float64"),
        deferred_interrupts() as interrupt,
        make_display(progress and writes()) as display,
    ):
        if writes():
            remove_partial(run_dir)
        identity = _identity(potential, train, validation, config)
        trainer = _make_trainer(
            potential, train, validation, config, run_dir, identity, begun, display, interrupt
        )
        for text in _notices(train, config):
            display.note(f"notice: {text}")
        found = trainer.files.load(like=trainer.state) if resume else None
        require_same_run(identity, -1 if found is None else found.course.step)
        trainer.start() if found is None else trainer.restore(found)
        reason = trainer.run()
        return _finish(trainer, potential, run_dir, reason)


def _notices(train: Sequence[Structure], config: TrainingConfig) -> Iterator[str]:
    """What is allowed and rarely meant."""
    n_steps = config.training.max_epochs * -(-len(train) // config.training.batch_size)
    if n_steps < 2 * config.optimizer.warmup_steps:
        yield (
            f"the rate of learning rises for {config.optimizer.warmup_steps} steps, and the run "
            f"has {n_steps}; give more epochs, or a smaller optimizer.warmup_steps."
        )
    precision = config.training.matmul_precision
    if precision is not None and not has_precisions():
        yield (
            "products of matrices are in single precision on a CPU; "
            f"training.matmul_precision = {precision!r} changes nothing here."
        )
    if config.loss.stress is None and any(has_label(s, "stress") for s in train):
        yield "the loss has no term for the stresses of the data; add loss.stress to learn them."


def _require_groups(potential: Potential, config: TrainingConfig) -> None:
    """Refuse terms and rates of parts that the model does not have."""
    if config.loss.needs_parts and potential.kind != "pair":
        named = ", ".join(f"loss.{name}" for name in config.loss.terms if name in PAIR_TERMS)
        raise ConfigError(
            f"{named} compares the parts of a pair of models, found model.kind = "
            f"{potential.kind!r}; remove it, or choose kind = 'pair'."
        )
    for name in config.optimizer.rate_factors or {}:
        if name not in potential.params:
            raise ConfigError(
                unknown(name, potential.params, what=f"optimizer.rate_factors {name!r}")
            )


def _require_no_run(run_dir: Path) -> None:
    for name in (CSV_NAME, JSONL_NAME, DIRECTORY, POTENTIAL):
        if (run_dir / name).exists():
            raise ConfigError(
                f"a new run needs a directory without one, found {name} in {run_dir}; "
                "resume that run, or choose another directory."
            )


def _make_trainer(
    potential: Potential,
    train: Sequence[Structure],
    validation: Sequence[Structure],
    config: TrainingConfig,
    run_dir: Path,
    identity: Mapping[str, Any],
    begun: float,
    display: Display,
    interrupt: Interrupt,
) -> Trainer:
    compilations, optimizer = Compilations(), make_optimizer(config.optimizer)
    loop = config.training
    devices = make_devices(
        loop.devices, accumulate=loop.accumulate, parallel=loop.parallel or "sharding"
    )
    feeds = {"dtype": loop.dtype, "n_shares": devices.n_shares, "mine": devices.mine}
    apply_fn, references = potential.apply, potential.reference_energies
    model = cast(Any, potential.model)
    parts = model.part_functions() if config.loss.needs_parts else ()
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, loop.dtype), potential.params)
    step = make_step(
        apply_fn,
        config.loss,
        optimizer,
        reference_energies=references,
        ema_decay=loop.ema_decay,
        max_skipped=loop.max_skipped,
        compilations=compilations,
        devices=devices,
        precision=loop.matmul_precision if has_precisions() else None,
        parts=parts,
        force_gradient=loop.force_gradient,
        force_gradient_eps=loop.force_gradient_eps,
    )
    labels = ("forces", "stress")
    compare = make_validation_step(
        apply_fn,
        reference_energies=references,
        with_gradient=config.loss.needs_gradient
        or any(has_label(s, t) for s in validation for t in labels),
        parts=parts,
        compilations=compilations,
        devices=devices,
    )
    return Trainer(
        config=config,
        begun=begun,
        step=step,
        compare=compare,
        devices=devices,
        train=Feed(train, potential, seed=loop.seed, **feeds),
        validation=Feed(validation, potential, **feeds),
        state=devices.everywhere(init_state(params, optimizer)),
        files=RunFiles(
            run_dir,
            Records(run_dir, columns(config)),
            identity=identity,
            write_potential=lambda best, summary: save_potential(
                _fitted(potential, best, summary), run_dir / POTENTIAL
            ),
            writes=writes(),
        ),
        display=display,
        interrupt=interrupt,
        compilations=compilations,
    )


def _identity(
    potential: Potential,
    train: Sequence[Structure],
    validation: Sequence[Structure],
    config: TrainingConfig,
) -> dict[str, Any]:
    return {
        **to_dict(config),
        "model": {"kind": potential.kind, **to_dict(potential.model.config)},
        "reference_energies": list(potential.reference_energies),
        "data": {"training": data_hash(train), "validation": data_hash(validation)},
    }


def _finish(trainer: Trainer, potential: Potential, run_dir: Path, reason: str) -> Potential:
    assert trainer.best is not None  # a run that ends has found finite errors
    summary = trainer.summary(reason)
    fitted = _fitted(potential, trainer.best, summary)
    if writes():
        save_potential(fitted, run_dir / POTENTIAL)
        write_json(run_dir / SUMMARY, summary)
    display = trainer.display
    display.note(
        f"stopped by {reason} after {summary['epochs']} epochs and {summary['steps']} steps "
        f"({summary['skipped_steps']} skipped); best epoch {summary['best_epoch']}."
    )
    if summary["time_to_first_step_s"] is not None:
        display.note(
            f"first step after {summary['time_to_first_step_s']} s; "
            f"{summary['compilations']} compilations."
        )
    return fitted


def _fitted(potential: Potential, params: Params, summary: Mapping[str, Any]) -> Potential:
    provenance = {**potential.provenance, "training": dict(summary)}
    return dataclasses.replace(potential, params=params, provenance=provenance)
