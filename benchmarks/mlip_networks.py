"""The networks of `step_timer.py` in the package mlip, for scripts that run in its environment."""

import step_timer
from mlip.data.dataset_info import DatasetInfo
from mlip.models import Mace, Nequip


def make_mace(info: DatasetInfo) -> Mace:
    sizes = step_timer.MACE
    config = Mace.Config(
        num_layers=sizes["n_layers"],
        num_channels=sizes["n_channels"],
        l_max=sizes["harmonics"],
        node_symmetry=sizes["max_degree"],
        correlation=sizes["correlation"],
        num_rbf=step_timer.N_BESSEL,
        radial_mlp_hidden=list(step_timer.MACE_RADIAL),
    )
    return Mace(config, info)


def make_nequip(info: DatasetInfo) -> Nequip:
    sizes = step_timer.NEQUIP
    n, most = sizes["n_channels"], sizes["max_degree"]
    config = Nequip.Config(
        num_layers=sizes["n_layers"],
        target_irreps="+".join(f"{n}x{l}{'eo'[l % 2]}" for l in range(most + 1)),
        l_max=sizes["harmonics"],
        num_rbf=step_timer.N_BESSEL,
        radial_mlp_hidden=list(step_timer.NEQUIP_RADIAL),
    )
    return Nequip(config, info)


NETWORKS = {"mace": make_mace, "nequip": make_nequip}
