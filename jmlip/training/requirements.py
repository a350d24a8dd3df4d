"""What a run refuses, or mentions, before its first step."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from jmlip.core.config import unknown
from jmlip.core.errors import ConfigError
from jmlip.core.structure import Structure
from jmlip.models.hipnn import HIPNN
from jmlip.potentials.potential import Potential
from jmlip.training.checkpoints import DIRECTORY
from jmlip.training.config import LoopConfig, TrainingConfig
from jmlip.training.devices import has_precisions, require_devices
from jmlip.training.loss_config import PAIR_TERMS
from jmlip.training.records import CSV_NAME, JSONL_NAME
from jmlip.training.run_files import POTENTIAL
from jmlip.training.validation import has_label


def notices(
    train: Sequence[Structure], config: TrainingConfig, groups: Iterable[str]
) -> Iterator[str]:
    """What is allowed and rarely meant, for a model with some groups of parameters."""
    factors = config.optimizer.rate_factors or {}
    if all(factors.get(name) == 0.0 for name in groups):
        yield (
            "optimizer.rate_factors are 0 for all parameters, which stay as they are; reference "
            "energies alone follow from the data."
        )
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


def require_divisible(loop: LoopConfig) -> None:
    """Refuse to divide batches among more devices than they have structures, or than there are.

    Raises:
        ConfigError: a device would have nothing to do, or is not there.
    """
    if loop.batch_size < loop.devices * loop.accumulate:
        raise ConfigError(
            "training.batch_size must give every device a structure in each of its turns, found "
            f"{loop.batch_size} structures for devices = {loop.devices} and accumulate = "
            f"{loop.accumulate}; raise it, or lower one of them."
        )
    require_devices(loop.devices)


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
