"""Heavier hydrogen, lighter neighbors: longer time steps with the same averages of structure.

The canonical distribution of positions does not know masses, so mass moved from a heavy atom to the
hydrogen bound to it slows the fastest vibrations and leaves averages over positions as they are.
What depends on time (diffusion, spectra) does change.

References:
    Feenstra, Hess, Berendsen, J. Comput. Chem. 20, 786 (1999).
    Hopkins, Le Grand, Walker, Roitberg, J. Chem. Theory Comput. 11, 1864 (2015).
"""

import numpy as np

from jmlip.core.errors import ConfigError
from jmlip.core.structure import Structure
from jmlip.md.velocities import masses
from jmlip.ops.neighbors import neighbors

HYDROGEN = 1
LONGEST_BOND = 2.0
"""Angstrom; a hydrogen is bound to the nearest heavier atom within."""


def repartition_hydrogen_mass(structure: Structure, mass: float) -> Structure:
    """The structure with hydrogen of this mass, taken from the heavier atom each is bound to.

    Masses stand in `info["arrays"]["masses"]`, from where dynamics takes them and where a
    trajectory keeps them. Hydrogen that is as heavy already, deuterium say, stays as it is.

    Args:
        structure: bonds are those of its positions.
        mass: of hydrogen, u; 3 allows time steps about twice as long.

    Raises:
        ConfigError: the mass is not positive, there is no hydrogen, one is bound to no heavier
            atom, or one of those would become lighter than its hydrogen.
    """
    if not (np.isfinite(mass) and mass > 0.0):
        raise ConfigError(f"the mass of hydrogen must be positive, found {mass} u.")
    if HYDROGEN not in structure.species:
        raise ConfigError(
            f"heavier hydrogen needs a structure with hydrogen, found {structure.formula}; leave "
            "the mass of hydrogen out."
        )
    species, new = np.asarray(structure.species), masses(structure)[:, 0].copy()
    light = np.flatnonzero((species == HYDROGEN) & (new < mass))
    partner = _partners(structure, light)
    given = mass - new[light]
    new[light] = mass
    np.subtract.at(new, partner, given)
    if len(light) and (new[partner] < mass).any():
        worst = int(partner[np.argmin(new[partner])])
        raise ConfigError(
            f"atoms that give mass to hydrogen must stay heavier than its {mass:g} u, found "
            f"{new[worst]:.3g} u left for atom {worst}; choose less."
        )
    arrays = {**structure.info.get("arrays", {}), "masses": new}
    return structure.replace(info={**structure.info, "arrays": arrays})


def _partners(structure: Structure, light: np.ndarray) -> np.ndarray:
    """The nearest heavier atom of each hydrogen."""
    species = np.asarray(structure.species)
    found = neighbors(structure.positions, structure.cell, structure.pbc, LONGEST_BOND)
    distance = np.linalg.norm(found.vectors, axis=1)
    nearest = np.full(structure.n_atoms, -1)
    heavy = species[found.senders] > HYDROGEN
    far_first = np.argsort(-distance[heavy], kind="stable")
    nearest[found.receivers[heavy][far_first]] = found.senders[heavy][far_first]
    if (nearest[light] < 0).any():
        alone = int(light[np.argmin(nearest[light])])
        raise ConfigError(
            f"every hydrogen must have a heavier atom within {LONGEST_BOND:g} angstrom to take "
            f"mass from, and atom {alone} has none; leave its mass alone (--hydrogen-mass-u)."
        )
    return nearest[light]
