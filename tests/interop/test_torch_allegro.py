"""Models of nequip-allegro, converted, against what torch computed with them."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from jmlip.core.errors import JmlipError
from jmlip.core.structure import Structure
from jmlip.factory import load_potential
from jmlip.interop.torch_allegro import from_nequip_allegro
from jmlip.interop.torch_state import read_torch_state
from jmlip.potentials.potential import save_potential

FOLDER = Path(__file__).parents[1] / "models" / "references"
VARIANTS = ("coupled", "uncoupled", "spline")
STRUCTURES = ("molecule", "apart", "periodic")


@pytest.fixture(scope="module", params=VARIANTS)
def reference(request):
    path = FOLDER / f"allegro_{request.param}.safetensors"
    return load_file(path), from_nequip_allegro(*read_torch_state(path))


def structure(arrays, name):
    pbc = arrays[f"{name}/pbc"].astype(bool)
    return Structure(
        species=arrays[f"{name}/numbers"],
        positions=arrays[f"{name}/positions"],
        cell=arrays[f"{name}/cell"],
        pbc=pbc,
    )


def test_energies_forces_and_stresses_are_those_of_torch(reference):
    """References: tests/models/references/make_allegro.py, nequip-allegro 0.8 in float64."""
    arrays, potential = reference
    structures = [structure(arrays, name) for name in STRUCTURES]
    for name, found in zip(STRUCTURES, potential.predict(structures, dtype="float64"), strict=True):
        expected = {key: arrays[f"{name}/{key}"] for key in ("energy", "atomic_energies", "forces")}
        np.testing.assert_allclose(found.energy, expected["energy"], rtol=0, atol=1e-10)
        np.testing.assert_allclose(
            found.atomic_energies, expected["atomic_energies"], rtol=0, atol=1e-10
        )
        np.testing.assert_allclose(found.forces, expected["forces"], rtol=0, atol=1e-11)
        if f"{name}/stress" in arrays:
            np.testing.assert_allclose(found.stress, arrays[f"{name}/stress"], rtol=0, atol=1e-11)


def test_in_single_precision_they_are_so_to_its_digits():
    path = FOLDER / "allegro_coupled.safetensors"
    arrays, potential = load_file(path), from_nequip_allegro(*read_torch_state(path))
    found = potential.predict([structure(arrays, "molecule")], dtype="float32")[0]
    forces = arrays["molecule/forces"]
    np.testing.assert_allclose(found.forces, forces, atol=1e-5 * np.abs(forces).max())
    # of what is left without the reference energies, some thousand eV
    references = dict(zip(potential.species, potential.reference_energies, strict=True))
    interaction = arrays["molecule/energy"] - sum(
        references[int(z)] for z in arrays["molecule/numbers"]
    )
    np.testing.assert_allclose(
        found.energy, arrays["molecule/energy"], atol=1e-5 * abs(interaction)
    )


def test_it_can_be_saved_and_loaded(tmp_path):
    state, hyperparameters = read_torch_state(FOLDER / "allegro_spline.safetensors")
    potential = from_nequip_allegro(state, hyperparameters)
    save_potential(potential, tmp_path / "potential")
    loaded = load_potential(tmp_path / "potential")
    assert loaded.model.config == potential.model.config
    assert loaded.reference_energies == potential.reference_energies


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_tensor_features": 2}, "belongs to other hyperparameters"),
        ({"allegro_mlp_nonlinearity": "mish"}, "allegro_mlp_nonlinearity must be"),
        ({"radial_chemical_embed": {"_target_": "other.Embed"}}, "found 'Embed'"),
        ({"type_names": ["H", "C", "Oxygen"]}, "must be chemical symbols, found 'Oxygen'"),
    ],
)
def test_what_does_not_fit_is_refused(changes, message):
    state, hyperparameters = read_torch_state(FOLDER / "allegro_coupled.safetensors")
    with pytest.raises(JmlipError, match=message):
        from_nequip_allegro(state, hyperparameters | changes)


def test_an_unknown_array_is_refused():
    state, hyperparameters = read_torch_state(FOLDER / "allegro_coupled.safetensors")
    state["model.func.extra.weight"] = np.ones(3)
    with pytest.raises(JmlipError, match=r"unknown name 'extra\.weight'"):
        from_nequip_allegro(state, hyperparameters)
