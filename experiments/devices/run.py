"""Train the same potential on one device, on several, in turns, and in two processes; compare.

    python -m experiments.devices.run                train what is missing, then compare
    python -m experiments.devices.run --table        the table and the figure alone

The data are made here: small copper cells with the energies and forces of ASE's EMT.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
RUNS = {
    "1 device": {},
    "2 devices": {"devices": 2},
    "8 devices": {"devices": 8},
    "8 devices, pmap": {"devices": 8, "parallel": '"pmap"'},
    "2 devices, 4 turns": {"devices": 2, "accumulate": 4},
    "2 processes": {"devices": 2},
}
DTYPES = {"float64": [*RUNS], "float32": ["1 device", "8 devices"]}
CURVES = ("train_loss", "gradient_norm", "validation_loss", "validation_forces_rmse_meV_A")
PORT = 34619


def make_data(path: Path) -> None:
    """80 cells of 3 or 4 atoms."""
    from ase.build import bulk
    from ase.calculators.emt import EMT

    from jmlip.data import from_atoms, write

    rng, structures = np.random.default_rng(0), []
    for k in range(80):
        atoms = bulk("Cu", cubic=True)[k % 2 :]  # every other one with a vacancy
        atoms.rattle(0.15, rng=rng)
        atoms.calc = EMT()
        atoms.get_forces()
        structures.append(from_atoms(atoms))
    write(path, structures)


def train(name: str, dtype: str, folder: Path) -> None:
    """Run `jmlip train`, twice at once for two processes."""
    n_processes = 2 if name == "2 processes" else 1
    fields = {**RUNS[name], "dtype": f'"{dtype}"'}
    words = [w for k, v in fields.items() for w in ("--set", f"training.{k}={v}")]
    words += ["--set", f"data.train={folder / 'copper.xyz'}"]
    command = [sys.executable, "-m", "jmlip", "train", str(HERE / "recipe.toml"), *words]
    command += ["--run", str(folder / dtype / name)]
    n_devices = 1 if n_processes == 2 else 8
    flags = f"--xla_force_host_platform_device_count={n_devices}"
    environment = os.environ | {"XLA_FLAGS": flags, "PYTHONPATH": str(ROOT)}
    several = ["--coordinator", f"localhost:{PORT}", "--processes", "2"]
    number = lambda k: [*several, "--process-id", str(k)] if n_processes == 2 else []
    started = [subprocess.Popen(command + number(k), env=environment) for k in range(n_processes)]
    if any([process.wait() for process in started]):
        raise SystemExit(f"{name} in {dtype} failed")


def curve(run: Path) -> list[list[float]]:
    with (run / "metrics.csv").open(newline="") as file:
        return [[float(row[name]) for name in CURVES] for row in csv.DictReader(file)]


def compare(curves: dict[str, dict[str, list]]) -> str:
    """Largest relative difference from one device, over all epochs and columns."""
    lines = ["| | " + " | ".join(DTYPES) + " |", "|---" * (1 + len(DTYPES)) + "|"]
    for name in RUNS:
        cells = []
        for dtype in DTYPES:
            found, one = (np.array(curves[dtype].get(key)) for key in (name, "1 device"))
            cells.append("" if found.ndim == 0 else f"{np.abs(found / one - 1.0).max():.1e}")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def draw(curves: dict[str, dict[str, list]]) -> None:
    """Loss by epoch of all runs, and how far from one device they are."""
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    for name in RUNS:
        loss = np.array(curves["float64"][name])[:, 0]
        left.plot(1 + np.arange(len(loss)), loss, alpha=0.7)
    for dtype, names in DTYPES.items():
        for name in names[1:]:
            found, one = (np.array(curves[dtype][key])[:, 0] for key in (name, "1 device"))
            off = np.maximum(np.abs(found / one - 1.0), 1e-17)
            right.semilogy(1 + np.arange(len(off)), off, label=f"{name}, {dtype}")
    left.set(xlabel="epoch", ylabel="training loss, six runs in float64", yscale="log")
    right.set(xlabel="epoch", ylabel="relative difference from one device")
    right.legend(fontsize=7)
    figure.savefig(HERE / "curves.png", dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, default=Path("runs/devices"), help="where runs go")
    parser.add_argument("--table", action="store_true", help="from results.json, without training")
    options = parser.parse_args()
    results = HERE / "results.json"
    if not options.table:
        folder = options.runs.resolve()
        folder.mkdir(parents=True, exist_ok=True)
        make_data(folder / "copper.xyz")
        for dtype, name in [(dtype, name) for dtype, names in DTYPES.items() for name in names]:
            if not (folder / dtype / name / "errors.json").exists():
                train(name, dtype, folder)
        curves = {d: {n: curve(folder / d / n) for n in names} for d, names in DTYPES.items()}
        results.write_text(json.dumps(curves) + "\n")
    curves = json.loads(results.read_text())
    print(compare(curves))
    draw(curves)


if __name__ == "__main__":
    main()
