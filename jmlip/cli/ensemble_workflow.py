"""From a configuration to an ensemble with its report: the way of `jmlip ensemble`."""

from collections.abc import Mapping
from pathlib import Path

from jmlip.cli.config import RunConfig
from jmlip.cli.evaluate import print_table, shown_metrics
from jmlip.cli.members import (
    ENSEMBLE,
    Compared,
    compare_tests,
    require_members,
    train_members,
)
from jmlip.cli.model_starts import head_names
from jmlip.cli.run_directory import require_run_of, run_directory
from jmlip.cli.sets import read_sets
from jmlip.cli.workflow import write_config
from jmlip.core.checkpoint import read_json, remove_partial, write_json
from jmlip.core.lock import only_writer
from jmlip.potentials.potential import Potential
from jmlip.training.report import COLUMNS, Section, Table, write_html
from jmlip.training.run_files import SUMMARY


def train_ensemble(
    config: RunConfig,
    run_dir: Path,
    *,
    members: int,
    command: str,
    together: int | None = None,
    resume: bool = False,
) -> list[Potential]:
    """Train the members of an ensemble and write their report.

    Args:
        config: of the first member; the others differ in seed and in the split of the data.
        run_dir: must be empty or absent, unless the run is resumed.
        members: how many.
        command: what goes into the provenance.
        together: train at most so many at once, by one compiled program; `None`: one by one.
        resume: go on with what `run_dir` holds, or start where it holds nothing.

    Raises:
        ConfigError: files, labels or devices are missing; `run_dir` holds something, or other
            members.
        DivergenceError: training left the finite numbers.
    """
    require_members(config, members, together)
    with run_directory(run_dir, resume=resume), only_writer(run_dir):
        require_run_of("ensemble", run_dir)
        remove_partial(run_dir)
        sets = read_sets(config.data, heads=head_names(config.model))
        potentials = train_members(
            config, run_dir, sets, members=members, command=command, together=together
        )
        write_config(run_dir, config)
        named = {f"member {number}": p for number, p in enumerate(potentials)}
        compared = compare_tests(named, sets.tests, dtype=config.training.dtype)
        write_errors(run_dir, compared)
        _write_report(run_dir, config, members, compared)
    print_compared(compared)
    print(f"ensemble: {run_dir / ENSEMBLE}\nreport: {run_dir / 'report.html'}")
    return potentials


def write_errors(run_dir: Path, compared: Mapping[str, Compared]) -> None:
    """Errors and spread on each test set, as JSON."""
    table = {
        name: {
            "errors": {who: shown_metrics(metrics) for who, metrics in found.errors.items()},
            "energy_spread_meV": found.energy_spread,
            "forces_spread_meV_A": found.forces_spread,
        }
        for name, found in compared.items()
    }
    write_json(run_dir / "errors.json", table)


def print_compared(compared: Mapping[str, Compared]) -> None:
    """One table for each test set."""
    for name, found in compared.items():
        print(f"{name}: {spread_in_words(found)}")
        print_table({who: shown_metrics(metrics) for who, metrics in found.errors.items()})


def spread_in_words(found: Compared) -> str:
    """The spread over the members in a sentence's part."""
    if found.energy_spread is None:
        return "one alone, which has no spread"
    return (
        f"spread of energies {found.energy_spread:.3g} meV, of force components "
        f"{found.forces_spread:.3g} meV/Å"
    )


def compared_sections(compared: Mapping[str, Compared]) -> list[Section]:
    """A section of the report for each test set."""
    return [
        Section(f"Errors on {name}", text=f"{spread_in_words(found)}.", tables=[_errors(found)])
        for name, found in compared.items()
    ]


def _errors(found: Compared) -> Table:
    columns = [name for name in COLUMNS if any(name in m for m in found.errors.values())]
    rows = [
        (who, *(f"{metrics[c]:.4g}" if c in metrics else "-" for c in columns))
        for who, metrics in found.errors.items()
    ]
    return Table(("", *(COLUMNS[c] for c in columns)), rows)


def _write_report(
    run_dir: Path, config: RunConfig, members: int, compared: Mapping[str, Compared]
) -> None:
    header = ("", "seed", "split seed", "epochs", "best epoch", "best validation", "minutes")
    rows = []
    for number in range(members):
        summary = read_json(run_dir / f"member_{number}" / SUMMARY)
        cells = (
            config.training.seed + number,
            config.data.split_seed + number,
            summary["epochs"],
            summary["best_epoch"],
            f"{summary['best']:.4g}",
            summary["minutes"],
        )
        rows.append((f"member {number}", *map(str, cells)))
    write_html(
        run_dir / "report.html",
        title=f"{members} x {config.kind}",
        subtitle="jmlip report of an ensemble",
        sections=[
            Section("Members", tables=[Table(header, rows)]),
            *compared_sections(compared),
        ],
    )
