"""Energies, forces and stresses of small Allegro models, and their state dicts.

    python tests/models/references/make_allegro.py        in an environment with nequip-allegro 0.8

The tensors `allegro.tps.N.w3j` are left out: they hold Clebsch-Gordan coefficients only.
"""

from importlib.metadata import version

from allegro.model import AllegroModel
from make_nequip import COMMON, NAMES, displace, evaluate
from nequip.utils.global_state import set_global_state
from systems import write

BESSEL = {"_target_": "allegro.nn.TwoBodyBesselScalarEmbed", "num_bessels": 6}
WIDTHS = {
    "num_scalar_features": 6, "num_tensor_features": 3,
    "scalar_embed_mlp_hidden_layers_width": 8, "allegro_mlp_hidden_layers_width": 7,
    "readout_mlp_hidden_layers_width": 5, "radial_chemical_embed": BESSEL,
}  # fmt: skip
VARIANTS = {
    # three layers: with two no irrep of unnatural parity can reach the energy
    "allegro_coupled": {
        "num_layers": 3, "l_max": 2, "parity": True, "tp_path_channel_coupling": True,
    },
    # five layers: only then is 0o used
    "allegro_uncoupled": {
        "num_layers": 5, "l_max": 2, "parity": True, "tp_path_channel_coupling": False,
        "allegro_mlp_hidden_layers_depth": 2, "avg_num_neighbors": {"H": 0.4, "C": 0.6, "O": 0.5},
        "per_type_energy_scales": {"H": 2.0, "C": 3.0, "O": 1.5},
    },
    # natural parity; splines for every pair of elements, cutoffs by pair, repulsion
    "allegro_spline": {
        "num_layers": 2, "l_max": 2, "parity": False, "tp_path_channel_coupling": True,
        "per_type_energy_scales": {"H": 0.8, "C": 1.3, "O": 0.6},
        "per_edge_type_cutoff": {"H": 3.5, "C": {"H": 3.0, "C": 4.5, "O": 4.0}, "O": 4.5},
        "radial_chemical_embed": {
            "_target_": "allegro.nn.TwoBodySplineScalarEmbed", "num_splines": 8, "spline_span": 5,
        },
        "pair_potential": {
            "_target_": "nequip.nn.pair_potential.ZBL", "chemical_species": NAMES, "units": "metal",
        },
    },
}  # fmt: skip


def main() -> None:
    set_global_state()
    versions = {name: version(name) for name in ("nequip-allegro", "nequip", "e3nn", "torch")}
    for name, changes in VARIANTS.items():
        config = COMMON | WIDTHS | changes
        model = displace(AllegroModel(**config))
        state = {k: v.numpy() for k, v in model.state_dict().items() if not k.endswith(".w3j")}
        write(name, {**config, "versions": versions}, state, evaluate(model, config))


if __name__ == "__main__":
    main()
