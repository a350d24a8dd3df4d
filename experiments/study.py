"""What experiments share: train a configuration, score it, keep the potential, print the tables.

A run that was interrupted goes on where it stopped; one that has ended is only scored again.
"""

import argparse
import json
import os
import shutil
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import jmlip
from jmlip.cli.main import main as jmlip_command

Row = dict[str, Any]
SHARED = Path(__file__).parents[1].parent / "shared" / "data"
RMSE = {"energy": "energy_rmse_meV", "force": "forces_rmse_meV_A"}  # of `Study.errors`


class Study(NamedTuple):
    """Where an experiment finds and leaves things."""

    folder: Path  # of the experiment: configurations, results.json, potentials
    runs: Path  # of the runs
    tests: Mapping[str, Path]  # what is scored, by the label in the table
    errors: Mapping[str, str]  # what is kept of `jmlip evaluate`, by the label in the table


def arguments(text: str, folder: Path, data: str | None = None) -> argparse.ArgumentParser:
    """The options every experiment has; its data stand in a folder of its name, or of `data`."""
    parser = argparse.ArgumentParser(
        description=text, formatter_class=argparse.RawTextHelpFormatter
    )
    place = Path(os.environ.get("JMLIP_DATA", SHARED)) / (data or folder.name)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--data", type=Path, default=place, help="folder of the data set")
    parser.add_argument("--runs", type=Path, default=Path("runs") / folder.name)
    parser.add_argument("--table", action="store_true", help="print the tables of the README")
    return parser


def one_of(names: Collection[str]) -> Callable[[str], str]:
    """Type of a word on the command line; `choices` would refuse that none is given at all."""

    def known(word: str) -> str:
        if word not in names:
            raise argparse.ArgumentTypeError(f"unknown {word!r}: choose from {', '.join(names)}")
        return word

    return known


def train(study: Study, name: str, config: str, sets: Mapping[str, Any], *, keep: bool) -> Row:
    """Train `config` with `sets` (section.key to value), score it, and record the row.

    Args:
        study: where things are.
        name: of the row; with the seed also of the run.
        config: name of a TOML file in the folder of the study, without suffix.
        sets: what differs from it, the seed among them.
        keep: copy the potential into the folder of the study.
    """
    seed = sets["training.seed"]
    run = study.runs / f"{name.replace(' ', '-')}-seed{seed}"
    command("train", study.folder / f"{config}.toml", run, sets)
    if keep:
        kept = study.folder / "potentials" / run.name
        shutil.copytree(run / "potential", kept, dirs_exist_ok=True)
    row = {
        "name": name,
        "seed": seed,
        "minutes": json.loads((run / "summary.json").read_text())["minutes"],
        "parameters": jmlip.load_potential(run / "potential").n_parameters,
        **score(study, run / "potential", run / "scores.json"),
    }
    record(study.folder, row)
    return row


def command(verb: str, config: Path, run: Path, sets: Mapping[str, Any], *more: str) -> None:
    """`jmlip VERB`, which goes on with what it left; a command that fails ends the program.

    Args:
        verb: a command that has a configuration.
        config: its file.
        run: its directory.
        sets: what differs from the file, section.key to value.
        more: further words.
    """
    words = [word for key, value in sets.items() for word in ("--set", f"{key}={value}")]
    check(jmlip_command([verb, str(config), "--run", str(run), "--resume", *words, *more]))


def score(study: Study, potential: Path, out: Path) -> Row:
    """Errors of a potential on the tests of a study."""
    files = [str(path) for path in study.tests.values()]
    check(jmlip_command(["evaluate", str(potential), *files, "--json", str(out)]))
    scores = json.loads(out.read_text())
    return {
        f"{label} {error}".strip(): scores[str(path)][key]
        for label, path in study.tests.items()
        for error, key in study.errors.items()
    }


def check(code: int | None) -> None:
    """End with the code of a command that failed."""
    if code:
        raise SystemExit(code)


def record(folder: Path, row: Row) -> None:
    """Put a row into results.json, in place of an older one of that name and seed."""
    key = lambda row: (row["name"], row["seed"])
    rows = [old for old in results(folder) if key(old) != key(row)] + [row]
    text = json.dumps(sorted(rows, key=key), indent=1) + "\n"
    (folder / "results.json").write_text(text)


def results(folder: Path) -> list[Row]:
    """All rows so far."""
    path = folder / "results.json"
    return json.loads(path.read_text()) if path.exists() else []


def table(folder: Path, names: Sequence[str], columns: Mapping[str, int]) -> str:
    """Markdown table, mean ± standard deviation over seeds.

    Args:
        folder: of the study.
        names: rows, in order; those without results are left out.
        columns: decimals of each column.
    """
    lines = ["| run | seeds | parameters | " + " | ".join(columns) + " | minutes |"]
    lines.append("|" + "---|" * (len(columns) + 4))
    for name in names:
        group = [row for row in results(folder) if row["name"] == name]
        if not group:
            continue
        head = [name, str(len(group)), f"{group[0]['parameters']:,}"]
        cells = [_spread([row[c] for row in group if c in row], d) for c, d in columns.items()]
        minutes = f"{np.mean([row['minutes'] for row in group]):.0f}"
        lines.append("| " + " | ".join([*head, *cells, minutes]) + " |")
    return "\n".join(lines)


def paired(folder: Path, name: str, base: str, columns: Iterable[str]) -> str:
    """How much lower the errors of a row are than those of another of the same seed.

    Args:
        folder: of the study.
        name: the row.
        base: the other.
        columns: the errors.

    Returns:
        Mean and standard error, of one seed without, over those that both have, in percent.
    """
    of = lambda name: {row["seed"]: row for row in results(folder) if row["name"] == name}
    ours, others = of(name), of(base)
    seeds = sorted(ours.keys() & others.keys())
    lines = []
    for column in columns:
        gains = [100.0 * (1.0 - ours[k][column] / others[k][column]) for k in seeds]
        spread = f" ± {np.std(gains, ddof=1) / np.sqrt(len(gains)):.1f}" if len(gains) > 1 else ""
        if gains:
            lines.append(f"{column} {np.mean(gains):.1f}{spread} % lower")
    return f"{name} against {base}, {len(seeds)} seeds: {'; '.join(lines)}"


def _spread(values: Sequence[float], decimals: int) -> str:
    if not values:
        return ""
    if len(values) == 1:
        return f"{values[0]:.{decimals}f}"
    return f"{np.mean(values):.{decimals}f} ± {np.std(values, ddof=1):.{decimals}f}"
