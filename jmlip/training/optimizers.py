"""Optimizers from optax at unit learning rate; the schedule of the rate, computed on the host.

The learning rate is an argument of the training step, not part of the optimizer: schedules,
plateaus and restarts never compile anything anew. With progress p, the done fraction of
`max_epochs`, and the scale of the plateau,

    rate = learning_rate * warm-up * shape(p) * scale,
    warm-up = min(1, (step + 1) / warmup_steps);
    shape = 1 (constant, plateau), f + (1 - f) (1 + cos(pi p)) / 2 (cosine), f^p (exponential),
    f = final_fraction
"""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Literal

import jax
import optax
import optax.contrib

from jmlip.core.errors import ConfigError
from jmlip.core.types import Params, PyTree
from jmlip.training.stacking import VECTORS, stacked

MUON_RMS = 0.2
"""Root mean square of Muon's updates at unit rate: about Adam's, so one rate serves both."""

DEFAULTS = {
    "momentum": 0.95,
    "weight_decay": 1.0e-4,
    "final_fraction": 0.01,
    "plateau_patience": 10,
    "plateau_factor": 0.5,
    "plateau_threshold": 1.0e-4,
}
"""What a field that only some choices give a meaning is, where it has one and is not given."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """Optimizer and learning-rate schedule.

    Args:
        name: "muon" orthogonalizes the updates of weight matrices and uses Adam with Nesterov's
            momentum for all other parameters.
        learning_rate: the highest of the run; 0.03 unless given for equivariant models with Muon.
        b1: decay of the mean of gradients (Adam).
        b2: decay of the mean of squared gradients (Adam).
        momentum: decay of Muon's momentum; 0.95 unless given; "muon" only.
        weight_decay: decoupled decay of weight matrices, times the learning rate; 1e-4 unless
            given; "adamw" and "muon" only.
        rate_factors: factor of the rate for groups of parameters, by their name at the top, such as
            {small = 0.1} in a pair of models; 0 leaves a group as it is.
        clip_norm: largest global norm of the gradient; longer ones are shortened to it.
        schedule: "plateau" multiplies the rate by a factor when validation stops improving.
        warmup_steps: steps in which the rate rises linearly from zero.
        final_fraction: rate at `max_epochs` divided by the highest; 0.01 unless given; "cosine"
            and "exponential" only.
        plateau_patience: epochs without improvement before the rate is reduced; 10 unless given;
            "plateau" only.
        plateau_factor: what the rate is multiplied by; 0.5 unless given; "plateau" only.
        plateau_threshold: smallest relative improvement that counts; 1e-4 unless given; "plateau"
            only.

    Raises:
        ConfigError: a value is out of range, or is given where another choice makes it meaningless.
    """

    name: Literal["adam", "amsgrad", "adamw", "muon"] = "muon"
    learning_rate: float = 5.0e-3
    b1: float = 0.9
    b2: float = 0.999
    momentum: float | None = None
    weight_decay: float | None = None
    rate_factors: Mapping[str, float] | None = None
    clip_norm: float | None = None
    schedule: Literal["constant", "cosine", "exponential", "plateau"] = "cosine"
    warmup_steps: int = 100
    final_fraction: float | None = None
    plateau_patience: int | None = None
    plateau_factor: float | None = None
    plateau_threshold: float | None = None

    def __post_init__(self):
        for name in ("learning_rate", "clip_norm"):
            _require(self, name, lambda x: x > 0.0, "positive")
        for name in ("b1", "b2", "momentum"):
            _require(self, name, lambda x: 0.0 <= x < 1.0, "at least 0 and below 1")
        for name in ("weight_decay", "warmup_steps", "plateau_patience", "plateau_threshold"):
            _require(self, name, lambda x: x >= 0, "at least 0")
        for name, factor in (self.rate_factors or {}).items():
            if not factor >= 0.0:
                raise ConfigError(
                    f"optimizer.rate_factors.{name} must be at least 0, found {factor}."
                )
        for name in ("final_fraction", "plateau_factor"):
            _require(self, name, lambda x: 0.0 < x < 1.0, "between 0 and 1")
        self._refuse_meaningless("momentum", "name", ("muon",))
        self._refuse_meaningless("weight_decay", "name", ("adamw", "muon"))
        self._refuse_meaningless("final_fraction", "schedule", ("cosine", "exponential"))
        for name in ("plateau_patience", "plateau_factor", "plateau_threshold"):
            self._refuse_meaningless(name, "schedule", ("plateau",))

    def setting(self, name: str) -> float:
        """The value of a field that only some choices give a meaning: as given, or default."""
        value = getattr(self, name)
        return DEFAULTS[name] if value is None else value

    def _refuse_meaningless(self, name: str, chooser: str, choices: tuple[str, ...]) -> None:
        if getattr(self, name) is not None and getattr(self, chooser) not in choices:
            raise ConfigError(
                f"optimizer.{name} has no meaning with {chooser} = {getattr(self, chooser)!r}; "
                f"remove it, or choose {chooser} = {' or '.join(map(repr, choices))}."
            )


def _require(config: OptimizerConfig, name: str, holds: Callable[[float], bool], what: str) -> None:
    value = getattr(config, name)
    if value is not None and not holds(value):
        raise ConfigError(f"optimizer.{name} must be {what}, found {value}.")


def make_optimizer(config: OptimizerConfig) -> optax.GradientTransformation:
    """The optimizer at learning rate 1: new parameters are `params + learning_rate * updates`.

    References: Adam, Kingma and Ba (2015); AMSGrad, Reddi, Kale and Kumar (2018); AdamW,
        Loshchilov and Hutter (2019);
    Muon, Jordan et al. (2024), with the scale of Liu et al. (2025).
    """
    b1, b2 = config.b1, config.b2
    if config.name == "adam":
        optimizer = optax.adam(1.0, b1=b1, b2=b2)
    elif config.name == "amsgrad":
        optimizer = optax.amsgrad(1.0, b1=b1, b2=b2)
    elif config.name == "adamw":
        decay = config.setting("weight_decay")
        optimizer = optax.adamw(1.0, b1=b1, b2=b2, weight_decay=decay, mask=_is_matrix)
    else:
        optimizer = _muon(config)
    if config.rate_factors:
        optimizer = optax.chain(optimizer, _scaled_groups(config.rate_factors))
    if config.clip_norm is None:
        return optimizer
    return optax.chain(optax.clip_by_global_norm(config.clip_norm), optimizer)


def _scaled_groups(factors: Mapping[str, float]) -> optax.GradientTransformation:
    def scale(updates, params):
        del params
        times = lambda factor, group: jax.tree.map(lambda leaf: factor * leaf, group)
        return {name: times(factors.get(name, 1.0), group) for name, group in updates.items()}

    return optax.stateless(scale)


def _muon(config: OptimizerConfig) -> optax.GradientTransformation:
    matrix = optax.contrib.MuonDimensionNumbers(reduction_axis=-2, output_axis=-1)
    kinds = lambda stacks: {name: None if name == VECTORS else matrix for name in stacks}
    optimizer = optax.contrib.muon(
        1.0,
        beta=config.setting("momentum"),
        weight_decay=config.setting("weight_decay"),
        adam_b1=config.b1,
        adam_b2=config.b2,
        muon_weight_dimension_numbers=kinds,  # type: ignore[arg-type]
        consistent_rms=MUON_RMS,
    )
    return stacked(optimizer)


def _is_matrix(params: Params) -> PyTree:
    return jax.tree.map(lambda leaf: leaf.ndim >= 2, params)


def learning_rate(
    config: OptimizerConfig, *, step: int, progress: float, scale: float = 1.0
) -> float:
    """Learning rate of one step.

    Args:
        config: the schedule.
        step: steps taken before this one.
        progress: done fraction of the run's `max_epochs`.
        scale: product of the reductions by the plateau.

    Example:
        >>> config = OptimizerConfig(learning_rate=0.1, warmup_steps=0, final_fraction=0.1)
        >>> [round(learning_rate(config, step=0, progress=p), 3) for p in (0.0, 0.5, 1.0)]
        [0.1, 0.055, 0.01]
    """
    rate = config.learning_rate * scale
    if step < config.warmup_steps:
        rate *= (step + 1) / config.warmup_steps
    final = config.setting("final_fraction")
    if config.schedule == "cosine":
        rate *= final + (1.0 - final) * 0.5 * (1.0 + math.cos(math.pi * min(progress, 1.0)))
    elif config.schedule == "exponential":
        rate *= final ** min(progress, 1.0)
    return rate
