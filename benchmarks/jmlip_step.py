"""Time training and forces of jmlip; `models_speed.py` runs it, see `step_timer.py`."""

import step_timer

options = step_timer.arguments()

import jax  # noqa: E402
import numpy as np  # noqa: E402

from jmlip.core.structure import Structure  # noqa: E402
from jmlip.factory import MODELS, make_model  # noqa: E402
from jmlip.potentials.evaluate import evaluate as evaluate_graph  # noqa: E402
from jmlip.potentials.potential import initial_potential  # noqa: E402
from jmlip.training.feed import Feed  # noqa: E402
from jmlip.training.loss_config import LossConfig, TermConfig  # noqa: E402
from jmlip.training.optimizers import OptimizerConfig, make_optimizer  # noqa: E402
from jmlip.training.step import Compilations, Controls, init_state, make_step  # noqa: E402

common = {"species": list(step_timer.SYMBOLS), "cutoff": step_timer.CUTOFF}
members = step_timer.frames(options.path)
average = {"mean_neighbors": step_timer.mean_neighbors(members)}
NETWORKS = {
    "mace": step_timer.MACE | {"radial_hidden": step_timer.MACE_RADIAL, **average},
    "nequip": step_timer.NEQUIP | {"radial_hidden": step_timer.NEQUIP_RADIAL, **average},
    "allegro": step_timer.ALLEGRO | average,
}
if options.kind not in MODELS:
    raise SystemExit(f"jmlip has no {options.kind}")
network = common | NETWORKS[options.kind]
if options.mode == "plain":
    network["kernels"] = "plain"
structures = [
    Structure(
        species=f.numbers, positions=np.float64(f.positions), energy=f.energy, forces=f.forces
    )
    for f in members
]
potential = initial_potential(
    options.kind,
    make_model(options.kind, network),
    key=jax.random.key(0),
    reference_energies=(0.0,) * len(step_timer.SYMBOLS),
)
optimizer = make_optimizer(OptimizerConfig(name="adam", learning_rate=step_timer.LEARNING_RATE))
step = make_step(
    potential.apply,
    LossConfig(energy=TermConfig(weight=1.0), forces=TermConfig(weight=1.0)),
    optimizer,
    reference_energies=potential.reference_energies,
    ema_decay=0.999,
    max_skipped=10,
    compilations=Compilations(),
)
parameters = jax.tree.map(jax.numpy.asarray, potential.params)
# a step may reuse the memory of the state it is given
state = init_state(jax.tree.map(jax.numpy.copy, parameters), optimizer)
controls = Controls(step_timer.LEARNING_RATE, np.ones(2, np.float32))
feed = Feed(structures, potential, dtype="float32")
fed = [f for f in feed.epoch(0, options.batch) if len(f.indices) == options.batch]
batches = [jax.device_put(f.batch) for f in fed]
predict = jax.jit(lambda params, graph: evaluate_graph(potential.apply, params, graph)[:2])


def train(n: int) -> None:
    global state
    state, found = step(state, batches[n % len(batches)], controls)
    jax.block_until_ready((state, found))


def evaluate(n: int) -> None:
    jax.block_until_ready(predict(parameters, batches[n % len(batches)].graph))


step_timer.report(
    options,
    train=train,
    evaluate=evaluate,
    n_atoms=sum(len(frame.numbers) for frame in members[: options.batch]),
    n_parameters=sum(leaf.size for leaf in jax.tree.leaves(potential.params)),
)
