"""From a configuration to a student with its report: the way of `jmlip distill`.

Every part leaves something whole on disk and uses what it finds there: teachers that are trained,
labels that were made from these teachers and data, checkpoints of the student. So a run that was
killed anywhere and resumed ends with the same bits as one that was not.
"""

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from jmlip.cli import run_report
from jmlip.cli.description import describe
from jmlip.cli.distill_config import DistillConfig
from jmlip.cli.ensemble_workflow import compared_sections, print_compared, write_errors
from jmlip.cli.kernels import mention_kernels
from jmlip.cli.members import compare_tests, train_members
from jmlip.cli.model_section import complete_model
from jmlip.cli.model_starts import head_names
from jmlip.cli.references import reference_energies
from jmlip.cli.run_directory import PLAN, require_run_of, run_directory
from jmlip.cli.sets import Sets, read_sets
from jmlip.cli.workflow import Prepared, Run, prepare, write_config
from jmlip.core.checkpoint import read_json, remove_partial, write_json
from jmlip.core.config import to_dict
from jmlip.core.errors import ConfigError, PotentialError
from jmlip.core.lock import only_writer
from jmlip.core.structure import Structure
from jmlip.data import data_hash, species_of
from jmlip.factory import load_ensemble, load_potential
from jmlip.potentials.ensembles import is_ensemble
from jmlip.potentials.hashing import content_hash
from jmlip.potentials.potential import Potential
from jmlip.training.checkpoints import STRUCTURES, require_same
from jmlip.training.distill import (
    TargetName,
    ensemble_targets,
    mean_weight,
    require_known,
    require_spread,
)
from jmlip.training.loop import fit
from jmlip.training.orders import ORDERS
from jmlip.training.report import Section
from jmlip.training.requirements import require_divisible
from jmlip.training.run_files import POTENTIAL
from jmlip.training.stored_targets import load_targets, made_from, save_targets
from jmlip.training.validation import require_labels

TEACHERS, TARGETS, STUDENT = "teachers", "targets", "student"
FROM_TEACHERS = Section(
    "Labels by the teachers",
    text="Errors of these labels are from the teachers on the training and validation sets, and "
    "from the reference on test files.",
)


def distill(config: DistillConfig, run_dir: Path, *, command: str, resume: bool = False) -> Run:
    """Train a student from labels by teachers, and write its report.

    Args:
        config: what to do.
        run_dir: must be empty or absent, unless the run is resumed.
        command: what goes into the provenance.
        resume: go on with what `run_dir` holds, or start where it holds nothing.

    Raises:
        ConfigError: files, labels or devices are missing; the data have labels that the teachers
            shall give; `run_dir` holds something, or another run.
        PotentialError: a teacher is damaged, or does not know an element.
        DivergenceError: training left the finite numbers.
    """
    _require_devices(config)
    told = set[str]()
    with run_directory(run_dir, resume=resume), only_writer(run_dir):
        require_run_of("distill", run_dir)
        remove_partial(run_dir, run_dir / TEACHERS, run_dir / TARGETS)
        sets = read_sets(config.data, heads=head_names(config.model))
        plan = _plan(config, sets)
        if (run_dir / PLAN).exists():
            require_same(read_json(run_dir / PLAN), plan)
        _require_labels(config, sets)
        teachers = _load_teachers(config, sets)
        require_spread(config.targets, config.teacher.members or len(teachers or ()))
        write_json(run_dir / PLAN, plan)
        if teachers is None:
            teachers = train_members(
                config.teachers,
                run_dir / TEACHERS,
                sets,
                members=config.teacher.members or 1,
                command=command,
                told=told,
            )
        sets = _with_targets(config, teachers, sets, run_dir / TARGETS)
        prepared = prepare(config.student, command=command, sets=sets)
        print(f"student:\n{describe(*prepared[:3])}", flush=True)
        mention_kernels(prepared.potential.model)
        run = _fit(prepared, run_dir / STUDENT, told)
        # with what followed from the data, it gives the same run
        model, loss = prepared.config.model, prepared.config.loss
        write_config(run_dir, dataclasses.replace(config, model=model, loss=loss))
    _report(run, teachers, run_dir)
    return run


def _plan(config: DistillConfig, sets: Sets) -> dict[str, Any]:
    """What a run has in common with one that goes on with it, known before anything is done."""
    hashes = {"train": data_hash(sets.train), "validate": data_hash(sets.validation)}
    sections = {"teacher": to_dict(config.teacher), "targets": to_dict(config.targets)}
    return json.loads(json.dumps({**sections, STRUCTURES: hashes}))


def _require_devices(config: DistillConfig) -> None:
    """Refuse devices of teachers or student that are not there."""
    if not config.teacher.paths:
        require_divisible(config.teachers.training)
    require_divisible(config.student.training)


def _fit(prepared: Prepared, student_dir: Path, told: set[str]) -> Run:
    fitted = fit(
        prepared.potential,
        prepared.sets.train,
        prepared.sets.validation,
        prepared.training,
        student_dir,
        resume=True,
        told=told,
    )
    return Run(prepared.config, prepared.sets, fitted)


