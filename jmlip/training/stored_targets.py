"""Labels by teachers on disk: two stores of structures, and what they were made from.

    train/, validation/   stores, read as they are needed
    targets.json          hashes of the teachers, of the data and of both stores, and the options

The table is written last, and compared before the stores are used: labels are made anew where
teachers, data or options are others, and where a run was killed in between.
"""

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jmlip.core.checkpoint import read_json, write_json
from jmlip.core.config import to_dict
from jmlip.core.errors import DataError, JmlipError
from jmlip.core.structure import Structure
from jmlip.data.hashing import data_hash
from jmlip.data.store import StructureStore, write_store
from jmlip.potentials.hashing import content_hash
from jmlip.potentials.potential import Potential
from jmlip.training.distill import Targets, TargetsConfig

FILE = "targets.json"
FORMAT = 1
"""Another one where the same teachers and data would give other labels."""


def made_from(
    teachers: Sequence[Potential],
    train: Sequence[Structure],
    validation: Sequence[Structure],
    config: TargetsConfig,
    *,
    references: Mapping[int, float],
    n_orders: int = 1,
    dtype: str,
) -> dict[str, Any]:
    """Everything that decides what the labels are, as plain values.

    Args:
        teachers: the potentials.
        train: training structures as they are before.
        validation: validation structures as they are before.
        config: which labels.
        references: the student's reference energies for these structures, by atomic number, eV.
        n_orders: interaction layers of the student, for "energy_orders".
        dtype: precision of the teachers.
    """
    return {
        "format": FORMAT,
        "teachers": [content_hash(teacher) for teacher in teachers],
        "data": {"train": data_hash(train), "validation": data_hash(validation)},
        "references": {str(z): energy for z, energy in references.items()},
        "n_orders": n_orders,
        "dtype": dtype,
        **to_dict(config),
    }


def load_targets(folder: Path, made_from: Mapping[str, Any]) -> Targets | None:
    """The labels in a folder, or `None` where there are none, or others, or damaged ones."""
    with contextlib.suppress(JmlipError, KeyError, TypeError):
        table = read_json(folder / FILE)
        if {**table["made_from"]} == made_from:
            found = Targets(*(StructureStore(folder / name) for name in Targets._fields))
            if _hashes(found) == table["stores"]:
                return found
    return None


def save_targets(folder: Path, targets: Targets, made_from: Mapping[str, Any]) -> Targets:
    """Write the labels, and open them.

    Raises:
        DataError: something else is in the way.
        JmlipError: the place cannot be written.
    """
    if folder.exists() and not folder.is_dir():
        raise DataError(
            f"{folder} must be a directory for labels by teachers, found a file; move it, or "
            "choose another place for the run."
        )
    stored = Targets(
        *(write_store(part, folder / name) for name, part in targets._asdict().items())
    )
    write_json(folder / FILE, {"made_from": made_from, "stores": _hashes(stored)})
    return stored


def _hashes(targets: Any) -> dict[str, str]:
    """Of what the stores hold, not of what they say they hold."""
    return {name: data_hash(store) for name, store in targets._asdict().items()}
