"""Speed of MACE, NequIP and Allegro here and in mlip, nequip, nequip-allegro and mace-torch.

    python benchmarks/models_speed.py DATA.xyz --mlip-python PYTHON --nequip-python PYTHON \
        --mace-python PYTHON [--kinds mace nequip allegro] [--torch-compile] [--rounds 3]

Each PYTHON is that of an environment with the program in it (nequip's with nequip-allegro too);
programs whose PYTHON is not given are left out. All see the same 50 frames of one molecule and take
turns on the same cores, in processes of their own; the tables have medians over the rounds. Sizes
are those of `step_timer.py`: MACE with 2 layers, 32 channels, L <= 1, harmonics l <= 3, correlation
3; NequIP with 3 layers of 32 channels, l <= 2; Allegro with 2 layers, 64 scalars, 32 channels of
tensors, l <= 2 in both parities; cutoff 5 angstrom, float32. The rest is left to each program:
mlip computes every irrep in NequIP's last layer too, and nequip feeds an embedding of the elements
into its linear skips, so both have more parameters.

A training step is forward, forces, gradient of an energy and force loss, and Adam, on batches made
beforehand. The first step counts from before the imports to its end: neighbor lists,
initialization, compilation. Memory is the largest the process ever held.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
N_FRAMES = 50
OURS = ("jmlip", "jmlip_step.py", "auto")
# of each kind: program, script, mode
SIDES = {
    "mace": (
        OURS,
        ("jmlip", "jmlip_step.py", "plain"),
        ("mlip", "mlip_step.py", "jit"),
        ("mace", "mace_step.py", "eager"),
        ("mace", "mace_step.py", "compile"),
    ),
    "nequip": (
        OURS,
        ("jmlip", "jmlip_step.py", "plain"),
        ("mlip", "mlip_step.py", "jit"),
        ("nequip", "nequip_step.py", "eager"),
        ("nequip", "nequip_step.py", "compile"),
    ),
    "allegro": (
        OURS,
        ("jmlip", "jmlip_step.py", "plain"),
        ("nequip", "nequip_step.py", "eager"),
        ("nequip", "nequip_step.py", "compile"),
    ),
}
COLUMNS = {
    "structures_per_s": "training, structures/s",
    "atoms_per_s": "forces, atoms/s",
    "first_step_s": "first step, s",
    "peak_mb": "memory, MB",
    "parameters": "parameters",
}


def export(path: str, arrays: Path) -> None:
    """Frames of one molecule as arrays, energies relative to their mean."""
    import jmlip

    structures = list(jmlip.read(path))[:N_FRAMES]
    energy = np.array([[s.energy] for s in structures])
    np.savez(
        arrays,
        Z=np.array([s.species for s in structures], np.int64),
        R=np.array([s.positions for s in structures], np.float32),
        E=(energy - energy.mean()).astype(np.float32),
        F=np.array([s.forces for s in structures], np.float32),
    )


def run(command: list[str], limit: float) -> dict:
    """The line that a script prints, or why there is none."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=limit)
    except subprocess.TimeoutExpired:
        return {"failed": f"nothing after {limit:.0f} s"}
    lines = (done.stdout if done.returncode == 0 else done.stderr).strip().splitlines()
    if done.returncode or not lines:
        return {"failed": lines[-1] if lines else f"exit code {done.returncode}"}
    return json.loads(lines[-1])


def row(name: str, found: list[dict], ours: list[dict]) -> str:
    """One line of the table; ratios of speed are ours over theirs."""
    failed = [f["failed"] for f in found if "failed" in f]
    if failed:
        return f"| {name} | {failed[0][:120]} |" + " |" * len(COLUMNS)
    median = lambda rows, key: float(np.median([r[key] for r in rows]))
    cells = [f"{median(found, key):.3g}" for key in COLUMNS]
    cells[-1] = str(found[0]["parameters"])
    ratios = ""
    if found is not ours and not any("failed" in f for f in ours):
        ratios = " / ".join(
            f"{median(ours, key) / median(found, key):.1f}"
            for key in ("structures_per_s", "atoms_per_s")
        )
    return f"| {name} | {' | '.join(cells)} | {ratios} |"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data")
    for program in ("mlip", "nequip", "mace"):
        parser.add_argument(f"--{program}-python")
    parser.add_argument("--kinds", nargs="+", choices=SIDES, default=list(SIDES))
    parser.add_argument("--torch-compile", action="store_true", help="too; compiles for minutes")
    parser.add_argument("--batch", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=15.0, help="of each timing")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--limit", type=float, default=1800.0, help="seconds that a process gets")
    options = parser.parse_args()
    pythons = {name: getattr(options, f"{name}_python") for name in ("mlip", "nequip", "mace")}
    pythons["jmlip"] = sys.executable
    with tempfile.TemporaryDirectory() as folder:
        arrays = Path(folder) / "frames.npz"
        export(options.data, arrays)
        for kind in options.kinds:
            sides = [side for side in SIDES[kind] if pythons[side[0]]]
            sides = [side for side in sides if options.torch_compile or side[2] != "compile"]
            found = {side: [] for side in sides}
            for _ in range(options.rounds):
                for side in sides:
                    program, script, mode = side
                    if any("failed" in f for f in found[side]):
                        continue
                    words = [kind, mode, options.batch, options.seconds, options.threads]
                    command = [pythons[program], str(HERE / script), str(arrays)]
                    found[side].append(run([*command, *map(str, words)], options.limit))
            print(f"\n| {kind} | {' | '.join(COLUMNS.values())} | jmlip is faster by |")
            print("|---" * (len(COLUMNS) + 2) + "|", flush=True)
            for side in sides:
                print(row(f"{side[0]}, {side[2]}", found[side], found[OURS]), flush=True)


if __name__ == "__main__":
    main()
