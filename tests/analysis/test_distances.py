"""Against MDAnalysis, and against crystals whose shells are known."""

import MDAnalysis
import numpy as np
import pytest
from MDAnalysis.analysis.rdf import InterRDF

from jmlip.analysis.distances import bond_lengths, radial_distribution
from jmlip.core.errors import DataError
from jmlip.core.structure import Structure


def liquid(seed):
    rng = np.random.default_rng(seed)
    return Structure(
        species=[8] * 40 + [1] * 60,
        positions=rng.uniform(-3.0, 9.0, (100, 3)),
        cell=np.diag([9.0, 10.0, 11.0]),
        pbc=[True] * 3,
    )


def test_radial_distribution_equals_mdanalysis():
    structures = [liquid(seed) for seed in range(3)]
    universe = MDAnalysis.Universe.empty(100, trajectory=True)
    positions = np.stack([structure.positions for structure in structures])
    universe.load_new(positions.astype(np.float32), dimensions=[9.0, 10.0, 11.0, 90, 90, 90])
    oxygen, hydrogen = universe.atoms[:40], universe.atoms[40:]
    theirs = InterRDF(oxygen, hydrogen, nbins=25, range=(0.0, 4.0)).run().results
    ours = radial_distribution(structures, r_max=4.0, n_bins=25, pair=(8, 1))
    np.testing.assert_allclose(ours.distance, theirs.bins)
    # a pair on the edge of a bin may fall to either side in their single precision
    np.testing.assert_allclose(ours.value, theirs.rdf, atol=0.02)


def test_radial_distribution_counts_images_beyond_the_cell():
    """Simple cubic, one atom: 6 neighbors at a, 12 at sqrt(2) a, though the cell holds one atom."""
    a = 2.0
    crystal = Structure(species=[29], positions=[[0, 0, 0]], cell=a * np.eye(3), pbc=[True] * 3)
    rdf = radial_distribution([crystal], r_max=3.0, n_bins=30)
    shell = 4.0 * np.pi * (rdf.distance**2 + 0.1**2 / 12.0) * 0.1
    counts = rdf.value * shell / a**3
    expected = np.zeros(30)
    expected[20], expected[28] = 6.0, 12.0
    np.testing.assert_allclose(counts, expected, atol=1e-9)


def test_bond_lengths_of_a_molecule():
    water = Structure(species=[8, 1, 1], positions=[[0, 0, 0], [0.96, 0, 0], [0, 0.98, 0]])
    histogram = bond_lengths([water], pair=(8, 1), r_max=1.2, n_bins=120)
    width = 0.01
    assert histogram.value.sum() * width == pytest.approx(1.0)
    np.testing.assert_allclose(histogram.distance[histogram.value > 0], [0.965, 0.985], atol=0.0051)
    assert not bond_lengths([water], pair=(6, 1), r_max=1.2).value.any()


def test_radial_distribution_needs_a_volume():
    with pytest.raises(DataError, match="periodic in three directions"):
        radial_distribution([Structure(species=[1], positions=[[0, 0, 0]])], r_max=2.0)
