import numpy as np
import pytest

from jmlip.core.errors import DataError
from jmlip.core.structure import Structure
from jmlip.training.evaluation import evaluate_set


@pytest.fixture
def labelled(untrained, clusters):
    """Make labels from predictions and known errors of energy and forces."""

    def make(structures, energy_error, force_error):
        predictions = untrained.predict(structures)
        return [
            s.replace(energy=p.energy - e, forces=p.forces - f)
            for s, p, e, f in zip(structures, predictions, energy_error, force_error, strict=True)
        ]

    return make


def sized(clusters, sizes):
    """Clusters cut to some numbers of atoms."""
    return [
        Structure(species=s.species[:n], positions=s.positions[:n])
        for s, n in zip(clusters, sizes, strict=False)
    ]


def test_errors_are_those_put_into_the_labels(untrained, clusters, labelled):
    rng, sizes = np.random.default_rng(0), [6, 4, 6, 4, 5]
    energy_error = rng.normal(size=5)
    force_error = [rng.normal(size=(n, 3)) for n in sizes]
    structures = labelled(sized(clusters, sizes), energy_error, force_error)
    result = evaluate_set(untrained, structures, batch_size=2)
    flat = np.concatenate(force_error)
    expected = {
        "n_structures": 5,
        "energy_mae_meV": 1e3 * np.abs(energy_error).mean(),
        "energy_rmse_meV": 1e3 * np.sqrt(np.mean(energy_error**2)),
        "energy_per_atom_mae_meV": 1e3 * np.abs(energy_error / sizes).mean(),
        "energy_per_atom_rmse_meV": 1e3 * np.sqrt(np.mean((energy_error / sizes) ** 2)),
        "forces_mae_meV_A": 1e3 * np.abs(flat).mean(),
        "forces_rmse_meV_A": 1e3 * np.sqrt(np.mean(flat**2)),
    }
    assert result.metrics == pytest.approx(expected, rel=1e-4)
    assert result.stress_rmse_meV_A3 is None
    assert result.forces_rmse_by_element == pytest.approx({"Ar": expected["forces_rmse_meV_A"]})
    four = 1e3 * np.sqrt(np.mean((energy_error[[1, 3]] / 4) ** 2))
    assert result.energy_per_atom_rmse_by_size[4] == pytest.approx(four, rel=1e-4)
    np.testing.assert_allclose(result.forces - result.forces_label, flat, atol=1e-6)


@pytest.mark.parametrize("align", ["none", "constant", "composition"])
def test_alignment_takes_off_what_its_name_says(align, untrained, clusters, labelled):
    sizes = np.array([4, 6, 4, 6])
    # 0.5 eV for each atom: errors of 2 and 3 eV, with mean 2.5 eV
    error = 0.5 * sizes
    none = [np.zeros((n, 3)) for n in sizes]
    structures = labelled(sized(clusters, sizes), error, none)
    result = evaluate_set(untrained, structures, align=align)
    expected = {"none": np.sqrt(np.mean(error**2)), "constant": 0.5, "composition": 0.0}[align]
    assert result.energy_rmse_meV == pytest.approx(1e3 * expected, rel=1e-4, abs=1e-2)


def test_alignment_with_one_composition_equals_the_mean(untrained, clusters, labelled):
    error = np.array([1.0, 2.0, 6.0])
    structures = labelled(clusters[:3], error, [np.zeros((6, 3))] * 3)
    results = [evaluate_set(untrained, structures, align=a) for a in ("constant", "composition")]
    assert results[0].energy_mae_meV == pytest.approx(results[1].energy_mae_meV, rel=1e-5)


def test_stress_counts_where_it_is_defined(untrained):
    grid = 4.0 * np.stack(np.meshgrid(*[range(2)] * 3), axis=-1).reshape(-1, 3)
    crystal = Structure(
        species=[18] * 8, positions=grid, cell=8.0 * np.eye(3), pbc=[True] * 3, stress=np.eye(3)
    )
    slab = crystal.replace(pbc=np.array([True, True, False]))
    predicted = untrained.predict([crystal])[0].stress
    result = evaluate_set(untrained, [crystal, slab])
    expected = 1e3 * np.sqrt(np.mean((predicted - np.eye(3)) ** 2))
    assert result.stress_rmse_meV_A3 == pytest.approx(expected, rel=1e-6)
    assert result.energy_mae_meV is None
    assert result.forces_mae_meV_A is None
    assert result.stress.shape == (1, 3, 3)


def test_nothing_to_compare_with_is_an_error(untrained, clusters):
    with pytest.raises(DataError, match="must have structures, found none"):
        evaluate_set(untrained, [])
    with pytest.raises(DataError, match="must have labels"):
        evaluate_set(untrained, sized(clusters, [6]))
