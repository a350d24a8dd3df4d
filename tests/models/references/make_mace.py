"""Energies, forces and stresses of small MACE models, and their state dicts.

    python tests/models/references/make_mace.py        in an environment with mace-torch 0.3

`cuequivariance` and `cuequivariance-torch` are needed by the variants with `use_reduced_cg`.
The tensors `U_matrix_N` are kept sparse: `NAME.index` [entries, axes] and `NAME.value` [entries],
with `NAME.shape`; they depend on the degrees only, so those of a later layer that equal an earlier
one are left out.
"""

from importlib.metadata import version

import mace  # noqa: F401  first: e3nn 0.4.4 cannot load its constants without it
import numpy as np
import torch
from e3nn import o3
from mace import data, modules, tools
from systems import SPECIES, structures, write

COMMON = {
    "r_max": 4.5, "num_bessel": 6, "num_polynomial_cutoff": 5, "num_interactions": 2,
    "MLP_irreps": "5x0e", "radial_MLP": [8, 7], "avg_num_neighbors": 1.7, "gate": "silu",
    "atomic_energies": [-13.5, -1029.2, -2041.8], "atomic_inter_scale": 0.8,
    "atomic_inter_shift": 0.13, "pair_repulsion": False, "distance_transform": "None",
    "interaction_cls": "RealAgnosticResidualInteractionBlock", "use_reduced_cg": False,
}  # fmt: skip
VARIANTS = {
    # the form of the paper: no residual in the first layer, redundant coupling trees
    "mace_paper": {
        "max_ell": 2, "hidden_irreps": "4x0e+4x1o", "correlation": 3,
        "interaction_cls_first": "RealAgnosticInteractionBlock",
    },
    # today's defaults; symmetric bases of the products, messages up to L=2, three layers
    "mace_residual": {
        "max_ell": 3, "hidden_irreps": "3x0e+3x1o+3x2e", "correlation": 3, "use_reduced_cg": True,
        "interaction_cls_first": "RealAgnosticResidualInteractionBlock", "num_interactions": 3,
    },
    # the form of the later foundation models
    "mace_density": {
        "max_ell": 3, "hidden_irreps": "5x0e", "correlation": 2, "pair_repulsion": True,
        "distance_transform": "Agnesi",
        "interaction_cls_first": "RealAgnosticDensityInteractionBlock",
        "interaction_cls": "RealAgnosticDensityResidualInteractionBlock",
    },
}  # fmt: skip
PRODUCT = 1.0


def build(config: dict) -> torch.nn.Module:
    """The model with every trainable number moved away from its initial value."""
    classes = {key: getattr(modules, config[key]) for key in ("interaction_cls",)}
    classes["interaction_cls_first"] = getattr(modules, config["interaction_cls_first"])
    irreps = {key: o3.Irreps(config[key]) for key in ("hidden_irreps", "MLP_irreps")}
    torch.manual_seed(3)
    model = modules.ScaleShiftMACE(
        **config
        | classes
        | irreps
        | {
            "gate": torch.nn.functional.silu,
            "atomic_energies": np.array(config["atomic_energies"]),
        },
        num_elements=len(SPECIES),
        atomic_numbers=list(SPECIES),
    )
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".weights" in name:  # of a product, small at first
                parameter.copy_(PRODUCT * torch.randn_like(parameter))
            else:
                parameter += 0.3 * torch.randn_like(parameter)
    return model.double()


def evaluate(model: torch.nn.Module, cutoff: float) -> dict[str, dict[str, np.ndarray]]:
    """Results by structure."""
    table, results = tools.AtomicNumberTable(list(SPECIES)), {}
    for name, atoms in structures().items():
        config = data.config_from_atoms(atoms.copy())
        loader = tools.torch_geometric.dataloader.DataLoader(
            [data.AtomicData.from_config(config, z_table=table, cutoff=cutoff)], batch_size=1
        )
        found = model(next(iter(loader)).to_dict(), compute_stress=True)
        results[name] = {
            "energy": found["energy"][0],
            "atomic_energies": found["node_energy"],
            "forces": found["forces"],
        }
        if atoms.pbc.all():
            results[name]["stress"] = found["stress"][0]
        results[name] = {k: v.detach().numpy() for k, v in results[name].items()}
    return results


def state_dict(model: torch.nn.Module) -> dict[str, np.ndarray]:
    """Parameters and buffers; each coupling tensor once and sparse."""
    kept, seen = {}, []
    for name, tensor in model.state_dict().items():
        value = tensor.numpy()
        if "U_matrix" not in name:
            kept[name] = value
        elif not any(np.array_equal(value, other) for other in seen):
            seen.append(value)
            kept[f"{name}.index"] = np.argwhere(value).astype(np.uint8)
            kept[f"{name}.value"] = value[value != 0.0]
            kept[f"{name}.shape"] = np.array(value.shape)
    return kept


def main() -> None:
    torch.set_default_dtype(torch.float64)
    versions = {name: version(name) for name in ("mace-torch", "e3nn", "torch")}
    for name, changes in VARIANTS.items():
        config = COMMON | changes
        model = build(config)
        write(
            name,
            {"species": SPECIES, **config, "versions": versions},
            state_dict(model),
            evaluate(model, config["r_max"]),
        )


if __name__ == "__main__":
    main()
