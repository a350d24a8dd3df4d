"""Where a run stands, on the host: epoch, step, plateau, best validation, sums of the epoch."""

import dataclasses

from jmlip.training.plateau import Plateau


@dataclasses.dataclass(kw_only=True)
class Sums:
    """Sums over the finite steps of the running epoch; they stay on the host, in float64."""

    steps: int = 0
    loss: float = 0.0
    terms: tuple[float, ...] = ()
    gradient_norm: float = 0.0
    structures: int = 0
    seconds: float = 0.0


@dataclasses.dataclass(kw_only=True)
class Course:
    """All the host knows of a run; plain numbers, so that a checkpoint can hold them."""

    plateau: Plateau
    epoch: int = 0  # finished epochs
    batch: int = 0  # batches taken of the epoch after them
    step: int = 0  # steps taken, those skipped included
    skipped: int = 0
    seconds: float = 0.0  # over all calls, with validation and checkpoints
    best: float | None = None
    best_epoch: int = 0
    validated_epoch: int = 0
    sums: Sums = dataclasses.field(default_factory=Sums)

    def progress(self, batches: int, max_epochs: int) -> float:
        """Done fraction of the run."""
        return (self.epoch + self.batch / batches) / max_epochs
