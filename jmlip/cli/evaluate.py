"""`jmlip evaluate`: errors of a potential on labelled data, as a table and as JSON."""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jmlip.cli import options as kinds

if TYPE_CHECKING:
    from jmlip.core.structure import Structure
    from jmlip.training.evaluation import EvaluationResult

DESCRIPTION = """\
Errors of a potential on labelled data: energies in total and per atom, force components, stress.
An energy offset between two methods is an error like any other, unless --align takes it off.
"""


def add_parser(subparsers) -> None:
    parser = subparsers.add_parser(
        "evaluate", help="errors of a potential on data", description=DESCRIPTION
    )
    kinds.add_potential(parser)
    parser.add_argument("data", nargs="+", metavar="DATA", help="labelled structures")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the errors as JSON, too")
    kinds.add_dtype(parser, default="float32")
    kinds.add_labels(parser)
    parser.add_argument(
        "--align",
        choices=("none", "constant", "composition"),
        default="none",
        help="energy offset taken off before errors are computed: none, one constant, or one "
        "constant per element (default: %(default)s)",
    )
    parser.set_defaults(run=run)


COLUMNS = {
    "n_structures": ("structures", "d"),
    "energy_mae_meV": ("E MAE\nmeV", ".2f"),
    "energy_rmse_meV": ("E RMSE\nmeV", ".2f"),
    "energy_per_atom_mae_meV": ("E MAE\nmeV/atom", ".3f"),
    "energy_per_atom_rmse_meV": ("E RMSE\nmeV/atom", ".3f"),
    "forces_mae_meV_A": ("F MAE\nmeV/Å", ".2f"),
    "forces_rmse_meV_A": ("F RMSE\nmeV/Å", ".2f"),
    "stress_rmse_meV_A3": ("stress RMSE\nmeV/Å³", ".3f"),
}
"""Errors in table and JSON, their headings and formats; those without labels are left out."""


def run(options: argparse.Namespace) -> None:
    from jmlip.cli.cache import use_compilation_cache
    from jmlip.cli.kernels import mention_kernels
    from jmlip.core.checkpoint import write_json
    from jmlip.data import read
    from jmlip.factory import load_potential
    from jmlip.training.evaluation import evaluate_set

    labels = kinds.label_options(options)
    _require_different(options.data)
    _require_no_input(options)
    use_compilation_cache()
    potential = load_potential(options.potential)
    mention_kernels(potential.model)
    sets = {path: read(path, **labels) for path in options.data}
    errors = {}
    for path, structures in sets.items():
        result = evaluate_set(potential, structures, dtype=options.dtype, align=options.align)
        errors[path] = shown(result)
        for notice in notices(path, structures, potential.statistics):
            print(f"notice: {notice}", file=sys.stderr)
    if options.json is not None:
        write_json(options.json, errors)
    print_table(errors)


def notices(
    path: str, structures: Sequence["Structure"], statistics: Mapping[str, Any]
) -> Iterator[str]:
    """What is suspicious about a data set, by itself and beside the training data."""
    from jmlip.analysis.distances import shortest_distance
    from jmlip.data import check_force_sign
    from jmlip.md.approach import MARGIN

    sign = check_force_sign(structures)
    if sign.verdict == "gradients":
        yield f"the forces of {path} look like +dE/dR; if they are, turn their sign in the file."
    elif sign.unit_hint:
        yield f"the forces of {path} {sign.unit_hint}."
    known = statistics.get("shortest_distance")
    if known is None:
        return
    too_near = [shortest_distance(s, below=MARGIN * known) is not None for s in structures]
    near = [i for i, found in enumerate(too_near) if found]
    if near:
        some = ", ".join(map(str, near[:8])) + (" ..." if len(near) > 8 else "")
        yield (
            f"{len(near)} of {len(structures)} structures of {path} have atoms closer than any in "
            f"the training data ({known:.3f} angstrom): {some}."
        )


def _require_different(paths: list[str]) -> None:
    from jmlip.core.errors import ConfigError

    resolved = [Path(path).resolve() for path in paths]
    for i, path in enumerate(paths):
        if resolved[i] in resolved[:i]:
            raise ConfigError(f"DATA must name every set once, found {path} twice; remove one.")


def _require_no_input(options: argparse.Namespace) -> None:
    """Refuse to write errors over what they are computed from."""
    from jmlip.core.errors import ConfigError

    if options.json is None:
        return
    out, inputs = options.json.resolve(), [Path(path).resolve() for path in options.data]
    if out in inputs or Path(options.potential).resolve() in out.parents:
        raise ConfigError(f"--json must not overwrite an input, found {options.json}.")


def shown(result: "EvaluationResult") -> dict[str, float | int]:
    """The errors of a table, by name."""
    return shown_metrics(result.metrics)


def shown_metrics(metrics: Mapping[str, float | int]) -> dict[str, float | int]:
    """Those of some errors that a table shows."""
    return {name: metrics[name] for name in COLUMNS if name in metrics}


def print_table(errors: Mapping[str, Mapping[str, float]]) -> None:
    """One line per data set, one column per error."""
    from jmlip.cli.tables import new_table, show

    table = new_table()
    table.add_column("", no_wrap=True)
    names = [name for name in COLUMNS if any(name in found for found in errors.values())]
    for name in names:
        table.add_column(COLUMNS[name][0], justify="right")
    for path, found in errors.items():
        cells = [format(found[n], COLUMNS[n][1]) if n in found else "-" for n in names]
        table.add_row(path, *cells)
    show(table, width=100 + max(map(len, errors), default=0))
