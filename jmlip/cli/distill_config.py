"""`DistillConfig`: the TOML file of `jmlip distill`, two sections more than that of a training."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jmlip.cli.config import (
    DataConfig,
    Files,
    RunConfig,
    absolute,
    absolute_paths,
    read_sections,
    with_learning_rate,
)
from jmlip.core.config import from_dict
from jmlip.core.errors import ConfigError
from jmlip.training.config import LoopConfig
from jmlip.training.distill import TargetsConfig
from jmlip.training.loss_config import LABELS, LossConfig
from jmlip.training.optimizers import OptimizerConfig

SECTIONS = ("model", "loss", "optimizer", "training")
"""What may differ between teachers that are trained and their student."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TeacherConfig:
    """Where the teachers come from: `potentials`, or `members` that are trained first.

    Args:
        potentials: directories of potentials or of ensembles, each once.
        members: how many teachers are trained on the student's data, each with a seed and a split
            of its own.
        model: section `model` of the teachers; the student's unless given.
        loss: section `loss` of the teachers; energies and forces as far as the data have them,
            unless given.
        optimizer: section `optimizer` of the teachers; the student's unless given.
        training: section `training` of the teachers; the student's unless given.

    Raises:
        ConfigError: there are both potentials and members, or neither, or sections for potentials
            that are trained already, or a potential is named twice.
    """

    potentials: Files | None = None
    members: int | None = None
    model: Mapping[str, Any] | None = None
    loss: LossConfig | None = None
    optimizer: OptimizerConfig | None = None
    training: LoopConfig | None = None

    def __post_init__(self):
        if (self.potentials is None) == (self.members is None):
            raise ConfigError(
                "teacher must have either potentials, directories, or members, the number that is "
                f"trained; found {'neither' if self.members is None else 'both'}."
            )
        if self.potentials == ():
            raise ConfigError(
                "teacher.potentials must name at least one directory, found an empty list."
            )
        if self.potentials == "" or (isinstance(self.potentials, tuple) and "" in self.potentials):
            raise ConfigError("teacher.potentials must name directories, found an empty name.")
        resolved = [path.resolve() for path in self.paths]
        if twice := [p for i, p in enumerate(self.paths) if resolved[i] in resolved[:i]]:
            raise ConfigError(
                f"teacher.potentials must name every teacher once, found {twice[0]} twice; remove "
                "one."
            )
        if self.members is not None and self.members < 1:
            raise ConfigError(f"teacher.members must be at least 1, found {self.members}.")
        given = [name for name in SECTIONS if getattr(self, name) is not None]
        if self.potentials is not None and given:
            raise ConfigError(
                f"teacher.{given[0]} means nothing for teacher.potentials, which are trained "
                "already; remove it, or give members instead."
            )

    @property
    def paths(self) -> list[Path]:
        """The directories of teachers that are trained already."""
        found = self.potentials or ()
        return [Path(p) for p in ((found,) if isinstance(found, str) else found)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class DistillConfig:
    """All of a distillation.

    Args:
        teacher: section `teacher`.
        targets: section `targets`.
        data: section `data`, of teachers and student.
        model: section `model` of the student.
        loss: section `loss` of the student; it has a term for every label of the targets.
        optimizer: section `optimizer` of the student.
        training: section `training` of the student.

    Raises:
        ConfigError: fields are unknown or contradict each other.
    """

    teacher: TeacherConfig
    targets: TargetsConfig
    data: DataConfig
    model: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    loss: LossConfig | None = None
    optimizer: OptimizerConfig = dataclasses.field(default_factory=OptimizerConfig)
    training: LoopConfig = dataclasses.field(default_factory=LoopConfig)

    def __post_init__(self):
        self._require_terms()
        for label in {"atomic_energies", "energy_orders"} & set(self.targets.labels):
            for name in {"baseline", "heads"} & set(self.model):
                raise ConfigError(
                    f"{label} by teachers need a student with one set of reference energies of its "
                    f"own, found model.{name}; remove it, or {label} from targets.labels."
                )
        if "energy_orders" in self.targets.labels and self.student.kind != "hipnn":
            raise ConfigError(
                "energy_orders are of HIP-NN, found a student with model.kind = "
                f"{self.student.kind!r}; choose 'hipnn', or atomic_energies instead."
            )
        if self.teacher.members is None:
            RunConfig(**self._student)
            return
        RunConfig(**self._teachers)
        if self.data.n_train is not None:
            raise ConfigError(
                "data.n_train means other structures for every teacher; write those of the "
                "student to a file of their own, or give teacher.potentials."
            )

    @property
    def student(self) -> RunConfig:
        """The configuration of the student alone."""
        return RunConfig(**self._student)

    @property
    def teachers(self) -> RunConfig:
        """The configuration of the first teacher that is trained."""
        return RunConfig(**self._teachers)

    @property
    def _student(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("data", *SECTIONS)}

    @property
    def _teachers(self) -> dict[str, Any]:
        given = {name: getattr(self.teacher, name) for name in SECTIONS}
        own = {name: value for name, value in given.items() if value is not None}
        # a loss with terms for the targets is the student's alone
        return {**self._student, "loss": None, **own}

    def _require_terms(self) -> None:
        if self.loss is None:
            labels = {"energy", "forces"}
        else:
            labels = {LABELS[term] for term in self.loss.terms if term in LABELS}
        for label in self.targets.labels:
            if label not in labels:
                raise ConfigError(
                    "the student's loss must have a term for every label of targets.labels, found "
                    f"none for {label}; add, for example, loss.{label} = {{weight = 1.0}}."
                )


def load_distill_config(path: Path, assignments: Sequence[str] = ()) -> DistillConfig:
    """Read a configuration; arguments and errors are those of `jmlip.cli.config.load_config`."""
    values = read_sections(path, assignments)
    teacher = values.get("teacher")
    if isinstance(teacher, Mapping):
        values["teacher"] = _teacher_values(teacher, values, path)
    return from_dict(DistillConfig, with_learning_rate(values))


def _teacher_values(
    teacher: Mapping[str, Any], values: Mapping[str, Any], path: Path
) -> dict[str, Any]:
    found = absolute_paths(teacher, path)
    if "potentials" in found:
        return {**found, "potentials": absolute(path.absolute().parent, found["potentials"])}
    if "members" in found:  # the rate that is usual for their model, not for the student's
        own = {"model": {}, **{k: v for k, v in values.items() if k in SECTIONS}, **found}
        found |= {k: v for k, v in with_learning_rate(own).items() if k == "optimizer"}
    return found
