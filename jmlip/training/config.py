"""Configuration of a fit: the sections `loss`, `optimizer` and `training`."""

import dataclasses
from typing import Literal

from jmlip.core.errors import ConfigError
from jmlip.training.devices import MatmulPrecision, Parallel
from jmlip.training.directional import ForceGradient, check_force_gradient
from jmlip.training.loss_config import LossConfig
from jmlip.training.optimizers import OptimizerConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class LoopConfig:
    """The course of a training run.

    Args:
        batch_size: structures in a step, all devices and turns together.
        max_batch_size: up to where the batch size is raised when validation stops improving;
            schedule "plateau" only.
        max_epochs: passes over the training set; the horizon of the schedules.
        max_minutes: wall-clock time after which this call stops cleanly; a resumed run has it anew.
        validate_every: epochs between validations.
        select: the validation error that decides which parameters are kept, when to stop, and when
            a plateau is reached.
        patience: epochs without a better validation after which training stops; `None`: never.
        ema_decay: decay of the moving average of the parameters, which is validated and kept; 0:
            the parameters themselves.
        checkpoint_every_minutes: wall-clock time between checkpoints.
        max_skipped: steps in a row that are not finite, after which training stops with a
            diagnosis.
        seed: order of the data.
        dtype: precision of all arithmetic.
        devices: devices among which each batch is divided; with `jmlip ensemble --together`, those
            over which members are spread.
        parallel: how they work together, by `NamedSharding` on a mesh ("sharding", unless given) or
            `jax.pmap` ("pmap"); several devices only.
        accumulate: turns in which a device takes its part of a batch: memory for a step is divided
            by it.
        matmul_precision: how exactly products of matrices are taken in a step, where the device has
            a choice: "float32", "tf32" or "bf16" (operands rounded to so many bits, sums in single
            precision); unless given, as JAX does it; float32 only. Validation is not affected.
        force_gradient: how the gradient of a loss on forces or stress is found: the derivative of a
            derivative, by reverse mode ("double_backward") or forward mode ("jvp"), or differences
            of energies; see "How forces are trained".
        force_gradient_eps: root mean square of what is added to a component of a pair vector, in
            angstrom; 1e-3 unless given; "finite_difference" only.

    Raises:
        ConfigError: a value is out of range.
    """

    batch_size: int = 16
    max_batch_size: int | None = None
    max_epochs: int = 500
    max_minutes: float | None = None
    validate_every: int = 1
    select: Literal["loss", "forces_rmse", "energy_mae"] = "loss"
    patience: int | None = None
    ema_decay: float = 0.999
    checkpoint_every_minutes: float = 5.0
    max_skipped: int = 10
    seed: int = 0
    dtype: Literal["float32", "float64"] = "float32"
    devices: int = 1
    parallel: Parallel | None = None
    accumulate: int = 1
    matmul_precision: MatmulPrecision | None = None
    force_gradient: ForceGradient = "double_backward"
    force_gradient_eps: float | None = None

    def __post_init__(self):
        counts = ("batch_size", "max_epochs", "validate_every", "patience", "max_skipped")
        for name in (*counts, "devices", "accumulate"):
            self._require(name, (getattr(self, name) or 0) >= 1, "at least 1")
        self._require("max_minutes", (self.max_minutes or 0.0) > 0.0, "positive")
        self._require("seed", self.seed >= 0, "at least 0")
        self._require("checkpoint_every_minutes", self.checkpoint_every_minutes >= 0, "at least 0")
        self._require("ema_decay", 0.0 <= self.ema_decay < 1.0, "at least 0 and below 1")
        self._require(
            "max_batch_size", (self.max_batch_size or 0) > self.batch_size, "above batch_size"
        )
        if self.matmul_precision is not None and self.dtype == "float64":
            raise ConfigError(
                "training.matmul_precision has no meaning with training.dtype = 'float64'; remove "
                "one of them."
            )
        if self.parallel is not None and self.devices == 1:
            raise ConfigError(
                "training.parallel has no meaning with training.devices = 1; remove it, or give "
                "more devices."
            )

    def _require(self, name: str, holds: bool, what: str) -> None:
        value = getattr(self, name)
        if value is not None and not holds:
            raise ConfigError(f"training.{name} must be {what}, found {value}.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """All that decides how a potential is fitted to given data.

    Example:
        >>> from jmlip.core.config import from_dict
        >>> values = {"loss": {"forces": {"weight": 10.0}}, "training": {"max_epochs": 100}}
        >>> from_dict(TrainingConfig, values).loss.forces.weight
        10.0
    """

    loss: LossConfig
    optimizer: OptimizerConfig = dataclasses.field(default_factory=OptimizerConfig)
    training: LoopConfig = dataclasses.field(default_factory=LoopConfig)

    def __post_init__(self):
        if self.training.max_batch_size is not None and self.optimizer.schedule != "plateau":
            raise ConfigError(
                "training.max_batch_size has no meaning with optimizer.schedule = "
                f"{self.optimizer.schedule!r}; remove it, or choose schedule = 'plateau'."
            )
        check_force_gradient(
            self.loss, self.training.force_gradient, self.training.force_gradient_eps
        )