def load_teachers(paths: Sequence[Path]) -> list[Potential]:
    """The potentials in directories of potentials or of ensembles, in order."""
    found: list[Potential] = []
    for path in paths:
        found += load_ensemble(path) if is_ensemble(path) else [load_potential(path)]
    return found


def _load_teachers(config: DistillConfig, sets: Sets) -> list[Potential] | None:
    """Teachers that are trained already, and know what they are asked; `None` without any."""
    if not config.teacher.paths:
        return None
    teachers = load_teachers(config.teacher.paths)
    try:
        require_known(teachers, chain(sets.train, sets.validation, *sets.tests.values()))
    except PotentialError as error:
        raise PotentialError(f"teacher.potentials: {error}") from error
    _require_distinct(teachers)
    return teachers


def _require_distinct(teachers: Sequence[Potential]) -> None:
    """Refuse copies: one that counts twice makes the spread too small and the mean its own."""
    numbers: dict[str, int] = {}
    for number, teacher in enumerate(teachers):
        first = numbers.setdefault(content_hash(teacher), number)
        if first != number:
            raise ConfigError(
                "teacher.potentials must name every teacher once, found the parameters of teacher "
                f"{first} in teacher {number}, too; remove one."
            )


def _require_labels(config: DistillConfig, sets: Sets) -> None:
    """Refuse labels that come from two places or from none, before any teacher is trained."""
    labels = config.targets.labels
    for label in labels:
        if any(getattr(s, label) is not None for s in (*sets.train, *sets.validation)):
            raise ConfigError(
                f"targets.labels must name what the data do not have, found {label} in both; hide "
                f'those of the data with data.hide = ["{label}"], or remove {label} from '
                "targets.labels."
            )
    energies = "energy" in labels or any(s.energy is not None for s in sets.train)
    if "atomic_energies" in labels and config.data.reference == "least-squares" and not energies:
        raise ConfigError(
            "atomic energies by teachers need the student's reference energies, which follow from "
            "energies of the training set, found none; add energy to targets.labels, or give "
            "data.isolated_atoms."
        )
    if config.loss is not None:
        training = config.student.training_config(config.loss)
        pretended = (_pretended(part, labels) for part in (sets.train, sets.validation))
        require_labels(training, *pretended)


def _pretended(structures: Sequence[Structure], labels: Sequence[TargetName]) -> list[Structure]:
    """The structures as if they had the teachers' labels."""
    shapes: Mapping[TargetName, Callable[[int], tuple[int, ...]]] = {
        "energy": lambda n: (),
        "forces": lambda n: (n, 3),
        "atomic_energies": lambda n: (n,),
    }
    found = [
        s.replace(**{k: np.zeros(shapes[k](s.n_atoms)) for k in labels if k != ORDERS})
        for s in structures
    ]
    if ORDERS not in labels:
        return found
    orders = lambda s: {"arrays": {ORDERS: np.zeros((s.n_atoms, 1))}}
    return [s.replace(info=orders(s)) for s in found]


def _n_orders(config: DistillConfig) -> int:
    """Interaction layers of the student, or 1 where nobody asks."""
    if ORDERS not in config.targets.labels:
        return 1
    return complete_model(config.model, (1,), None).config.n_interactions


def _with_targets(
    config: DistillConfig, teachers: Sequence[Potential], sets: Sets, folder: Path
) -> Sets:
    """The sets with labels by the teachers, read where they are made already."""

    def references(structures: Sequence[Structure]) -> dict[int, float]:
        species = species_of(structures)
        found = reference_energies(config.data, structures, species)
        return dict(zip(species, found, strict=True))

    dtype = config.training.dtype
    data = teachers, sets.train, sets.validation, config.targets
    n_orders = _n_orders(config)
    key = made_from(*data, references=references(sets.train), n_orders=n_orders, dtype=dtype)
    found = load_targets(folder, key)
    if found is None:
        made = ensemble_targets(*data, references=references, n_orders=n_orders, dtype=dtype)
        found = save_targets(folder, made, key)
    words = ", ".join(config.targets.labels)
    for label in config.targets.spread_scale or {}:
        words += f" (mean weight of {label} {mean_weight(found.train, label):.3f})"
    n, m = len(found.train) + len(found.validation), len(teachers)
    print(
        f"targets: {words} of {n} structures by {m} teacher{'s'[: m > 1]}; during training, errors "
        "of these are from the teachers, not from a reference.",
        flush=True,
    )
    return Sets(found.train, found.validation, sets.tests)


def _report(run: Run, teachers: Sequence[Potential], run_dir: Path) -> None:
    compared = compare_tests(
        {f"teacher {number}": teacher for number, teacher in enumerate(teachers)},
        run.sets.tests,
        dtype=run.config.training.dtype,
        others={"student": run.potential},
    )
    write_errors(run_dir, compared)
    run_report.write_run_report(
        run_dir / STUDENT,
        run,
        further=[FROM_TEACHERS, *compared_sections(compared)],
        path=run_dir / "report.html",
    )
    print_compared(compared)
    print(f"potential: {run_dir / STUDENT / POTENTIAL}\nreport: {run_dir / 'report.html'}")
