"""`Potential.predict`: right for any list of structures, few programs, errors instead of NaN."""

import ase.build
import jax
import numpy as np
import pytest
from ase.calculators.lj import LennardJones as AseLennardJones

from jmlip.core.errors import PotentialError
from jmlip.core.structure import Structure
from jmlip.potentials.potential import Potential, initial_potential
from jmlip.potentials.predict import run
from tests.contracts.lennard_jones import LennardJones, LennardJonesConfig

CONFIG = LennardJonesConfig(species=(6, 10), cutoff=4.5, onset=3.0, epsilon=0.25, sigma=2.25)
REFERENCE = -9391.123456789012


@pytest.fixture(scope="module")
def potential() -> Potential:
    return initial_potential(
        "lennard-jones",
        LennardJones(CONFIG),
        key=jax.random.key(0),
        reference_energies=(REFERENCE, -1.5),
    )


def structure_of(atoms) -> Structure:
    return Structure(
        species=atoms.numbers, positions=atoms.positions, cell=atoms.cell.array, pbc=atoms.pbc
    )


def carbon(n: int, seed: int):
    """Of open, slab and periodic systems one in three."""
    atoms = ase.build.bulk("C", "fcc", a=3.9, cubic=True) * (1, 1, n)
    atoms.pbc = (False, (True, True, False), True)[seed % 3]
    atoms.rattle(0.1, seed=seed)
    return atoms


def test_mixed_list_agrees_with_ase(potential):
    systems = [carbon(n, seed) for seed, n in enumerate((1, 3, 2, 1, 2, 4, 1))]
    predictions = potential.predict(
        [structure_of(a) for a in systems], dtype="float64", batch_size=3
    )
    for atoms, prediction in zip(systems, predictions, strict=True):
        atoms.calc = AseLennardJones(sigma=2.25, epsilon=0.25, rc=4.5, ro=3.0, smooth=True)
        expected = atoms.get_potential_energy() + len(atoms) * REFERENCE
        assert prediction.energy == pytest.approx(expected, abs=1e-8)
        assert prediction.atomic_energies.sum() == pytest.approx(prediction.energy, rel=1e-14)
        np.testing.assert_allclose(prediction.forces, atoms.get_forces(), atol=1e-9)
        if atoms.pbc.all():
            stress = atoms.get_stress(voigt=False)
            np.testing.assert_allclose(prediction.stress, stress, atol=1e-9)
        else:
            assert prediction.stress is None


def test_references_keep_their_digits_in_single_precision(potential):
    isolated = Structure(species=[6], positions=np.zeros((1, 3)))
    assert potential.predict([isolated])[0].energy == REFERENCE


def test_similar_calls_compile_once(potential):
    run.clear_cache()
    for n in (30, 29, 27, 30):
        potential.predict([structure_of(carbon(1, seed)) for seed in range(n)], batch_size=10)
    first = run._cache_size()
    for n in (30, 28, 26):
        potential.predict([structure_of(carbon(1, seed)) for seed in range(n)], batch_size=10)
    assert first <= 2
    assert run._cache_size() == first


def test_other_parameters_use_the_same_program(potential):
    structures = [structure_of(carbon(1, 0))]
    before = potential.predict(structures)[0]
    n_programs = run._cache_size()
    doubled = Potential(
        **{**vars(potential), "params": jax.tree.map(lambda leaf: leaf * 1.1, potential.params)}
    )
    after = doubled.predict(structures)[0]
    assert run._cache_size() == n_programs
    assert after.energy != before.energy


def test_empty_list_gives_an_empty_list(potential):
    assert potential.predict([]) == []


def test_unknown_element_is_named(potential):
    water = Structure(species=[8, 1, 10], positions=np.eye(3))
    with pytest.raises(PotentialError, match=r"must be among C, Ne, found H, O"):
        potential.predict([structure_of(carbon(1, 0)), water])


@pytest.mark.parametrize("distance", [0.0, 1e-3])
def test_atoms_on_top_of_each_other_are_named(potential, distance):
    pair = Structure(species=[6, 6, 6], positions=[[0, 0, 0], [3, 0, 0], [3, 0, distance]])
    message = r"must be at least 0\.05 angstrom apart, found atoms 1 and 2 of structure 1"
    with pytest.raises(PotentialError, match=message):
        potential.predict([structure_of(carbon(1, 0)), pair])


def test_result_that_is_not_finite_is_named(potential):
    close = Structure(species=[6, 6], positions=[[0, 0, 0], [0, 0, 0.06]])
    params = {"sigma": potential.params["sigma"] * 1e3, "epsilon": potential.params["epsilon"]}
    wild = Potential(**{**vars(potential), "params": params})
    with (
        jax.debug_nans(False),
        pytest.raises(PotentialError, match="found NaN or infinity for structure 1"),
    ):
        wild.predict([Structure(species=[6], positions=np.zeros((1, 3))), close])


def test_metadata_must_agree_with_the_model(potential):
    with pytest.raises(PotentialError, match="must be those of the model"):
        Potential(**{**vars(potential), "cutoff": 5.0})
    with pytest.raises(PotentialError, match="must have a reference energy"):
        Potential(**{**vars(potential), "reference_energies": (1.0,)})


def test_number_of_parameters_counts_references(potential):
    assert potential.n_parameters == 2 + 1 + 2
