"""Data of the demonstration, made on the spot: trajectories of a quantum-chemical engine from PyPI.

GFN2-xTB through tblite, on ethanol; where tblite is not installed, ASE's effective-medium theory on
aluminium. Each trajectory runs in a process of its own, so that all cores make data.
"""

import concurrent.futures
import importlib.util
import math
import multiprocessing
import os
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from jmlip.core.errors import JmlipError
from jmlip.core.structure import Structure

EngineName = Literal["GFN2-xTB", "EMT"]


class System(NamedTuple):
    """What the demonstration simulates, and how."""

    engine: EngineName
    title: str
    training_K: float
    hot_K: float
    timestep_fs: float
    friction_per_ps: float
    cutoff: float  # angstrom


ETHANOL = System("GFN2-xTB", "ethanol", 500.0, 800.0, 1.0, 10.0, 5.0)
ALUMINIUM = System("EMT", "aluminium, 32 atoms", 600.0, 900.0, 4.0, 5.0, 5.0)


class Trajectory(NamedTuple):
    """Length of one trajectory of the engine."""

    temperature_K: float
    n_frames: int
    every: int
    seed: int


def choose_system() -> System:
    """Ethanol where tblite is installed, else aluminium."""
    return ETHANOL if importlib.util.find_spec("tblite") is not None else ALUMINIUM


def sample(system: System, trajectories: Sequence[Trajectory]) -> list[list[Structure]]:
    """Labelled frames of each trajectory, one process per trajectory.

    Raises:
        JmlipError: the engine failed.
    """
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(
        len(trajectories), mp_context=context, initializer=_one_thread
    ) as pool:
        jobs = [pool.submit(run_engine, system, trajectory) for trajectory in trajectories]
        try:
            return [job.result() for job in jobs]
        except Exception as error:
            raise JmlipError(
                f"{system.engine} must label every frame of the demonstration, but failed: {error}"
            ) from error


def run_engine(system: System, trajectory: Trajectory) -> list[Structure]:
    """Langevin dynamics with the engine's forces; a first fifth, relaxation, is not recorded."""
    from ase import units
    from ase.md.langevin import Langevin

    rng = np.random.default_rng(trajectory.seed)
    atoms = _start(system)
    width = np.sqrt(units.kB * trajectory.temperature_K * atoms.get_masses())
    atoms.set_momenta(width[:, None] * rng.normal(size=(len(atoms), 3)))
    dynamics = Langevin(
        atoms,
        timestep=system.timestep_fs * units.fs,
        temperature_K=trajectory.temperature_K,
        friction=1e-3 * system.friction_per_ps / units.fs,
        rng=rng,
        fixcm=False,
    )
    dynamics.run(math.ceil(trajectory.n_frames * trajectory.every / 5))
    frames = []
    for _ in range(trajectory.n_frames):
        dynamics.run(trajectory.every)
        frames.append(_frame(atoms, system))
    return frames


def _frame(atoms, system: System) -> Structure:
    stress = atoms.get_stress(voigt=False) if all(atoms.pbc) else None
    return Structure(
        species=atoms.numbers,
        positions=atoms.positions,
        cell=atoms.cell.array,
        pbc=atoms.pbc,
        energy=atoms.get_potential_energy(),
        forces=atoms.get_forces(),
        stress=stress,
        info={"source": system.engine},
    )


def _start(system: System):
    from ase.build import bulk, molecule

    if system.engine == "EMT":
        from ase.calculators.emt import EMT

        atoms = bulk("Al", "fcc", a=4.0, cubic=True) * (2, 2, 2)
        atoms.calc = EMT()
        return atoms
    from tblite.ase import TBLite

    atoms = molecule("CH3CH2OH")
    atoms.calc = TBLite(method="GFN2-xTB", verbosity=0)
    return atoms


def _one_thread() -> None:
    # nine atoms are too few to share between threads; OpenMP reads this once, when tblite loads
    os.environ["OMP_NUM_THREADS"] = "1"
