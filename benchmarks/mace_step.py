"""Time training and forces of mace-torch; `models_speed.py` runs it, see `step_timer.py`.

MODE: eager, or compile for torch.compile on a model that MACE's `prepare` has made ready for it.
"""

import warnings

import step_timer

options = step_timer.arguments()
warnings.filterwarnings("ignore")

import mace  # noqa: F401, E402  first: e3nn 0.4.4 cannot load its constants without it
import numpy as np  # noqa: E402
import torch  # noqa: E402
from e3nn import o3  # noqa: E402
from mace import data, modules, tools  # noqa: E402
from mace.tools.compile import prepare  # noqa: E402

torch.set_num_threads(options.threads)
torch.manual_seed(0)
members = step_timer.frames(options.path)
species = list(step_timer.SYMBOLS)
table = tools.AtomicNumberTable(species)
size = step_timer.MACE


def build() -> torch.nn.Module:
    channels = size["n_channels"]
    hidden = "+".join(f"{channels}x{l}{'eo'[l % 2]}" for l in range(size["max_degree"] + 1))
    return modules.ScaleShiftMACE(
        r_max=step_timer.CUTOFF,
        num_bessel=step_timer.N_BESSEL,
        num_polynomial_cutoff=5,
        max_ell=size["harmonics"],
        interaction_cls=modules.RealAgnosticResidualInteractionBlock,
        interaction_cls_first=modules.RealAgnosticInteractionBlock,
        num_interactions=size["n_layers"],
        num_elements=len(species),
        atomic_numbers=species,
        atomic_energies=np.zeros(len(species)),
        hidden_irreps=o3.Irreps(hidden),
        MLP_irreps=o3.Irreps("16x0e"),
        radial_MLP=list(step_timer.MACE_RADIAL),
        avg_num_neighbors=step_timer.mean_neighbors(members),
        correlation=size["correlation"],
        gate=torch.nn.functional.silu,
        atomic_inter_scale=1.0,
        atomic_inter_shift=0.0,
    )


def batch_of(group: list) -> dict[str, torch.Tensor]:
    graphs = [
        data.AtomicData.from_config(
            data.Configuration(
                atomic_numbers=frame.numbers,
                positions=np.float64(frame.positions),
                properties={"energy": float(frame.energy), "forces": frame.forces},
                property_weights={},
            ),
            z_table=table,
            cutoff=step_timer.CUTOFF,
        )
        for frame in group
    ]
    loader = tools.torch_geometric.dataloader.DataLoader(graphs, batch_size=len(graphs))
    return next(iter(loader)).to_dict()


model = torch.compile(prepare(build)()) if options.mode == "compile" else build()
batches = [batch_of(group) for group in step_timer.in_batches(members, options.batch)]
optimizer = torch.optim.Adam(model.parameters(), lr=step_timer.LEARNING_RATE)


def train(n: int) -> None:
    batch = batches[n % len(batches)]
    found = model(batch, training=True)
    value = ((found["energy"] - batch["energy"]) ** 2).mean()
    value = value + ((found["forces"] - batch["forces"]) ** 2).mean()
    optimizer.zero_grad()
    value.backward()
    optimizer.step()


def evaluate(n: int) -> None:
    model(batches[n % len(batches)], training=False)["forces"].detach()


step_timer.report(
    options,
    train=train,
    evaluate=evaluate,
    n_atoms=sum(len(frame.numbers) for frame in members[: options.batch]),
    n_parameters=sum(p.numel() for p in model.parameters() if p.requires_grad),
)
