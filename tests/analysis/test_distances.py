"""Bond lengths of a molecule that is known."""

import numpy as np
import pytest

from jmlip.analysis.distances import bond_lengths, shortest_distance
from jmlip.core.structure import Structure


def test_bond_lengths_of_a_molecule():
    water = Structure(species=[8, 1, 1], positions=[[0, 0, 0], [0.96, 0, 0], [0, 0.98, 0]])
    histogram = bond_lengths([water], pair=(8, 1), r_max=1.2, n_bins=120)
    width = 0.01
    assert histogram.value.sum() * width == pytest.approx(1.0)
    np.testing.assert_allclose(histogram.distance[histogram.value > 0], [0.965, 0.985], atol=0.0051)
    assert not bond_lengths([water], pair=(6, 1), r_max=1.2).value.any()
    assert shortest_distance(water, below=2.0) == pytest.approx(0.96)
    assert shortest_distance(water, below=0.9) is None
