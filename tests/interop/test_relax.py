"""Minima that are known: a dimer by hand, a crystal by a scan of its lattice constant."""

import numpy as np
import pytest

from jmlip.core.errors import ConfigError, DivergenceError
from jmlip.core.structure import Structure
from jmlip.interop.relax import relax
from tests.md.systems import lennard_jones


def sigma_and_epsilon():
    params = lennard_jones().params
    return float(params["sigma"][1]), float(params["epsilon"])


def test_a_dimer_goes_to_its_minimum():
    sigma, epsilon = sigma_and_epsilon()
    start = Structure(species=[6, 6], positions=[[0, 0, 0], [1.2, 1.2, 0.5]])
    found = relax(lennard_jones(), start, fmax=1e-6)
    distance = np.linalg.norm(np.diff(found.structure.positions, axis=0))
    assert distance == pytest.approx(2.0 ** (1 / 6) * sigma, abs=1e-6)
    reference = 2.0 * lennard_jones().reference_energies[1]
    assert found.structure.energy - reference == pytest.approx(-epsilon, rel=1e-9)
    assert found.initial_energy > found.structure.energy
    assert np.abs(found.structure.forces).max() <= 1e-6
    assert found.structure.stress is None


def cell_of_four(scale=1.0):
    corners = np.array([[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]])
    edge = scale * 1.55 * sigma_and_epsilon()[0]
    return Structure(
        species=[6] * 4, positions=edge * corners, cell=edge * np.eye(3), pbc=[True] * 3
    )


def test_a_cell_is_relaxed_to_zero_stress():
    scan = [cell_of_four(scale) for scale in np.linspace(0.98, 1.02, 81)]
    energies = [p.energy for p in lennard_jones().predict(scan, dtype="float64")]
    best = scan[int(np.argmin(energies))]
    shear = np.array([[1.01, 0.02, 0.0], [0.0, 0.99, 0.01], [0.0, 0.0, 1.03]])
    strained = cell_of_four().replace(
        positions=cell_of_four().positions @ shear, cell=cell_of_four().cell @ shear
    )
    found = relax(lennard_jones(), strained, cell=True, fmax=1e-3).structure
    assert found.volume == pytest.approx(best.volume, rel=3 * 0.0005)
    assert found.energy == pytest.approx(min(energies), abs=1e-4)
    np.testing.assert_allclose(found.stress, 0.0, atol=4e-4)
    angles = found.cell @ found.cell.T / found.volume ** (2 / 3)
    np.testing.assert_allclose(angles, np.eye(3), atol=1e-3)  # cubic again


def test_what_cannot_be_done_is_refused():
    dimer = Structure(species=[6, 6], positions=[[0, 0, 0], [1.4, 0, 0]])
    with pytest.raises(ConfigError, match="periodic in three directions"):
        relax(lennard_jones(), dimer, cell=True)
    with pytest.raises(DivergenceError, match="after 1 steps"):
        relax(lennard_jones(), dimer, fmax=1e-8, max_steps=1)


def trimer(mask):
    positions = [[0, 0, 0], [1.4, 0, 0], [0.6, 1.3, 0]]
    info = {"arrays": {"move_mask": np.array(mask)}}
    return Structure(species=[6] * 3, positions=positions, info=info)


def test_fixed_atoms_stay_and_the_others_come_to_rest():
    start = trimer([False, False, True])
    found = relax(lennard_jones(), start, fmax=1e-6).structure
    np.testing.assert_array_equal(found.positions[:2], start.positions[:2])
    assert np.abs(found.forces[2]).max() <= 1e-6
    assert np.abs(found.forces[:2]).max() > 1e-3  # those of the potential
    assert found.info["arrays"]["move_mask"].tolist() == [False, False, True]


def test_what_fixed_atoms_make_meaningless_is_refused():
    with pytest.raises(ConfigError, match="fixes all"):
        relax(lennard_jones(), trimer([False] * 3))
    crystal = cell_of_four().replace(info=trimer([False, True, True, True]).info)
    with pytest.raises(ConfigError, match="moves every atom with it"):
        relax(lennard_jones(), crystal, cell=True)
