"""Weights of mace-torch and nequip give the energies, forces and stresses that torch gave.

References: tests/models/references/make_mace.py and make_nequip.py.
"""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from jmlip.core.errors import JmlipError
from jmlip.core.structure import Structure
from jmlip.factory import load_potential
from jmlip.interop.torch_mace import change_of_basis, from_mace
from jmlip.interop.torch_nequip import from_nequip
from jmlip.interop.torch_state import read_torch_state
from jmlip.ops.irreps import SCALAR, Irrep, harmonics
from jmlip.potentials.potential import save_potential

FOLDER = Path(__file__).parents[1] / "models" / "references"
NAMES = (
    "mace_paper",
    "mace_residual",
    "mace_density",
    "nequip_parity",
    "nequip_natural",
    "nequip_extras",
)
CONVERT = {"mace": from_mace, "nequip": from_nequip}
STRUCTURES = ("molecule", "apart", "periodic")


def files(name):
    return read_torch_state(FOLDER / f"{name}.safetensors")


def convert(name, state, hyperparameters):
    return CONVERT[name.split("_")[0]](state, hyperparameters)


def structures(reference):
    for name in STRUCTURES:
        cell = {} if not reference[f"{name}/pbc"].any() else {"cell": reference[f"{name}/cell"]}
        pbc = {"pbc": (True, True, True)} if cell else {}
        species, positions = reference[f"{name}/numbers"], reference[f"{name}/positions"]
        yield Structure(species=species, positions=positions, **cell, **pbc)


CASES = [(name, "float64") for name in NAMES]
CASES += [(name, "float32") for name in ("mace_residual", "mace_density", "nequip_extras")]


@pytest.mark.parametrize(("name", "dtype"), CASES)
def test_energies_forces_and_stresses_are_those_of_torch(name, dtype):
    potential, reference = convert(name, *files(name)), load_file(FOLDER / f"{name}.safetensors")
    tolerance = {"float64": 1e-11, "float32": 5e-6}[dtype]
    found = potential.predict(list(structures(reference)), dtype=dtype)
    for name, prediction in zip(STRUCTURES, found, strict=True):
        wanted = {k: reference.get(f"{name}/{k}") for k in prediction._fields}
        # of interaction energies: torch's contain those of the elements, 2000 eV
        elements = reference[f"{name}/numbers"][:, None] == potential.species
        lone = elements @ np.array(potential.reference_energies)
        for quantity, value in prediction._asdict().items():
            if value is not None:
                zero = {"energy": lone.sum(), "atomic_energies": lone}.get(quantity, 0.0)
                size = np.abs(wanted[quantity] - zero).max()
                error = np.abs(value - wanted[quantity]).max()
                assert error < tolerance * max(1.0, size), (name, quantity)


def test_a_converted_potential_is_saved_and_loaded(tmp_path):
    potential = convert("nequip_extras", *files("nequip_extras"))
    save_potential(potential, tmp_path / "converted")
    loaded = load_potential(tmp_path / "converted")
    assert loaded.model == potential.model
    assert loaded.provenance["source"] == "nequip"


def test_weights_in_float32_give_a_potential_in_float32():
    state, hyperparameters = files("nequip_natural")
    single = {k: v.astype(np.float32) for k, v in state.items()}
    potential = from_nequip(single, hyperparameters)
    assert potential.params["embedding"].dtype == np.float32


def test_types_without_scales_and_shifts_have_one_and_zero():
    state, hyperparameters = files("nequip_natural")
    ending = "per_type_energy_scale_shift"
    state = {k: np.zeros(0) if ending in k else v for k, v in state.items()}
    potential = from_nequip(state, hyperparameters)
    assert potential.model.config.energy_scale == 1.0
    assert potential.reference_energies == (0.0, 0.0, 0.0)


def test_a_readout_without_a_nonlinearity_is_linear():
    """Its matrices are multiplied: merged into one they give the same energies."""
    state, hyperparameters = files("nequip_extras")
    key = next(k for k in state if "energy_readout.mlp_module.mlp.0" in k)
    stem = key.removesuffix(".0.weight")
    first, second = state.pop(f"{stem}.0.weight"), state.pop(f"{stem}.2.weight")
    one = {f"{stem}.0.weight": first @ second / np.sqrt(first.shape[1])}
    two = {f"{stem}.weights.0": first, f"{stem}.weights.1": second}
    linear = hyperparameters | {"readout_mlp_nonlinearity": None}
    potentials = [from_nequip(state | one, hyperparameters), from_nequip(state | two, linear)]
    reference = load_file(FOLDER / "nequip_extras.safetensors")
    molecule = next(structures(reference))
    merged, chain = (p.predict([molecule], dtype="float64")[0] for p in potentials)
    np.testing.assert_allclose(chain.forces, merged.forces, rtol=1e-11, atol=1e-11)


