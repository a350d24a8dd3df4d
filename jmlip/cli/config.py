"""`RunConfig`: the TOML file of `jmlip train`, one frozen dataclass per section."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from jmlip.cli.model_section import check_model, kind_of, known_model
from jmlip.core.config import from_dict, load_toml, override
from jmlip.core.errors import ConfigError
from jmlip.data.hiding import LabelName
from jmlip.data.units import Units
from jmlip.factory import PRESETS
from jmlip.training.config import LoopConfig, TrainingConfig
from jmlip.training.loss_config import LossConfig, TermConfig
from jmlip.training.optimizers import OptimizerConfig

Files = str | tuple[str, ...]
STARTS = ("potential", "baseline")
"""Fields of a model that name directories of potentials."""
FILE_FIELDS = ("train", "validation", "test", "isolated_atoms")


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Which data, in which units, split how.

    Args:
        train: file or files to train on.
        validation: file or files that decide which parameters are kept; if absent, split off
            `train`.
        test: file or files that appear in the report and nowhere else.
        validation_fraction: part of `train` that is split off; 0.1 unless given.
        split: "random", "blocks" (a trajectory in consecutive pieces) or "composition" (no formula
            in both parts); "random" unless given.
        split_seed: choice of the random parts.
        n_train: use only so many structures of what remains for training, chosen at random.
        energy_key: column of the energies where it has another name.
        forces_key: column of the forces.
        stress_key: column of the stresses.
        hide: of "energy", "forces", "stress" and "atomic_energies", those labels of the training
            and validation files that nothing may see; test files keep theirs.
        forces_are_gradients: the forces column holds +dE/dR; unless given, the data themselves are
            asked, and refused where they look like gradients.
        units: units of all files, where they are not those their format implies.
        reference: energies of single atoms that are taken off before training.
        isolated_atoms: file with one isolated atom of each element.

    Raises:
        ConfigError: fields contradict each other.
    """

    train: Files
    validation: Files | None = None
    test: Files | None = None
    validation_fraction: float | None = None
    split: Literal["random", "blocks", "composition"] | None = None
    split_seed: int = 0
    n_train: int | None = None
    energy_key: str | None = None
    forces_key: str | None = None
    stress_key: str | None = None
    hide: tuple[LabelName, ...] = ()
    forces_are_gradients: bool | None = None
    units: Units | None = None
    reference: Literal["least-squares", "isolated-atoms", "none"] = "least-squares"
    isolated_atoms: str | None = None

    def __post_init__(self):
        for name in FILE_FIELDS:
            value = getattr(self, name)
            if value in ("", ()) or (isinstance(value, tuple) and "" in value):
                raise ConfigError(
                    f"data.{name} must name at least one file, and each by a name, found "
                    f"{json.dumps(value)}."
                )
        for name in ("validation_fraction", "split"):
            if self.validation is not None and getattr(self, name) is not None:
                raise ConfigError(f"data.{name} means nothing beside data.validation; remove one.")
        fraction = self.validation_fraction
        if fraction is not None and not 0.0 < fraction < 1.0:
            raise ConfigError(f"data.validation_fraction must be between 0 and 1, got {fraction}.")
        if self.split_seed < 0:
            raise ConfigError(f"data.split_seed must be at least 0, got {self.split_seed}.")
        if self.n_train is not None and self.n_train < 1:
            raise ConfigError(f"data.n_train must be at least 1, got {self.n_train}.")
        if (self.reference == "isolated-atoms") != (self.isolated_atoms is not None):
            raise ConfigError(
                "data.isolated_atoms must be given if, and only if, data.reference is "
                f"'isolated-atoms', got reference {self.reference!r} and file "
                f"{self.isolated_atoms!r}."
            )

    def files(self, name: str) -> list[Path]:
        """The files of a field, none where it is absent."""
        value = getattr(self, name)
        return [Path(p) for p in ([value] if isinstance(value, str) else value or ())]


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunConfig:
    """All of a training run.

    Args:
        data: section `data`.
        model: section `model`: `kind` and the fields of that model's configuration, without the
            species, which the data name; or `potential` alone, a directory to start from. With
            `baseline`, a directory, the model is a correction to that potential, which stays; with
            `heads`, names, it has readouts for each of several data sets.
        loss: section `loss`; if absent, energies and forces as far as the data have them.
        optimizer: section `optimizer`.
        training: section `training`.

    Raises:
        ConfigError: fields are unknown or contradict each other.
    """

    data: DataConfig
    model: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    loss: LossConfig | None = None
    optimizer: OptimizerConfig = dataclasses.field(default_factory=OptimizerConfig)
    training: LoopConfig = dataclasses.field(default_factory=LoopConfig)

    def __post_init__(self):
        check_model(self.model)
        if "baseline" in self.model and "small" in (self.optimizer.rate_factors or {}):
            raise ConfigError(
                "optimizer.rate_factors.small means nothing with model.baseline, which stays as it "
                "is; remove it, or choose kind = 'pair' with small = {potential = ...}."
            )
        self.training_config(self.loss or DEFAULT_LOSS)

    @property
    def kind(self) -> str:
        """Name of the model."""
        return kind_of(self.model)

    @property
    def shifts_by_mean(self) -> bool:
        """Whether atomic energies hold the energy of binding, whose mean is known."""
        return self.data.reference == "isolated-atoms"

    def known_model(self) -> dict[str, Any]:
        """Kind and all fields of the model, except those that only the data can tell."""
        return known_model(self.model, shift_by_mean=self.shifts_by_mean)

    def training_config(self, loss: LossConfig) -> TrainingConfig:
        """What `fit` wants."""
        optimizer = self.optimizer
        if "baseline" in self.model:
            factors = {**(optimizer.rate_factors or {}), "small": 0.0}
            optimizer = dataclasses.replace(optimizer, rate_factors=factors)
        return TrainingConfig(loss=loss, optimizer=optimizer, training=self.training)


