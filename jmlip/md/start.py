"""What a start structure must be, that dynamics from it can be right."""

import numpy as np

from jmlip.core.errors import ConfigError
from jmlip.core.structure import Structure
from jmlip.data.ase_bridge import fixed_atoms, require_whole_atoms_fixed
from jmlip.md.config import MDConfig
from jmlip.potentials.potential import Potential
from jmlip.potentials.predict import require_apart

LEAST_RESOLUTION = 5.0e-5
"""Angstrom; coarser positions give wrong forces without a sign of it."""


def require_startable(potential: Potential, structure: Structure, config: MDConfig) -> None:
    """Refuse a start structure from which no dynamics could be right.

    Raises:
        ConfigError: no atom can move, fixed ones would have to, some lie so far from the origin
            that they lose digits, or there is no volume where there must be one.
        PotentialError: atoms lie on top of each other, or an element is unknown.
    """
    _require_motion(structure, config)
    _require_resolved(structure, config.dtype)
    _require_volume(structure, config)
    require_apart(potential.frame(structure), "the start structure")


def _require_motion(structure: Structure, config: MDConfig) -> None:
    """Refuse fixed atoms where they would have to move, and where nothing else could."""
    require_whole_atoms_fixed(structure, "dynamics")
    fixed = fixed_atoms(structure)
    if fixed.any() and config.cell_moves:
        raise ConfigError(
            f"where the cell changes (npt, density schedules) every atom moves with the cell, and "
            f"the start structure fixes {int(fixed.sum())}; remove its constraints (move_mask), or "
            "keep the cell."
        )
    if fixed.all():
        raise ConfigError(
            "dynamics needs an atom that can move, and the start structure fixes all "
            f"{structure.n_atoms}; remove its constraints (move_mask)."
        )


def _require_volume(structure: Structure, config: MDConfig) -> None:
    if config.cell_moves and not structure.is_periodic:
        raise ConfigError(
            "a cell that changes (npt, density schedules) needs a structure periodic in all "
            f"directions, found pbc {structure.pbc.tolist()}; set its cell, or keep it."
        )


def _require_resolved(structure: Structure, dtype: str) -> None:
    """Refuse positions that the precision of the run cannot tell apart well enough."""
    farthest = float(np.abs(structure.positions).max())
    if farthest * np.finfo(dtype).eps > LEAST_RESOLUTION:
        raise ConfigError(
            f"in {dtype}, positions must lie within {LEAST_RESOLUTION / np.finfo(dtype).eps:.0f} "
            f"angstrom of the origin, found {farthest:.4g}; move the structure, or choose float64."
        )