LOST = {
    "mace_paper": "interactions.1.linear_up.weight",
    "nequip_natural": "layer2_convnet.conv.sc.weight",
}


@pytest.mark.parametrize("name", LOST)
def test_missing_unknown_and_unfitting_names_are_named(name):
    state, hyperparameters = files(name)
    key = next(k for k in state if k.endswith(LOST[name]))
    missing = {k: v for k, v in state.items() if k != key}
    with pytest.raises(JmlipError, match=rf"{LOST[name]}.* is missing"):
        convert(name, missing, hyperparameters)
    with pytest.raises(JmlipError, match=r"unknown name .*other\.weight"):
        convert(name, state | {"other.weight": np.ones(2)}, hyperparameters)
    with pytest.raises(JmlipError, match=rf"{LOST[name]}.* must hold \d+ numbers, found 3"):
        convert(name, state | {key: np.ones(3)}, hyperparameters)
    with pytest.raises(JmlipError, match=rf"{LOST[name]}.* must be finite"):
        convert(name, state | {key: np.full_like(state[key], np.nan)}, hyperparameters)


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("mace_paper", {"use_so3": True}, "use_so3 must be False"),
        ("mace_paper", {"correlation": 1}, "correlation must be 2 or 3 or 4, found 1"),
        ("mace_paper", {"use_so4": True}, "did you mean 'use_so3'"),
        ("mace_paper", {"hidden_irreps": "4x0e+4x1e"}, "hidden_irreps must be 0e, 1o"),
        ("mace_paper", {"interaction_cls": "RealAgnosticInteractionBlock"}, "interaction_cls"),
        ("mace_paper", {"max_ell": 3}, "belongs to other hyperparameters"),
        ("nequip_natural", {"parity": True}, "must have 25 outputs, found 15|hyperparameters"),
        ("nequip_natural", {"convnet_resnet": True}, "convnet_resnet must be False"),
        ("nequip_natural", {"type_names": ["H", "C", "X2"]}, "must be chemical symbols"),
        ("nequip_natural", {"type_names": ["X", "C", "O"]}, "must be chemical symbols"),
        ("nequip_natural", {"type_names": ["H", "C"]}, "must be those of one model"),
        ("nequip_natural", {"r_max": 2.25}, "r_max must be that of the weights, 4.5 angstrom"),
        ("mace_paper", {"r_max": 99.0}, "r_max must agree with the weights"),
        ("mace_paper", {"num_interactions": 7}, "num_interactions must agree with the weights"),
        ("mace_paper", {"heads": ["a", "b"]}, "heads must agree with the weights"),
        ("mace_paper", {"avg_num_neighbors": 0.0}, "must be those of one model"),
        ("mace_paper", {"max_ell": 99}, "must be those of one model"),
        ("nequip_extras", {"pair_potential": {"_target_": "LJ"}}, "pair_potential must be ZBL"),
        ("nequip_extras", {"pair_potential": None}, "unknown name 'pair_potential"),
    ],
)
def test_models_that_jmlip_has_not_are_refused(name, changes, message):
    state, hyperparameters = files(name)
    with pytest.raises(JmlipError, match=message):
        convert(name, state, hyperparameters | changes)


def test_models_of_several_heads_are_refused():
    state, hyperparameters = files("mace_paper")
    with pytest.raises(JmlipError, match="mace_select_head"):
        from_mace(state | {"scale_shift.scale": np.ones(2)}, hyperparameters)


def test_files_of_torch_are_refused_with_a_recipe(tmp_path):
    with pytest.raises(JmlipError, match=r"safetensors\.torch\.save_file"):
        read_torch_state(tmp_path / "mace.model")
    with pytest.raises(JmlipError, match="cannot read"):
        read_torch_state(tmp_path / "mace.safetensors")
    (tmp_path / "mace.safetensors").write_bytes(b"not this")
    with pytest.raises(JmlipError, match="damaged"):
        read_torch_state(tmp_path / "mace.safetensors")


def test_couplings_of_another_symmetry_are_refused():
    with pytest.raises(JmlipError, match="must lie in the symmetric couplings to 0e"):
        change_of_basis(np.ones((4, 4, 1)), harmonics(1), 2, SCALAR)
    with pytest.raises(JmlipError, match="must couple 1 features of 4 components to 1o"):
        change_of_basis(np.ones((4, 1)), harmonics(1), 1, Irrep(1, -1))
