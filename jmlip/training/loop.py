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
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
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
from jmlip.graphs.batching import head_name
from jmlip.graphs.graph import AtomGraph
from jmlip.graphs.output import AtomicOutput
from jmlip.models.hipnn import HIPNN
from jmlip.potentials.evaluate import ApplyFn
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
    require_groups(potential, config)
    require_orders(potential, chain(train, validation), config)
    if writes():
        if not resume:
            require_no_run(run_dir)
        run_dir.mkdir(parents=True, exist_ok=True)
    with (
        only_writer(run_dir) if writes() else contextlib.nullcontext(),
        jax.enable_x64(config.training.dtype == "float64"),
        deferred_interrupts() as interrupt,
        make_display(progress and writes()) as display,
    ):
        if writes():
            remove_partial(run_dir)
        trainer = make_trainer(
            potential, train, validation, config, run_dir, begun, display, interrupt
        )
        begin(trainer, train, resume=resume)
        reason = trainer.run()
        return finish(trainer, potential, reason)


def begin(trainer: Trainer, train: Sequence[Structure], *, resume: bool) -> None:
    """Say what is odd, and start, or go on from the last checkpoint."""
    for text in _notices(train, trainer.config):
        trainer.display.note(f"notice: {text}")
    found = trainer.files.load(like=trainer.state) if resume else None
    require_same_run(trainer.files.identity, -1 if found is None else found.course.step)
    trainer.start() if found is None else trainer.restore(found)


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


def require_orders(
    potential: Potential, structures: Iterable[Structure], config: TrainingConfig
) -> None:
    """Refuse a loss on orders that the model does not have.

    Raises:
        ConfigError: it is no HIP-NN, or has other orders than the labels.
    """
    if config.loss.energy_orders is None:
        return
    if not isinstance(potential.model, HIPNN):
        raise ConfigError(
            "loss.energy_orders compares the interaction layers of HIP-NN, found model.kind = "
            f"{potential.kind!r}; remove it, or choose kind = 'hipnn'."
        )
    wanted = potential.model.config.n_interactions
    found = {s.energy_orders.shape[1] for s in structures if s.energy_orders is not None}
    if found - {wanted}:
        raise ConfigError(
            f"energy_orders of the data must be of {wanted} orders, as model.n_interactions, found "
            f"{sorted(found)}; make the labels anew, or change the model."
        )


def require_groups(potential: Potential, config: TrainingConfig) -> None:
    """Refuse terms and rates of parts that the model does not have."""
    if config.loss.needs_parts and potential.kind != "pair":
        named = ", ".join(f"loss.{name}" for name in config.loss.terms if name in PAIR_TERMS)
        raise ConfigError(
            f"{named} compares the parts of a pair of models, found model.kind = "
            f"{potential.kind!r}; remove it, or choose kind = 'pair'."
        )
    if config.loss.hierarchy is not None and potential.heads:
        raise ConfigError(
            "loss.hierarchy compares with one set of reference energies, found model.heads; remove "
            "one of them."
        )
    for name in config.optimizer.rate_factors or {}:
        if name not in potential.params:
            raise ConfigError(
                unknown(name, potential.params, what=f"optimizer.rate_factors {name!r}")
            )


def require_no_run(run_dir: Path) -> None:
    """Refuse a directory that holds a run."""
    for name in (CSV_NAME, JSONL_NAME, DIRECTORY, POTENTIAL):
        if (run_dir / name).exists():
            raise ConfigError(
                f"a new run needs a directory without one, found {name} in {run_dir}; "
                "resume that run, or choose another directory."
            )


def make_trainer(
    potential: Potential,
    train: Sequence[Structure],
    validation: Sequence[Structure],
    config: TrainingConfig,
    run_dir: Path,
    begun: float,
    display: Display,
    interrupt: Interrupt,
) -> Trainer:
    """Everything a run needs before its first step; arguments are those of `fit`."""
    compilations, optimizer = Compilations(), make_optimizer(config.optimizer)
    references, frozen = potential.reference_energies, _frozen_groups(config)
    loop = config.training
    devices = make_devices(
        loop.devices, accumulate=loop.accumulate, parallel=loop.parallel or "sharding"
    )
    feeds = {"dtype": loop.dtype, "n_shares": devices.n_shares, "mine": devices.mine}
    apply_fn, model = without_gradient(potential.apply, frozen), cast(Any, potential.model)
    parts = model.part_functions() if config.loss.needs_parts else ()
    parts = [without_gradient(part, frozen) for part in parts]
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
            identity=_identity(potential, train, validation, config),
            write_potential=lambda best, summary: save_potential(
                _fitted(potential, best, summary), run_dir / POTENTIAL
            ),
            writes=writes(),
        ),
        display=display,
        interrupt=interrupt,
        compilations=compilations,
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
        "data": {"training": data_hash(train), "validation": data_hash(validation)},
    }


def finish(trainer: Trainer, potential: Potential, reason: str) -> Potential:
    """Write the best potential and the summary of a run that has ended."""
    assert trainer.best is not None  # a run that ends has found finite errors
    summary = trainer.summary(reason)
    fitted = _fitted(potential, trainer.best, summary)
    if writes():
        save_potential(fitted, trainer.files.run_dir / POTENTIAL)
        write_json(trainer.files.run_dir / SUMMARY, summary)
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
