import numpy as np
import pytest

from jmlip.core.errors import DataError
from jmlip.core.structure import Structure

PAIR = {"species": [1, 8], "positions": [[0.0, 0.0, 0.0], [0.0, 0.0, 1.0]]}
CUBE = {"cell": 4.0 * np.eye(3), "pbc": [True, True, True]}


def test_arrays_are_copied_and_frozen():
    positions = np.array(PAIR["positions"])
    structure = Structure(species=[1, 8], positions=positions)
    positions[0, 0] = 5.0
    assert structure.positions[0, 0] == 0.0
    with pytest.raises(ValueError, match="read-only"):
        structure.positions[0, 0] = 1.0


def test_volume_formula_and_periodicity():
    structure = Structure(**PAIR, **CUBE, energy=np.float32(1.0))
    assert structure.volume == pytest.approx(64.0)
    assert structure.formula == "HO"
    assert structure.is_periodic
    assert isinstance(structure.energy, float)
    slab = structure.replace(pbc=[True, True, False])
    assert not slab.is_periodic
    assert slab.n_atoms == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"species": []}, "at least one atom"),
        ({"species": [0, 1]}, "atomic numbers"),
        ({"species": [1, 119]}, "atomic numbers"),
        ({"species": [1.5, 8.0]}, "whole numbers"),
        ({"species": ["H", "O"]}, "array of numbers"),
        ({"species": [1, 10**30]}, "array of numbers"),
        ({"species": [[1, 8]]}, "species must have shape"),
        ({"positions": np.zeros((3, 3))}, "positions must have shape"),
        ({"positions": [[0, 0, 0], [0, 0, np.nan]]}, "positions must be finite"),
        ({"forces": np.zeros((2, 2))}, "forces must have shape"),
        ({"forces": np.full((2, 3), np.inf)}, "forces must be finite"),
        ({"energy": float("nan")}, "energy must be finite"),
        ({"energy": 1e300}, "energy must be numbers up to 1e"),
        ({"energy": "low"}, "energy must be an array of numbers"),
        ({"stress": np.zeros(6)}, "stress must have shape"),
        ({"pbc": True}, "pbc must have shape"),
        ({"pbc": [True, True, True]}, "independent lattice vectors"),
        ({"cell": np.diag([1.0, 1.0, 0.0]), "pbc": [1, 1, 1]}, "independent lattice vectors"),
    ],
)
def test_impossible_structures_are_refused(changes, message):
    with pytest.raises(DataError, match=message):
        Structure(**{**PAIR, **changes})
