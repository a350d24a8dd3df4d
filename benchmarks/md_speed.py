"""Dynamics of 64 to 32,768 atoms: jmlip, jax-md alone, ASE with the same potential, mlip's engine.

    python benchmarks/md_speed.py argon mace hipnn [--mlip-python PYTHON] [--atoms 64 512 ...]
        [--seconds S] [--threads 2] [--json FILE]

"argon" is Lennard-Jones with a cutoff of 8.5 angstrom, as a potential of ours and as jax-md's own;
mace, hipnn, ani and allegro are the potentials of silicon of `experiments/mlearn`, mace+tables what
`jmlip tabulate` makes of that. Langevin dynamics, float32, lists up to 0.5 angstrom beyond the
cutoff. Every program runs in a process of its own, one after the other, size by size, three times,
of which the fastest counts; compiling is left out. mlip computes MACE of the same size with
parameters as initialized. PYTHON is that of an environment with mlip in it. "frames" is what
writing a frame in an H5MD file, its observables and a checkpoint adds to a hundred steps of jmlip.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
POTENTIALS = HERE.parent / "experiments" / "mlearn" / "potentials"
KINDS = ("argon", "mace", "mace+tables", "hipnn", "ani", "allegro")
ATOMS = (64, 512, 1728, 4096, 13824, 32768)
LIMIT = 1800.0  # seconds, of one process


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("kinds", nargs="+", choices=KINDS)
    parser.add_argument("--atoms", type=int, nargs="+", default=ATOMS)
    parser.add_argument("--mlip-python")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each measurement")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, help="file for the rows")
    options = parser.parse_args()
    rows = []
    for kind in options.kinds:
        programs = programs_of(kind, options.mlip_python)
        print(f"\n{kind}: microseconds for each atom and step\n")
        print(f"| atoms | {' | '.join(programs)} | frames | best peer / jmlip | MB |")
        print("|---" * (len(programs) + 4) + "|")
        for n in options.atoms:
            found = {
                name: measure([*command, str(n), f"{options.seconds}", str(options.threads)])
                for name, command in programs.items()
            }
            rows.append({"kind": kind, "atoms": n, **found})
            print(line(n, found), flush=True)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


def programs_of(kind: str, mlip_python: str | None) -> dict[str, list[str]]:
    """Name in the table, and the command up to the number of atoms."""
    plain, plus, tables = kind.partition("+")
    potential = "argon" if kind == "argon" else f"{POTENTIALS}/Si-{plain}-seed0{plus}{tables}"
    ours = [sys.executable, str(HERE / "md_case.py")]
    names = {"jmlip": "jmlip", "ASE": "ase"}
    if kind == "argon":
        names["jax-md"] = "jax-md"
    programs = {label: [*ours, name, potential] for label, name in names.items()}
    if plain == "mace" and mlip_python:
        programs["mlip"] = [mlip_python, str(HERE / "md_mlip.py"), "mlip", "MACE"]
    return programs


def measure(command: list[str]) -> dict:
    """What the process prints, or why there is nothing."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT)
    except subprocess.TimeoutExpired:
        return {"error": f"not done after {LIMIT:g} s"}
    if done.returncode:
        return {"error": (done.stderr.strip().splitlines() or ["no message"])[-1]}
    return json.loads(done.stdout.strip().splitlines()[-1])


def line(n: int, found: dict[str, dict]) -> str:
    """A row of the table; failures stand below the tables."""
    time = {name: one["us_per_atom_step"] for name, one in found.items() if "error" not in one}
    for name, one in found.items():
        if "error" in one:
            print(f"{name}, {n} atoms: {one['error']}", file=sys.stderr)
    peers = [value for name, value in time.items() if name != "jmlip"]
    cells = [f"{n:,}"]
    for name in found:
        cells.append(f"{time[name]:.3g}" if name in time else "-")
    cells.append(f"{100 * found['jmlip'].get('frames_add', float('nan')):+.1f} %")
    cells.append(f"{min(peers) / time['jmlip']:.1f}" if peers and "jmlip" in time else "-")
    cells.append(f"{found['jmlip'].get('peak_mb', float('nan')):.0f}")
    return "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    main()