EQUIVARIANT_RATE = 0.03
"""Learning rate of Muon for the equivariant models, unless one is given."""
DEFAULT_LOSS = LossConfig(energy=TermConfig(weight=1.0), forces=TermConfig(weight=10.0))


def load_config(path: Path, assignments: Sequence[str] = ()) -> RunConfig:
    """Read a configuration, apply overrides, and make its paths absolute.

    Args:
        path: TOML file; relative paths in it start from its folder.
        assignments: `section.key=value`.

    Raises:
        ConfigError: not a valid configuration.
    """
    return from_dict(RunConfig, with_learning_rate(read_sections(path, assignments)))


def read_sections(path: Path, assignments: Sequence[str]) -> dict[str, Any]:
    """The sections of a file with overrides and absolute paths."""
    return absolute_paths(override(load_toml(path), assignments), path)


def absolute_paths(values: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """The sections `data` and `model` of a file at `path` with absolute paths."""
    values = dict(values)
    data = values.get("data")
    if isinstance(data, Mapping):
        folder = path.absolute().parent
        files = {name: absolute(folder, data[name]) for name in FILE_FIELDS if name in data}
        values["data"] = {**data, **files}
    model = values.get("model")
    if isinstance(model, Mapping):
        parts = {name: _absolute_start(path, value) for name, value in model.items()}
        values["model"] = _absolute_start(path, parts)
    return values


def with_learning_rate(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """Weights that begin at unit variance, divided where they are used, want larger steps."""
    model, optimizer = values.get("model", {}), values.get("optimizer", {})
    if not (isinstance(model, Mapping) and isinstance(optimizer, Mapping)):
        return values  # said by whoever reads it
    parts = [part for part in model.values() if isinstance(part, Mapping)]
    if (
        any(part.get("kind") in PRESETS for part in (model, *parts))
        and optimizer.get("name", "muon") == "muon"
    ):
        return {**values, "optimizer": {"learning_rate": EQUIVARIANT_RATE, **optimizer}}
    return values


def _absolute_start(path: Path, table: Any) -> Any:
    """A model, or a part of a pair, with the place of the potential that it starts from."""
    if not isinstance(table, Mapping):
        return table
    folder = path.absolute().parent
    starts = {name: absolute(folder, table[name]) for name in STARTS if name in table}
    return {**table, **starts}


def absolute(folder: Path, value: Any) -> Any:
    if isinstance(value, list):
        return [absolute(folder, item) for item in value]
    return str(folder / value) if isinstance(value, str) and value else value


def to_toml(sections: Mapping[str, Mapping[str, Any]]) -> str:
    """TOML text of sections of plain values.

    >>> print(to_toml({"loss": {"forces": {"weight": 10.0}}, "data": {"train": ["a.xyz"]}}), end="")
    [loss]
    forces = {weight = 10.0}
    <BLANKLINE>
    [data]
    train = ["a.xyz"]
    """
    parts = [
        "\n".join([f"[{name}]", *(f"{key} = {_toml(value)}" for key, value in section.items())])
        for name, section in sections.items()
    ]
    return "\n\n".join(parts) + "\n"


def _toml(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key} = {_toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value, ensure_ascii=False)
