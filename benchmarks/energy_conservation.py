"""Energy conservation of a potential in NVE: drift over a long run, order in the time step.

    python benchmarks/energy_conservation.py demo/run/potential demo/data/training.xyz

Float64. The drift is the least-squares slope of the total energy over 10 ps at 0.25 fs. The order
is the slope of log(fluctuation) against log(time step) over 1 ps at 1/8, 1/4 and 1/2 fs from one
start: 2 for velocity Verlet on smooth forces; a force that jumps, a wrong gradient or a stale
neighbor list shows up here.
"""

import argparse
import tempfile
from pathlib import Path

import h5py
import jax
import numpy as np

import jmlip
from jmlip.core.structure import Structure
from jmlip.md.config import MDConfig
from jmlip.md.simulate import simulate
from jmlip.potentials.potential import Potential


def total_energy(
    potential: Potential, start: Structure, options: argparse.Namespace, *, dt_fs: float, ps: float
) -> tuple[np.ndarray, np.ndarray]:
    """Time, ps, and total energy per atom, meV, of every fs."""
    config = MDConfig(
        ensemble="nve",
        timestep_fs=dt_fs,
        n_steps=round(1000.0 * ps / dt_fs),
        temperature_K=options.temperature_K,
        every=max(1, round(1.0 / dt_fs)),
        seed=options.seed,
        dtype="float64",
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "nve.h5"
        result = simulate(potential, start, config, path, progress=False)
        with h5py.File(path) as file:
            energy = file["observables/conserved_energy/value"][:]
            time_fs = file["particles/trajectory/position/time"][:]
    print(f"  {dt_fs:6.3f} fs  {result.mean_temperature_K:5.0f} K  {result.ns_per_day:6.1f} ns/day")
    return 1e-3 * time_fs, 1e3 * energy / start.n_atoms


def drift_and_error(time_ps: np.ndarray, energy: np.ndarray) -> tuple[float, float]:
    """Least-squares slope and its standard error from the slopes of ten pieces."""
    slope = np.polyfit(time_ps, energy, 1)[0]
    # differences of the means of successive pieces: their scatter carries the slow fluctuation
    means = np.array([piece.mean() for piece in np.array_split(energy, 10)])
    step = (time_ps[-1] - time_ps[0]) / 10.0
    return slope, np.diff(means).std(ddof=1) / step / np.sqrt(9.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("potential", type=Path)
    parser.add_argument("start", type=Path, help="structures; the last is taken")
    parser.add_argument("--temperature-K", type=float, default=300.0)
    parser.add_argument("--ps", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    potential = jmlip.load_potential(options.potential)
    (start,) = jmlip.read(options.start, index=-1)
    device = jax.devices()[0].device_kind
    print(f"{potential.kind}, {start.formula}, {start.n_atoms} atoms, {device}, float64")
    print("drift:")
    drift, error = drift_and_error(
        *total_energy(potential, start, options, dt_fs=0.25, ps=options.ps)
    )
    print(f"  {drift:+.2e} +- {error:.0e} meV/atom/ps over {options.ps:g} ps at 0.25 fs")
    print("order in the time step:")
    steps = (0.125, 0.25, 0.5)
    fluctuations = [
        total_energy(potential, start, options, dt_fs=dt, ps=1.0)[1].std() for dt in steps
    ]
    for dt, fluctuation in zip(steps, fluctuations, strict=True):
        print(f"  {dt:6.3f} fs  fluctuation {fluctuation:.3e} meV/atom")
    order = np.polyfit(np.log(steps), np.log(fluctuations), 1)[0]
    print(f"  slope {order:.2f} (velocity Verlet: 2)")


if __name__ == "__main__":
    main()
