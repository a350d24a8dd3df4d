"""Train HIP-NN on acetylacetone at 300 K, score it, and print the table of the README.

    python experiments/acac/run.py rank2 --seeds 0 1 2     train, evaluate, keep the potentials
    python experiments/acac/run.py --ablations             search.toml with one change each
    python experiments/acac/run.py --table                 print the tables from results.json

A run that was interrupted goes on where it stopped; one that is in results.json is only scored.

The data (dataset_acac of github.com/davkovacs/BOTNet-datasets) are looked for in the folder
that --data names, else in $JMLIP_DATA/acac, else in ../shared/data/acac.
"""

import argparse
import json
import os
import shutil
import tomllib
from pathlib import Path

import numpy as np

import jmlip
from jmlip.cli.main import main as jmlip_command

HERE = Path(__file__).parent
RESULTS = HERE / "results.json"
CONFIGS = ["rank0", "rank1", "rank2"]
COLUMNS = ("300 K energy", "300 K force", "600 K energy", "600 K force")


def train(name: str, config: str, seed: int, data: Path, runs: Path, changes: list[str]) -> dict:
    run = runs / f"{name.replace(' ', '-')}-seed{seed}"
    files = {"train": "train_300K.xyz", "test": "test_300K.xyz"}
    sets = [f"data.{key}={data / value}" for key, value in files.items()]
    sets += [f"data.split_seed={seed}", f"training.seed={seed}", *changes]
    command = ["train", str(HERE / f"{config}.toml"), "--run", str(run), "--resume"]
    check(jmlip_command([*command, *(word for change in sets for word in ("--set", change))]))
    scores = evaluate(run / "potential", data, run / "scores.json")
    if config != "search":
        kept = HERE / "potentials" / run.name
        shutil.copytree(run / "potential", kept, dirs_exist_ok=True)
    return {
        "name": name,
        "seed": seed,
        "minutes": json.loads((run / "summary.json").read_text())["minutes"],
        "parameters": jmlip.load_potential(run / "potential").n_parameters,
        **scores,
    }


def evaluate(potential: Path, data: Path, out: Path) -> dict:
    sets = {"300 K": data / "test_300K.xyz", "600 K": data / "train_600K.xyz"}
    files = [str(path) for path in sets.values()]
    check(jmlip_command(["evaluate", str(potential), *files, "--json", str(out)]))
    scores = json.loads(out.read_text())
    result = {}
    for label, path in sets.items():
        result[f"{label} energy"] = scores[str(path)]["energy_rmse_meV"]
        result[f"{label} force"] = scores[str(path)]["forces_rmse_meV_A"]
    return result


def check(code: int | None) -> None:
    if code:
        raise SystemExit(code)


def record(result: dict) -> None:
    rows = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    same = lambda row: (row["name"], row["seed"]) == (result["name"], result["seed"])
    rows = [row for row in rows if not same(row)] + [result]
    RESULTS.write_text(
        json.dumps(sorted(rows, key=lambda r: (r["name"], r["seed"])), indent=1) + "\n"
    )


def table(names: list[str]) -> str:
    rows = json.loads(RESULTS.read_text())
    lines = ["| run | seeds | parameters | " + " | ".join(f"{c}" for c in COLUMNS) + " | minutes |"]
    lines.append("|" + "---|" * (len(COLUMNS) + 4))
    for name in names:
        group = [row for row in rows if row["name"] == name]
        if group:
            cells = [spread([row[column] for row in group]) for column in COLUMNS]
            minutes = f"{np.mean([row['minutes'] for row in group]):.0f}"
            head = [name, str(len(group)), f"{group[0]['parameters']:,}"]
            lines.append("| " + " | ".join([*head, *cells, minutes]) + " |")
    return "\n".join(lines)


def spread(values: list[float]) -> str:
    if len(values) == 1:
        return f"{values[0]:.1f}"
    return f"{np.mean(values):.1f} ± {np.std(values, ddof=1):.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("config", nargs="?", choices=CONFIGS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--runs", type=Path, default=Path("runs/acac"))
    parser.add_argument("--ablations", nargs="*", metavar="NAME", help="all, or those named")
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    root = Path(os.environ.get("JMLIP_DATA", HERE.parents[1] / ".." / "shared" / "data"))
    data = (options.data or root / "acac").resolve()
    ablations = tomllib.loads((HERE / "ablations.toml").read_text())
    for seed in options.seeds if options.config else ():
        record(train(options.config, options.config, seed, data, options.runs, []))
    for name in () if options.ablations is None else options.ablations or ablations:
        record(train(name, "search", 0, data, options.runs, ablations[name]))
    if options.table:
        print(table(CONFIGS), table(list(ablations)), sep="\n\n")


if __name__ == "__main__":
    main()
