import numpy as np

from jmlip.training.metrics import METRICS, error_metrics, rmse_by_group


def test_errors_in_the_units_of_their_names():
    rng = np.random.default_rng(0)
    energy, forces = rng.normal(size=7), rng.normal(size=(20, 3))
    stress = rng.normal(size=(4, 3, 3))
    found = error_metrics(energy=energy, energy_per_atom=energy / 3, forces=forces, stress=stress)
    assert tuple(found) == METRICS
    np.testing.assert_allclose(found["energy_rmse_meV"], 1e3 * np.linalg.norm(energy) / 7**0.5)
    np.testing.assert_allclose(found["energy_per_atom_mae_meV"], 1e3 * np.abs(energy).mean() / 3)
    np.testing.assert_allclose(found["forces_rmse_meV_A"], 1e3 * np.linalg.norm(forces) / 60**0.5)
    np.testing.assert_allclose(found["stress_mae_meV_A3"], 1e3 * np.abs(stress).mean())


def test_sums_of_single_precision_errors_are_double():
    error = np.full(3_000_001, 0.1, np.float32)
    found = error_metrics(
        energy=error, energy_per_atom=error, forces=np.zeros((0, 3)), stress=np.zeros((0, 3, 3))
    )
    exact = 1e3 * float(np.float32(0.1))
    np.testing.assert_allclose(found["energy_mae_meV"], exact, rtol=1e-12)
    np.testing.assert_allclose(found["energy_rmse_meV"], exact, rtol=1e-12)


def test_groups_are_those_of_the_labels():
    error = np.array([[1.0, 1, 1], [2, 2, 2], [0, 0, 3]])
    found = rmse_by_group(error, np.array([6, 1, 6]))
    assert list(found) == [1, 6]
    np.testing.assert_allclose([found[1], found[6]], [2.0, (12 / 6) ** 0.5])
