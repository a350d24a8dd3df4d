"""Time training and forces of nequip and allegro; `models_speed.py` runs it, see `step_timer.py`.

MODE: eager, or compile for nequip's own use of torch.compile.
"""

import contextlib
import io
import warnings

import step_timer

options = step_timer.arguments()
warnings.filterwarnings("ignore")

import ase  # noqa: E402
import torch  # noqa: E402
from nequip.data import AtomicDataDict, from_ase  # noqa: E402
from nequip.data.transforms import (  # noqa: E402
    ChemicalSpeciesToAtomTypeMapper,
    NeighborListTransform,
)
from nequip.model import NequIPGNNModel  # noqa: E402
from nequip.utils.global_state import set_global_state  # noqa: E402

torch.set_num_threads(options.threads)
set_global_state()
members = step_timer.frames(options.path)
names = list(step_timer.SYMBOLS.values())
common = {
    "seed": 0,
    "model_dtype": "float32",
    "compile_mode": options.mode,
    "type_names": names,
    "r_max": step_timer.CUTOFF,
    "avg_num_neighbors": step_timer.mean_neighbors(members),
}


def nequip() -> torch.nn.Module:
    table = step_timer.NEQUIP
    return NequIPGNNModel(
        num_layers=table["n_layers"],
        l_max=table["max_degree"],
        parity=False,
        num_features=table["n_channels"],
        num_bessels=step_timer.N_BESSEL,
        radial_mlp_depth=len(step_timer.NEQUIP_RADIAL),
        radial_mlp_width=step_timer.NEQUIP_RADIAL[0],
        **common,
    )


def allegro() -> torch.nn.Module:
    from allegro.model import AllegroModel

    table = step_timer.ALLEGRO
    bessel = {
        "_target_": "allegro.nn.TwoBodyBesselScalarEmbed",
        "num_bessels": step_timer.N_BESSEL,
    }
    return AllegroModel(
        num_layers=table["n_layers"],
        l_max=table["harmonics"],
        parity=True,
        num_scalar_features=table["n_scalars"],
        num_tensor_features=table["n_channels"],
        radial_chemical_embed=bessel,
        **common,
    )


def graph_of(frame) -> dict:
    atoms = ase.Atoms(frame.numbers, frame.positions)
    return neighbors(mapper(from_ase(atoms)))


with contextlib.redirect_stdout(io.StringIO()):
    model = {"nequip": nequip, "allegro": allegro}[options.kind]()
mapper = ChemicalSpeciesToAtomTypeMapper(model_type_names=names)
neighbors = NeighborListTransform(r_max=step_timer.CUTOFF, type_names=names)
batches = [
    (
        AtomicDataDict.batched_from_list([graph_of(frame) for frame in group]),
        torch.tensor([[float(frame.energy)] for frame in group]),
        torch.cat([torch.as_tensor(frame.forces) for frame in group]),
    )
    for group in step_timer.in_batches(members, options.batch)
]
optimizer = torch.optim.Adam(model.parameters(), lr=step_timer.LEARNING_RATE)


def run(graph: dict) -> tuple[torch.Tensor, torch.Tensor]:
    found = model(dict(graph))
    return found[AtomicDataDict.TOTAL_ENERGY_KEY], found[AtomicDataDict.FORCE_KEY]


def train(n: int) -> None:
    graph, energies, forces = batches[n % len(batches)]
    model.train()
    energy, force = run(graph)
    value = ((energy - energies) ** 2).mean() + ((force - forces) ** 2).mean()
    optimizer.zero_grad()
    value.backward()
    optimizer.step()


def evaluate(n: int) -> None:
    model.eval()
    energy, force = run(batches[n % len(batches)][0])
    energy.detach(), force.detach()


step_timer.report(
    options,
    train=train,
    evaluate=evaluate,
    n_atoms=sum(len(frame.numbers) for frame in members[: options.batch]),
    n_parameters=sum(p.numel() for p in model.parameters() if p.requires_grad),
)
