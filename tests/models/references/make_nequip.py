"""Energies, forces and stresses of small NequIP models, and their state dicts.

python tests/models/references/make_nequip.py        in an environment with nequip 0.19
"""

from collections.abc import Mapping
from importlib.metadata import version

import numpy as np
import torch
from nequip.data import AtomicDataDict, from_ase
from nequip.data.transforms import ChemicalSpeciesToAtomTypeMapper, NeighborListTransform
from nequip.model import NequIPGNNModel
from nequip.utils.global_state import set_global_state
from systems import structures, write

NAMES = ["H", "C", "O"]
COMMON = {
    "seed": 3, "model_dtype": "float64", "type_names": NAMES, "r_max": 4.5,
    "avg_num_neighbors": 1.7, "per_type_energy_scales": {"H": 8.0, "C": 13.0, "O": 6.0},
    "per_type_energy_shifts": {"H": -13.5, "C": -1029.2, "O": -2041.8},
}  # fmt: skip
VARIANTS = {
    # six layers: 0o needs three to appear and three more to reach the energy; few neighbors in
    # the norm make the features large, so that those of unnatural parity count
    "nequip_parity": {
        "num_layers": 6, "l_max": 2, "parity": True, "num_features": 3, "num_bessels": 6,
        "type_embed_num_features": 2, "radial_mlp_depth": 1, "radial_mlp_width": 8,
        "avg_num_neighbors": 0.06,
    },
    "nequip_natural": {
        "num_layers": 3, "l_max": 2, "parity": False, "num_features": [5, 4, 3], "num_bessels": 5,
        "radial_mlp_depth": 2, "radial_mlp_width": 7, "polynomial_cutoff_p": 5,
    },
    # what the two above leave at its default
    "nequip_extras": {
        "num_layers": 2, "l_max": 1, "parity": True, "num_features": 4, "num_bessels": 6,
        "bessel_trainable": True, "readout_mlp_hidden_layers_depth": 1,
        "readout_mlp_hidden_layers_width": 6, "radial_mlp_width": 8,
        "avg_num_neighbors": {"H": 1.2, "C": 1.9, "O": 1.5},
        "per_edge_type_cutoff": {"H": 3.5, "C": {"H": 3.0, "C": 4.5, "O": 4.0}, "O": 4.5},
        "pair_potential": {
            "_target_": "nequip.nn.pair_potential.ZBL", "chemical_species": NAMES, "units": "metal",
        },
    },
}  # fmt: skip


def displace(model: torch.nn.Module) -> torch.nn.Module:
    """The model with every trainable number moved away from its initial value."""
    torch.manual_seed(5)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            size = 0.05 if "bessel" in name else 0.3
            parameter += size * torch.randn_like(parameter)
    return model.eval()


def evaluate(model: torch.nn.Module, config: Mapping) -> dict[str, dict[str, np.ndarray]]:
    """Results by structure."""
    mapper = ChemicalSpeciesToAtomTypeMapper(model_type_names=NAMES)
    neighbors = NeighborListTransform(
        r_max=config["r_max"],
        per_edge_type_cutoff=config.get("per_edge_type_cutoff"),
        type_names=NAMES,
    )
    results = {}
    for name, atoms in structures().items():
        found = model(neighbors(mapper(from_ase(atoms))))
        results[name] = {
            "energy": found[AtomicDataDict.TOTAL_ENERGY_KEY].reshape(()),
            "atomic_energies": found[AtomicDataDict.PER_ATOM_ENERGY_KEY].reshape(-1),
            "forces": found[AtomicDataDict.FORCE_KEY],
        }
        if atoms.pbc.all():
            results[name]["stress"] = found[AtomicDataDict.STRESS_KEY][0]
        results[name] = {k: v.detach().numpy() for k, v in results[name].items()}
    return results


def main() -> None:
    set_global_state()
    versions = {name: version(name) for name in ("nequip", "e3nn", "torch")}
    for name, changes in VARIANTS.items():
        config = COMMON | changes
        model = displace(NequIPGNNModel(**config))
        state = {key: value.numpy() for key, value in model.state_dict().items()}
        write(name, {**config, "versions": versions}, state, evaluate(model, config))


if __name__ == "__main__":
    main()
