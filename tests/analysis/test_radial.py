"""g(r) against MDAnalysis and ASE, against the ideal gas, and against crystals."""

import MDAnalysis
import numpy as np
import pytest
from ase.build import bulk
from ase.geometry.rdf import get_rdf
from MDAnalysis.analysis.rdf import InterRDF

from jmlip.analysis.radial import first_shell, radial_distributions
from jmlip.core.errors import DataError
from jmlip.core.structure import Structure
from jmlip.data import from_atoms, to_atoms

SKEWED = np.array([[9.0, 0, 0], [3.0, 10.0, 0], [-2.0, 4.0, 11.0]])


def gas(seed, cell=None):
    rng = np.random.default_rng(seed)
    cell = np.diag([9.0, 10.0, 11.0]) if cell is None else cell
    positions = rng.uniform(-1.0, 2.0, (100, 3)) @ cell
    return Structure(species=[8] * 40 + [1] * 60, positions=positions, cell=cell, pbc=[True] * 3)


def test_equals_mdanalysis():
    structures = [gas(seed) for seed in range(3)]
    universe = MDAnalysis.Universe.empty(100, trajectory=True)
    positions = np.stack([structure.positions for structure in structures])
    universe.load_new(positions.astype(np.float32), dimensions=[9.0, 10.0, 11.0, 90, 90, 90])
    oxygen, hydrogen = universe.atoms[:40], universe.atoms[40:]
    theirs = InterRDF(oxygen, hydrogen, nbins=25, range=(0.0, 4.0)).run().results
    ours = radial_distributions(structures, [(8, 1)], r_max=4.0, n_bins=25)[8, 1]
    np.testing.assert_allclose(ours.distance, theirs.bins)
    # a pair on the edge of a bin may fall to either side in their single precision
    np.testing.assert_allclose(ours.value, theirs.rdf, atol=0.02)


def test_equals_ase_in_a_skewed_cell():
    structure = gas(5, SKEWED)
    theirs, distance = get_rdf(to_atoms(structure), 4.0, 20, elements=(8, 8))
    ours = radial_distributions([structure], [(8, 8)], r_max=4.0, n_bins=20)[8, 8]
    np.testing.assert_allclose(ours.distance, distance)
    np.testing.assert_allclose(ours.value, theirs, rtol=1e-9)


def test_an_ideal_gas_is_one_within_its_errors():
    found = radial_distributions(
        (gas(seed, SKEWED) for seed in range(200)), [(8, 1), (1, 1)], r_max=8.0, n_bins=40
    )
    for pair, rdf in found.items():
        expected = 1.0 if pair == (8, 1) else 1.0 - 1.0 / 60.0  # an atom is not its own neighbor
        deviation = (rdf.value - expected)[4:] / rdf.error[4:]
        assert rdf.error[-1] < 0.01
        assert np.mean(deviation**2) == pytest.approx(1.0, abs=0.6)
        assert first_shell(rdf) is None
    volume = 4.0 / 3.0 * np.pi * 8.0**3 / np.linalg.det(SKEWED)
    assert found[8, 1].coordination[-1] == pytest.approx(60 * volume, rel=0.01)


def test_cubic_close_packing_has_twelve_neighbors():
    structures = []
    for seed in range(20):
        atoms = bulk("Cu", cubic=True) * (3, 3, 3)
        atoms.rattle(0.08, seed=seed)
        structures.append(from_atoms(atoms))
    shell = first_shell(radial_distributions(structures, [(29, 29)], r_max=6.0)[29, 29])
    assert shell.coordination.value == pytest.approx(12.0, abs=0.01)
    assert shell.coordination.error < 0.01
    assert shell.position.value == pytest.approx(3.61 / np.sqrt(2.0), abs=0.02)
    assert 0.0 < shell.position.error < 0.02
    assert 2.8 < shell.end < 3.5


def test_images_beyond_the_cell_are_counted():
    """Simple cubic, one atom: 6 neighbors at a, 12 at sqrt(2) a, though the cell holds one atom."""
    crystal = Structure(species=[29], positions=[[0, 0, 0]], cell=2.0 * np.eye(3), pbc=[True] * 3)
    rdf = radial_distributions([crystal], [(29, 29)], r_max=3.0, n_bins=30)[29, 29]
    expected = np.zeros(30)
    expected[20], expected[28] = 6.0, 12.0
    np.testing.assert_allclose(rdf.coordination, np.cumsum(expected))
    assert np.isnan(rdf.error).all()


def test_what_has_no_distribution_is_refused():
    with pytest.raises(DataError, match="density of a cell periodic in three directions"):
        radial_distributions([Structure(species=[1], positions=[[0, 0, 0]])], [(1, 1)], r_max=2.0)
    with pytest.raises(DataError, match="must hold atoms of C, found H60O40"):
        radial_distributions([gas(0)], [(8, 6)], r_max=2.0)
    with pytest.raises(DataError, match="at least one structure"):
        radial_distributions([], [(8, 8)], r_max=2.0)
