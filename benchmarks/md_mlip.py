"""Time dynamics of silicon with mlip's engine; `md_speed.py` runs it, see `md_case.py`.

    python benchmarks/md_mlip.py mlip MACE ATOMS SECONDS THREADS

MACE of the size of our preset S with parameters as initialized, so the time step is a hundredth of
a femtosecond, in which no atom leaves its neighbors.
"""

import json
import resource
import sys
import warnings
from itertools import pairwise
from time import perf_counter

import step_timer

n_atoms, seconds, threads = sys.argv[3:]
step_timer.bind(int(threads))
warnings.filterwarnings("ignore")

from ase.build import bulk  # noqa: E402
from mlip.data.dataset_info import DatasetInfo  # noqa: E402
from mlip.models import ForceField  # noqa: E402
from mlip.simulation.configs.jax_md_config import JaxMDSimulationConfig  # noqa: E402
from mlip.simulation.enums import MDIntegrator  # noqa: E402
from mlip.simulation.jax_md.jax_md_simulation_engine import JaxMDSimulationEngine  # noqa: E402
from mlip_networks import make_mace  # noqa: E402

TIMESTEP_FS = 0.01
NEIGHBORS = 28.0
PER_EPISODE = 10


def force_field() -> ForceField:
    info = DatasetInfo(
        atomic_energies_map={14: 0.0},
        graph_cutoff_angstrom=step_timer.CUTOFF,
        avg_num_neighbors=NEIGHBORS,
        avg_r_min_angstrom=2.3,
    )
    return ForceField.from_mlip_network(make_mace(info))


def time_of(n_episodes: int) -> list[float]:
    """Seconds of each episode after the first, which compiles."""
    m = round((int(n_atoms) / 8) ** (1 / 3))
    atoms = bulk("Si", "diamond", a=5.47, cubic=True).repeat(m)
    atoms.rattle(0.05, seed=0)
    config = JaxMDSimulationConfig(
        num_steps=PER_EPISODE * n_episodes,
        num_episodes=n_episodes,
        snapshot_interval=PER_EPISODE,
        timestep_fs=TIMESTEP_FS,
        md_integrator=MDIntegrator.NVT_LANGEVIN,
        temperature_kelvin=300.0,
        box=float(atoms.cell[0, 0]),
    )
    engine = JaxMDSimulationEngine(atoms, force_field(), config)
    ends: list[float] = []
    engine.attach_logger(lambda state: ends.append(perf_counter()))
    engine.run()
    return [end - begin for begin, end in pairwise(ends)]


def main() -> None:
    an_episode = time_of(3)[-1]
    times = time_of(2 + max(2, int(float(seconds) / an_episode)))
    found = {
        "us_per_atom_step": 1e6 * sum(times) / len(times) / (PER_EPISODE * int(n_atoms)),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "steps": PER_EPISODE * len(times),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
