"""From the records of a compiled chunk to frames and structures on the host, in float64 sums."""

from typing import Any

import numpy as np

from jmlip.analysis.thermodynamics import degrees_of_freedom
from jmlip.core.structure import Structure
from jmlip.core.units import GPA
from jmlip.data.ase_bridge import fixed_atoms
from jmlip.md.chunk import Record
from jmlip.md.config import MDConfig
from jmlip.md.state import MDState, pressure, temperature_K
from jmlip.md.trajectory import Frames


def make_frames(
    records: Record,
    steps: np.ndarray,
    *,
    structure: Structure,
    config: MDConfig,
    reference_energy: float,
) -> Frames:
    """Frames of the first records of a chunk, which belong to these steps.

    Energies are small on the device, relative to isolated atoms; the references join them here.
    """
    arrays: list[Any] = [np.asarray(leaf)[: len(steps)] for leaf in records]
    positions, velocities, forces, cell, *sums = arrays
    if not config.cell_moves:  # exact, not as rounded on the device
        cell = np.broadcast_to(structure.cell, cell.shape)
    interaction, kinetic, bath, virial = (array.astype(np.float64) for array in sums)
    potential = interaction + reference_energy
    has_volume = structure.is_periodic
    n_free = degrees_of_freedom(structure.n_atoms, int(fixed_atoms(structure).sum()))
    volume = np.abs(np.linalg.det(cell.astype(np.float64)))
    return Frames(
        step=steps,
        time_fs=steps * config.timestep_fs,
        positions=positions,
        velocities=velocities,
        forces=forces,
        cell=cell,
        potential_energy=potential,
        kinetic_energy=kinetic,
        conserved_energy=potential + kinetic + bath,
        temperature_K=temperature_K(kinetic, n_free),
        pressure_GPa=pressure(kinetic, virial, volume) / GPA if has_volume else None,
    )


def structure_of(
    state: MDState, structure: Structure, *, config: MDConfig, reference_energy: float
) -> Structure:
    """The structure as it is in a state, with energy, forces and velocities."""
    dynamics = state.dynamics
    cell = np.asarray(state.cell) if config.cell_moves else structure.cell
    return structure.replace(
        positions=np.asarray(dynamics.position),
        cell=cell,
        velocities=np.asarray(dynamics.momentum / dynamics.mass),
        forces=np.asarray(dynamics.force),
        energy=float(state.energy) + reference_energy,
        stress=None,
        atomic_energies=None,
        info={k: v for k, v in structure.info.items() if k == "arrays"},
    )
