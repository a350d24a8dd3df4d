"""Time training and forces of the package mlip; `models_speed.py` runs it, see `step_timer.py`."""

import warnings

import step_timer

options = step_timer.arguments()
warnings.filterwarnings("ignore")

import jax  # noqa: E402
import mlip.models.loss as losses  # noqa: E402
import mlip_networks  # noqa: E402
import numpy as np  # noqa: E402
import optax  # noqa: E402
from mlip.data.chemical_system import ChemicalSystem  # noqa: E402
from mlip.data.dataset_info import DatasetInfo  # noqa: E402
from mlip.graph import Graph  # noqa: E402
from mlip.graph.batching_helpers import batch_graphs, pad_with_graphs  # noqa: E402
from mlip.models import ForceField  # noqa: E402
from mlip.training.ema import exponentially_moving_average  # noqa: E402
from mlip.training.training_state import init_training_state  # noqa: E402
from mlip.training.training_step import make_train_step  # noqa: E402


def graph_of(frame) -> Graph:
    system = ChemicalSystem(
        atomic_numbers=frame.numbers,
        positions=frame.positions,
        energy=float(frame.energy),
        forces=frame.forces,
    )
    return Graph.from_chemical_system(system, step_timer.CUTOFF)


def padded(members: list) -> list[Graph]:
    """Batches of one size: that of the largest, and one atom and graph of padding."""
    batches = [batch_graphs(group) for group in step_timer.in_batches(members, options.batch)]
    n_node = max(int(b.n_node.sum()) for b in batches) + 1
    n_edge = max(int(b.n_edge.sum()) for b in batches) + 1
    whole = [pad_with_graphs(b, n_node, n_edge, options.batch + 1) for b in batches]
    narrow = lambda x: np.asarray(x, np.float32) if np.asarray(x).dtype == np.float64 else x
    return [jax.device_put(jax.tree.map(narrow, graph)) for graph in whole]


members = step_timer.frames(options.path)
graphs = padded([graph_of(frame) for frame in members])
info = DatasetInfo(
    atomic_energies_map=dict.fromkeys(step_timer.SYMBOLS, 0.0),
    graph_cutoff_angstrom=step_timer.CUTOFF,
    avg_num_neighbors=step_timer.mean_neighbors(members),
    avg_r_min_angstrom=0.95,
)
field = ForceField.from_mlip_network(mlip_networks.NETWORKS[options.kind](info))
average = exponentially_moving_average(0.999)
optimizer = optax.adam(step_timer.LEARNING_RATE)
state = init_training_state(field.params, optimizer, average)
step = make_train_step(
    field.predictor,
    losses.MSELoss(lambda _: 1.0, lambda _: 1.0),
    optimizer,
    average,
    avg_n_graphs_per_batch=options.batch,
)
predict = jax.jit(field.predictor.apply)
parameters = field.params


def train(n: int) -> None:
    global state
    state, metrics = step(state, graphs[n % len(graphs)], 0)
    jax.block_until_ready((state.params, metrics))


def evaluate(n: int) -> None:
    found = predict(parameters, graphs[n % len(graphs)])
    jax.block_until_ready((found.nodes.forces, found.globals.energy))


step_timer.report(
    options,
    train=train,
    evaluate=evaluate,
    n_atoms=sum(len(frame.numbers) for frame in members[: options.batch]),
    n_parameters=sum(leaf.size for leaf in jax.tree.leaves(field.params)),
)
