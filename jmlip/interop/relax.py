"""Relaxation to the nearest minimum, by ASE's optimizers on the potential in float64."""

import warnings
from typing import Any, NamedTuple

import numpy as np
from ase.constraints import FixAtoms
from ase.filters import FrechetCellFilter
from ase.optimize import LBFGSLineSearch

from jmlip.core.errors import ConfigError, DivergenceError
from jmlip.core.structure import Structure
from jmlip.data import from_atoms, to_atoms
from jmlip.data.ase_bridge import fixed_atoms, lasting, require_whole_atoms_fixed
from jmlip.interop.ase import Calculator
from jmlip.potentials.potential import Potential


class NotRelaxed(DivergenceError):
    """No minimum was found; `structure` is where the search stood, with energy and forces."""

    def __init__(self, message: str, structure: Structure):
        super().__init__(message)
        self.structure = structure


class Relaxation(NamedTuple):
    """How a relaxation ended."""

    structure: Structure  # with energy and forces, and stress where there is a volume
    initial_energy: float  # eV
    n_steps: int


def relax(
    potential: Potential,
    structure: Structure,
    *,
    cell: bool = False,
    fmax: float = 0.01,
    max_steps: int = 1000,
) -> Relaxation:
    """The structure at the nearest minimum of the energy.

    Args:
        potential: gives energy, forces and stress.
        structure: where to start; velocities, labels, and the `info` that belongs to
            this geometry, are dropped. Atoms that it fixes (`move_mask`) stay where they are.
        cell: relax the lattice vectors too, at zero stress.
        fmax: largest force that may remain on an atom, eV / angstrom; with `cell` also the bound of
            ASE's FrechetCellFilter on the forces on the cell.
        max_steps: optimizer steps after which to give up.

    Raises:
        ConfigError: `cell` is asked for a structure that has no volume, or with fixed atoms; all
            atoms are fixed, or some along some directions only.
        NotRelaxed: no minimum was found in `max_steps`; it carries the last structure.

    References:
        Broyden-Fletcher-Goldfarb-Shanno with limited memory, as in ase.optimize.LBFGSLineSearch;
        without line search it may wander where a network's curvature changes fast.
    """
    held = fixed_atoms(structure)
    _require_free(structure, held, cell=cell)
    if cell and not structure.is_periodic:
        raise ConfigError(
            "to relax the cell, the structure must be periodic in three directions, found pbc "
            f"{structure.pbc.tolist()}; relax the positions only."
        )
    atoms = to_atoms(
        structure.replace(
            velocities=None, energy=None, forces=None, stress=None, info=lasting(structure)
        )
    )
    if held.any():
        atoms.set_constraint(FixAtoms(mask=held))
    atoms.calc = Calculator(potential, dtype="float64")
    initial_energy = float(atoms.get_potential_energy())
    # ASE annotates its optimizers with less than they take
    target: Any = FrechetCellFilter(atoms) if cell else atoms
    silence: Any = None
    with warnings.catch_warnings(), LBFGSLineSearch(target, logfile=silence) as optimizer:
        # SciPy on the logarithm of a deformation: errors of 1e-12 are nothing to a relaxation
        warnings.filterwarnings("ignore", message="logm result may be inaccurate")
        converged = optimizer.run(fmax=fmax, steps=max_steps)
    if not converged:
        left = float(np.linalg.norm(atoms.get_forces(), axis=1).max())
        raise NotRelaxed(
            f"no force may exceed {fmax} eV/angstrom, and after {max_steps} steps the largest is "
            f"{left:.3g}; allow more steps, or check the start structure.",
            from_atoms(atoms),
        )
    if structure.is_periodic:
        atoms.get_stress()
    return Relaxation(from_atoms(atoms), initial_energy, optimizer.nsteps)


def _require_free(structure: Structure, held: np.ndarray, *, cell: bool) -> None:
    require_whole_atoms_fixed(structure, "a relaxation")
    if held.all():
        raise ConfigError("a relaxation needs atoms that move, and the start structure fixes all.")
    if cell and held.any():
        raise ConfigError(
            f"a relaxation of the cell moves every atom with it, and the start structure fixes "
            f"{int(held.sum())}; remove its constraints (move_mask), or relax positions only."
        )
