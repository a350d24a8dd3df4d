"""Structures and files shared by the scripts that ask other programs for energies and forces.

Three structures: a distorted molecule; a dimer with one atom beyond every cutoff; a triclinic cell
that is smaller than the cutoff, so that atoms meet images of each other and of themselves.
"""

import json
from collections.abc import Mapping
from pathlib import Path

import ase
import numpy as np
from safetensors.numpy import save_file

SPECIES = (1, 6, 8)

ETHANOL = {
    "numbers": [6, 6, 8, 1, 1, 1, 1, 1, 1],
    "positions": [
        [1.17, -0.40, 0.00], [0.00, 0.56, 0.00], [-1.20, -0.20, 0.00],
        [-1.95, 0.40, 0.00], [2.12, 0.14, 0.00], [1.14, -1.03, 0.89],
        [1.14, -1.03, -0.89], [0.05, 1.20, 0.89], [0.05, 1.20, -0.89],
    ],
}  # fmt: skip
CELL = [[3.9, 0.2, 0.0], [-0.7, 4.2, 0.3], [0.9, 1.1, 3.7]]


def structures() -> dict[str, ase.Atoms]:
    """The three structures by name."""
    generator = np.random.default_rng(11)
    molecule = ase.Atoms(**ETHANOL)
    molecule.positions += 0.12 * generator.normal(size=molecule.positions.shape)
    apart = ase.Atoms("COH", positions=[[0.1, 0.2, -0.1], [0.5, -0.4, 0.8], [21.0, 3.0, -4.0]])
    places = [[0.1, 0.2, 0.3], [0.55, 0.4, 0.1], [0.3, 0.75, 0.6], [0.8, 0.9, 0.55]]
    periodic = ase.Atoms("COHH", scaled_positions=places, cell=CELL, pbc=True)
    periodic.positions += 0.05 * generator.normal(size=(4, 3))
    return {"molecule": molecule, "apart": apart, "periodic": periodic}


def write(
    name: str,
    config: Mapping,
    state: Mapping[str, np.ndarray],
    results: Mapping[str, Mapping[str, np.ndarray]],
) -> None:
    """`name.safetensors`: `state/NAME` and `STRUCTURE/QUANTITY`; `name.json`: the configuration.

    Args:
        name: Of the two files, without an ending.
        config: Hyperparameters and versions as plain values.
        state: The state dict of the model.
        results: Of each structure, energy [], forces [atoms, 3], atomic_energies [atoms] and for
            a periodic one stress [3, 3]; eV and angstrom, stress positive under tension.
    """
    arrays = {f"state/{key}": value for key, value in state.items()}
    for structure, atoms in structures().items():
        found = {
            "positions": atoms.positions,
            "numbers": atoms.numbers,
            "cell": atoms.cell.array,
            "pbc": atoms.pbc,
            **results[structure],
        }
        arrays |= {f"{structure}/{key}": value for key, value in found.items()}
    folder = Path(__file__).parent
    plain = {key: np.array(value, order="C") for key, value in arrays.items()}  # also copies
    save_file(plain, folder / f"{name}.safetensors")
    (folder / f"{name}.json").write_text(json.dumps(config, indent=1) + "\n")
