"""Conformers of a molecule, by RDKit, relaxed with GFN2-xTB."""

import numpy as np

from experiments.ani_like.sampling import XTB, label
from jmlip.core.structure import Structure

SAME = 1e-3  # eV: conformers whose energies are closer are the same, or mirror images


def relaxed_conformers(smiles: str, n_most: int, seed: int) -> list[Structure]:
    """Different minima of GFN2-xTB, lowest first.

    Args:
        smiles: the molecule.
        n_most: the most to return.
        seed: of the embedding.
    """
    minima = sorted((_relaxed(start) for start in _embedded(smiles, 3 * n_most, seed)), key=_energy)
    found = []
    for one in minima:
        if not found or _energy(one) - _energy(found[-1]) > SAME:
            found.append(one)
    return found[:n_most]


def _energy(structure: Structure) -> float:
    assert structure.energy is not None
    return structure.energy


def _embedded(smiles: str, n: int, seed: int) -> list[Structure]:
    """ETKDG (Wang, Witek, Landrum, Riniker, J. Chem. Inf. Model. 60, 2044 (2020))."""
    from rdkit import Chem
    from rdkit.Chem import AllChem

    molecule = Chem.AddHs(Chem.MolFromSmiles(smiles))
    settings = AllChem.ETKDGv3()
    settings.randomSeed = seed
    numbers = [atom.GetAtomicNum() for atom in molecule.GetAtoms()]
    AllChem.EmbedMultipleConfs(molecule, n, settings)
    return [
        Structure(species=numbers, positions=np.array(one.GetPositions()))
        for one in molecule.GetConformers()
    ]


def _relaxed(start: Structure) -> Structure:
    from ase import Atoms
    from ase.optimize import LBFGS

    atoms = Atoms(numbers=start.species, positions=start.positions, calculator=XTB())
    LBFGS(atoms, logfile=None).run(fmax=0.01, steps=500)
    relaxed = Structure(species=start.species, positions=atoms.positions.copy())
    return label(relaxed.replace(info={"kind": "relaxed"}), "GFN2-xTB")
