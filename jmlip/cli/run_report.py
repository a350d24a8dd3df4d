"""The report of a training run, from its run directory and its data."""

import json
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jmlip.cli.config import RunConfig
from jmlip.cli.sets import Sets
from jmlip.cli.workflow import Run
from jmlip.core.checkpoint import read_json
from jmlip.core.structure import Structure
from jmlip.data.reference import count_species
from jmlip.graphs.frames import named_head
from jmlip.potentials.potential import Potential
from jmlip.training.evaluation import evaluate_set
from jmlip.training.loss_config import LossConfig, TermConfig
from jmlip.training.plots import Comparison, Panel
from jmlip.training.records import JSONL_NAME
from jmlip.training.report import Section, training_sections, write_html

MAX_TRAINING = 2000
"""Of larger training sets, so many structures, evenly spaced, are evaluated for the report."""


def write_run_report(
    run_dir: Path,
    run: Run,
    *,
    title: str | None = None,
    further: Sequence[Section] = (),
    path: Path | None = None,
) -> list[Comparison]:
    """Evaluate a trained potential on all sets and write the report.

    Args:
        run_dir: has the metrics and the summary of the run.
        run: its sets are evaluated.
        title: heading of the report.
        further: sections that come before the environment.
        path: where to write; `report.html` in the run directory unless given.

    Returns:
        The evaluations, training set first.
    """
    config, sets, potential = run
    comparisons = compare(potential, sets, dtype=config.training.dtype)
    summary = read_json(run_dir / "summary.json")
    assert config.loss is not None
    sections = training_sections(
        summary=_summary(config, sets, potential, summary),
        panels=_panels(_records(run_dir), config.loss),
        best_epoch=summary["best_epoch"],
        comparisons=comparisons,
        environment=environment(potential),
    )
    formulas = sorted({s.formula for s in sets.train})
    what = formulas[0] if len(formulas) == 1 else f"{len(formulas)} compositions"
    write_html(
        path or run_dir / "report.html",
        title=title or f"{config.kind} on {what}",
        subtitle=f"jmlip training report, {potential.provenance['created'][:10]}",
        sections=[*sections[:-1], *further, sections[-1]],
    )
    return comparisons


def compare(potential: Potential, sets: Sets, *, dtype: str) -> list[Comparison]:
    """Evaluations of training, validation and test sets; sets without labels are left out.

    Of a model with heads, the structures of each head are a set of their own.
    """
    train = sets.train[:: -(-len(sets.train) // MAX_TRAINING)]
    named = {"training": train, "validation": sets.validation, **sets.tests}
    return [
        Comparison(
            name,
            evaluate_set(potential, structures, dtype=dtype),  # type: ignore[arg-type]
            _references(potential, structures),
        )
        for name, structures in _by_head(potential, named).items()
        if any(s.energy is not None or s.forces is not None for s in structures)
    ]


def _by_head(
    potential: Potential, named: Mapping[str, Sequence[Structure]]
) -> Mapping[str, Sequence[Structure]]:
    """Sets by name, divided by the heads that their structures name."""
    if not potential.heads:
        return named
    divided = {
        f"{name}, {head}": [s for s in structures if named_head(s) == head]
        for name, structures in named.items()
        for head in potential.heads
    }
    return {name: structures for name, structures in divided.items() if structures}


def environment(potential: Potential) -> dict[str, str]:
    """Versions and hardware, in words."""
    devices = jax.devices()
    return {
        **{name: str(v) for name, v in potential.provenance["versions"].items()},
        "device": f"{len(devices)} x {devices[0].device_kind}",
        "processor": f"{os.cpu_count()} cores, {platform.machine()}",
        "command": potential.provenance["command"],
        "data hash": potential.provenance["data_hash"],
        "configuration hash": potential.provenance["config_hash"],
    }


def _references(potential: Potential, structures: Sequence[Structure]) -> np.ndarray:
    references = np.array(potential.reference_energies)
    labelled = [s for s in structures if s.energy is not None]
    return np.array([count_species(s, potential.species) @ references for s in labelled])


def _records(run_dir: Path) -> list[dict[str, Any]]:
    lines = (run_dir / JSONL_NAME).read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def _summary(
    config: RunConfig, sets: Sets, potential: Potential, summary: Mapping[str, Any]
) -> dict[str, str]:
    assert config.loss is not None
    sizes = sorted({s.n_atoms for s in sets.train})
    span = f"{sizes[0]}" if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"
    tests = ", ".join(f"{name} {len(s)}" for name, s in sets.tests.items())
    terms = ", ".join(f"{name} {term.weight:g}" for name, term in config.loss.terms.items())
    model = ", ".join(f"{name} {value}" for name, value in config.model.items() if name != "kind")
    return {
        "Training set": f"{len(sets.train)} structures of {span} atoms",
        "Validation set": f"{len(sets.validation)} structures",
        **({"Test sets": tests} if tests else {}),
        "Model": f"{config.kind}: {model}",
        "Parameters": f"{potential.n_parameters:,}",
        "Loss": f"{terms}",
        "Training time": f"{summary['minutes']:.1f} minutes, {summary['steps']} steps",
        "Best epoch": f"{summary['best_epoch']} of {summary['epochs']}, "
        f"ended by {summary['stopped_by']}",
    }


def _panels(records: Sequence[Mapping[str, Any]], loss: LossConfig) -> list[Panel]:
    """Curves of the loss and of the errors; the training set's where its loss is a mean square."""
    energy = "energy_per_atom" if loss.energy is None else "energy"
    energy_unit = "meV/atom" if loss.energy is None else "meV"
    panels = [_panel(records, "Loss", "loss", "train_loss", 1, "validation_loss")]
    for title, unit, term, metric in (
        ("Energy RMSE", energy_unit, energy, f"validation_{energy}_rmse_meV"),
        ("Force RMSE", "meV/Å", "forces", "validation_forces_rmse_meV_A"),
        ("Stress RMSE", "meV/Å³", "stress", "validation_stress_rmse_meV_A3"),
    ):
        config = getattr(loss, term)
        if isinstance(config, TermConfig):
            column = f"train_{term}" if config.kind == "mse" else None
            panels.append(_panel(records, title, unit, column, 2, metric))
    return panels


def _panel(
    records: Sequence[Mapping[str, Any]],
    title: str,
    unit: str,
    train: str | None,
    power: int,
    validation: str,
) -> Panel:
    """Curves of one quantity; `power` 2 makes meV of a mean square in eV."""
    curves = {}
    if train is not None:
        scale = 1000.0 if power == 2 else 1.0
        found = [(r["epoch"], scale * r[train] ** (1 / power)) for r in records if train in r]
        curves["training"] = _columns(found)
    curves["validation"] = _columns(
        [(r["epoch"], r[validation]) for r in records if validation in r]
    )
    return Panel(title, unit, curves)


def _columns(pairs: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [x for x, _ in pairs], [y for _, y in pairs]
