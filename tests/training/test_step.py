import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jmlip.graphs.output import AtomicOutput
from jmlip.training.directional import make_loss_gradient
from jmlip.training.loop import without_gradient
from jmlip.training.loss_config import LossConfig, TermConfig
from jmlip.training.optimizers import OptimizerConfig, make_optimizer
from jmlip.training.step import Compilations, Controls, init_state, make_step

LOSS = LossConfig(energy=TermConfig(), forces=TermConfig())
MAX_SKIPPED = 3


def controls(rate=0.01):
    return Controls(np.float32(rate), np.ones(2, np.float32))


def start(spring, *, ema_decay=0.0, loss=LOSS):
    apply_fn, params = spring
    optimizer = make_optimizer(OptimizerConfig(name="adam"))
    compilations = Compilations()
    step = make_step(
        apply_fn,
        loss,
        optimizer,
        reference_energies=(-1.0, 2.0),
        ema_decay=ema_decay,
        max_skipped=MAX_SKIPPED,
        compilations=compilations,
    )
    return step, init_state(params, optimizer), compilations


def with_energy(batch, value):
    energy = batch.labels.energy.at[0].set(value)
    return batch._replace(labels=batch.labels._replace(energy=energy))


def assert_equal_trees(left, right):
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(left), jax.device_get(right))


def test_steps_reach_the_labels(spring, batch):
    step, state, compilations = start(spring)
    losses = []
    for _ in range(400):
        state, report = step(state, batch, controls(0.02))
        losses.append(float(report.loss))
    # k = 2, length = 1 has energy 0.25 and force 1; the offsets take the rest of the energies
    assert losses[0] > 0.5
    assert losses[-1] < 1e-4
    assert compilations.count == 1


def test_first_adam_step_moves_each_parameter_by_the_rate(spring, batch):
    step, state, _ = start(spring)
    before = jax.device_get(state.params)
    state, _ = step(state, batch, controls(0.01))
    moved = jax.tree.map(lambda a, b: np.abs(a - b), before, jax.device_get(state.params))
    np.testing.assert_allclose(moved["k"], 0.01, rtol=1e-3)
    np.testing.assert_allclose(moved["offset"], 0.01, rtol=1e-3)


def test_moving_average_forgets_the_start(spring, batch):
    decay = 0.25
    step, state, _ = start(spring, ema_decay=decay)
    average = jax.device_get(state.average)["k"]
    for t in range(6):
        state, _ = step(state, batch, controls())
        weight = min(decay, (1 + t) / (10 + t))
        average = weight * average + (1 - weight) * float(state.params["k"])
        np.testing.assert_allclose(state.average["k"], average, rtol=1e-6)


def test_average_without_decay_is_the_parameters(spring, batch):
    step, state, _ = start(spring, ema_decay=0.0)
    for _ in range(3):
        state, _ = step(state, batch, controls())
    assert_equal_trees(state.average, state.params)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_step_that_is_not_finite_changes_nothing_and_is_counted(bad, spring, batch):
    step, state, _ = start(spring, ema_decay=0.5)
    with jax.debug_nans(False):
        state, _ = step(state, batch, controls())
        before = jax.device_get(state)
        state, report = step(state, with_energy(batch, bad), controls())
        assert not report.finite
        assert np.isfinite(np.asarray(report.terms)).tolist() == [False, True]
        after = jax.device_get(state)
        assert_equal_trees(before[:4], after[:4])
        assert (after.skipped, after.skipped_in_a_row) == (1, 1)
        state, report = step(state, batch, controls())
    assert report.finite
    assert (int(state.skipped), int(state.skipped_in_a_row), int(state.updates)) == (1, 0, 2)


def test_after_too_many_skipped_steps_nothing_moves_any_more(spring, batch):
    step, state, _ = start(spring)
    with jax.debug_nans(False):
        for _ in range(MAX_SKIPPED):
            state, _ = step(state, with_energy(batch, np.nan), controls())
        before = jax.device_get(state.params)
        state, report = step(state, batch, controls())
    assert report.finite
    assert int(report.skipped_in_a_row) == MAX_SKIPPED + 1
    assert_equal_trees(before, state.params)


@pytest.mark.parametrize(
    ("precision", "asked"),
    [(None, {"DEFAULT"}), ("float32", {"HIGHEST"}), ("tf32", {"HIGH"}), ("bf16", {"bf16"})],
)
def test_products_of_matrices_are_asked_for_in_the_given_precision(precision, asked, batch):
    """In the loss and its gradient; JAX says in the program what each product shall be."""

    def apply_fn(params, graph):
        energy = nn.tanh(graph.edges.vector @ params["w"]).sum(axis=1)
        return AtomicOutput(energy, energy[:, None], energy[:, None])

    optimizer = make_optimizer(OptimizerConfig(name="adam"))
    step = make_step(
        apply_fn,
        LOSS,
        optimizer,
        reference_energies=(-1.0, 2.0),
        ema_decay=0.0,
        max_skipped=MAX_SKIPPED,
        compilations=Compilations(),
        precision=precision,
    )
    state = init_state({"w": jnp.ones((3, 3))}, optimizer)
    program = step.lower(state, batch, controls()).as_text()
    products = [line for line in program.splitlines() if "dot_general" in line and "x3" in line]
    assert len(products) >= 3
    found = {"bf16" if "type = bf16" in p else re.search(r"\[(\w+), \1]", p)[1] for p in products}
    assert found == asked


def test_weights_and_rate_do_not_compile_anew_but_shapes_do(spring, batch):
    step, state, compilations = start(spring)
    for rate in (0.1, 0.2, 0.3):
        state, _ = step(state, batch, Controls(np.float32(rate), np.full(2, rate, np.float32)))
    assert compilations.count == 1
    graph = batch.graph._replace(n_node=jnp.append(batch.graph.n_node, 0))
    longer = lambda x: jnp.concatenate([x, jnp.zeros_like(x[:1])])
    labels = batch.labels
    names = ("energy", "energy_mask", "energy_weight", "stress", "stress_mask")
    labels = labels._replace(**{name: longer(getattr(labels, name)) for name in names})
    graph = graph._replace(globals=jax.tree.map(longer, graph.globals))
    step(state, batch._replace(graph=graph, labels=labels), controls())
    assert compilations.count == 2


def test_frozen_groups_have_no_gradient_and_the_others_have_theirs(spring, batch):
    apply_fn, params = spring
    options = {"reference_energies": (0.0, 0.0), "force_gradient": "double_backward"}
    plain, frozen = (
        make_loss_gradient(function, LOSS, **options)(params, batch, jnp.ones(len(LOSS.terms)))
        for function in (apply_fn, without_gradient(apply_fn, ["k"]))
    )
    assert frozen[0] == plain[0]
    assert frozen[2]["k"] == 0.0 != plain[2]["k"]
    for name in ("length", "offset"):
        np.testing.assert_array_equal(frozen[2][name], plain[2][name])
