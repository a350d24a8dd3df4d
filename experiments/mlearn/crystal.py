"""Lattice and elastic constants of a cubic crystal: the labels' own, and a potential's.

Among the labels are perfect crystals, pulled along one axis or sheared in one plane by several per
cent. Along these two lines stress is a cubic polynomial in the strain, with the slopes at rest

    C11 = d s_xx / d e_xx,  C12 = d s_yy / d e_xx,  C44 = d s_xy / d gamma_xy

of which silicon's set has no shears. A potential is asked at its own lattice constant, with atoms
relaxed in every strained cell, by matscipy's linear regression at strains up to 1 %.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import ase.io
import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS
from ase.units import GPa
from matscipy.elasticity import fit_elastic_constants

from jmlip import Calculator, Potential

CRYSTALS = {"Si": ("diamond", 64, 2), "Cu": ("fcc", 108, 3)}
"""Structure, atoms of the labelled cell, and how many lattice constants it is long."""
LARGEST = 0.065
"""Strain up to which a cubic polynomial holds."""
START = {"Si": 5.4, "Cu": 3.6}
"""Lattice constant that a relaxation starts from, angstrom."""


class Constants(NamedTuple):
    """Of a cubic crystal: angstrom and GPa."""

    a: float
    C11: float
    C12: float
    C44: float | None


def of_labels(files: Sequence[Path], element: str) -> Constants:
    """Constants from the strained perfect crystals in a data set."""
    _, n_atoms, n_cells = CRYSTALS[element]
    frames = [atoms for file in files for atoms in _perfect(file, n_atoms)]
    length = float(np.median([np.diag(atoms.cell[:]) for atoms in frames]))
    pulls, shears, rest = [], [], 0.0
    for atoms in frames:
        strain = np.round(atoms.cell[:] / length - np.eye(3), 4)
        stress = atoms.get_stress() / GPa
        normal, (rows, columns) = np.diag(strain), np.nonzero(strain - np.diag(np.diag(strain)))
        axis = int(np.abs(normal).argmax())
        if np.count_nonzero(strain) == 1 and normal.any():
            across = (stress[:3].sum() - stress[axis]) / 2
            pulls.append([normal[axis], stress[axis], across])
        elif not strain.any():
            rest = stress[:3].mean()
        elif np.count_nonzero(strain) == 1:
            shears.append([strain[rows[0], columns[0]], stress[6 - rows[0] - columns[0]]])
    c11, c12 = (_slope(np.array(pulls), column) for column in (1, 2))
    c44 = _slope(np.array(shears), 1) if shears else None
    a = length / n_cells * (1.0 - rest / (c11 + 2.0 * c12))  # where the stress vanishes
    return Constants(float(a), c11, c12, c44)


def _perfect(file: Path, n_atoms: int) -> list[Atoms]:
    still = lambda atoms: len(atoms) == n_atoms and np.abs(atoms.get_forces()).max() < 0.01
    return [atoms for atoms in ase.io.iread(file) if still(atoms)]


def _slope(table: np.ndarray, column: int) -> float:
    near = table[np.abs(table[:, 0]) < LARGEST]
    return float(np.polynomial.Polynomial.fit(near[:, 0], near[:, column], 3).deriv()(0.0))


def of_potential(potential: Potential, element: str) -> Constants:
    """Constants of a potential: cell, then atoms of strained cells, relaxed in float64."""
    atoms = bulk(element, CRYSTALS[element][0], a=START[element], cubic=True)
    atoms.calc = Calculator(potential, "float64")
    BFGS(FrechetCellFilter(atoms), logfile=None).run(fmax=1e-4, steps=200)
    constants, _ = fit_elastic_constants(
        atoms, symmetry="cubic", N_steps=5, delta=5e-3, optimizer=BFGS, fmax=1e-4, verbose=False
    )
    c = np.asarray(constants) / GPa
    return Constants(atoms.cell.lengths().mean(), c[0, 0], c[0, 1], c[3, 3])
