import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jmlip.core.config import from_dict, to_dict
from jmlip.core.errors import ConfigError
from jmlip.factory import make_model
from jmlip.potentials.storage import parameter_shapes
from jmlip.training.config import LoopConfig, TrainingConfig
from jmlip.training.loss_config import LossConfig, TermConfig
from jmlip.training.optimizers import MUON_RMS, OptimizerConfig, learning_rate, make_optimizer
from jmlip.training.plateau import Plateau, watch

RATE = 1.0e-2


def params_and_gradients():
    rng = np.random.default_rng(0)
    shapes = {"bias": (4,), "kernel": (6, 4), "readout": (4, 1), "weight": (2, 4, 3)}
    draw = lambda scale: {n: jnp.array(scale * rng.normal(size=s)) for n, s in shapes.items()}
    return draw(1.0), [draw(scale) for scale in (1.0, 10.0, 0.1, 0.1)]


def trajectory(optimizer, rate):
    """Parameters after some steps, the rate applied by ourselves as the training step does."""
    params, gradients = params_and_gradients()
    state = optimizer.init(params)
    for gradient in gradients:
        updates, state = optimizer.update(gradient, state, params)
        params = jax.tree.map(lambda p, u: p + rate * u, params, updates)
    return params


def assert_same(left, right):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-6), left, right)


@pytest.mark.parametrize(
    ("fields", "reference"),
    [
        ({"name": "adam"}, optax.adam(RATE)),
        ({"name": "adam", "b1": 0.5, "b2": 0.9}, optax.adam(RATE, b1=0.5, b2=0.9)),
        ({"name": "amsgrad"}, optax.amsgrad(RATE)),
        (
            {"name": "adamw", "weight_decay": 0.3},
            optax.adamw(
                RATE,
                weight_decay=0.3,
                mask={"bias": False, "kernel": True, "readout": True, "weight": True},
            ),
        ),
        (
            {"name": "adam", "clip_norm": 2.0},
            optax.chain(optax.clip_by_global_norm(2.0), optax.adam(RATE)),
        ),
    ],
    ids=lambda value: "-".join(map(str, value.values())) if isinstance(value, dict) else "",
)
def test_rate_from_outside_equals_rate_inside(fields, reference):
    expected = trajectory(reference, 1.0)
    assert_same(trajectory(make_optimizer(OptimizerConfig(**fields)), RATE), expected)


def test_amsgrad_differs_from_adam_after_a_large_gradient():
    adam = trajectory(make_optimizer(OptimizerConfig(name="adam")), RATE)
    amsgrad = trajectory(make_optimizer(OptimizerConfig(name="amsgrad")), RATE)
    assert np.abs(adam["kernel"] - amsgrad["kernel"]).max() > 1e-4


def test_muon_orthogonalizes_matrices_and_leaves_the_rest_to_nadam():
    params, (gradient, *_) = params_and_gradients()
    config = OptimizerConfig(name="muon", weight_decay=0.0)
    optimizer = make_optimizer(config)
    updates, _ = optimizer.update(gradient, optimizer.init(params), params)
    adam = optax.nadam(1.0)
    expected, _ = adam.update(gradient, adam.init(params), params)
    # five Newton-Schulz steps bring singular values near 1, not to it
    for matrix in (updates["kernel"], *updates["weight"]):
        scale = MUON_RMS * max(matrix.shape) ** 0.5
        singular = np.linalg.svd(matrix, compute_uv=False) / scale
        assert singular.min() > 0.6
        assert singular.max() < 1.3
    spread = np.linalg.svd(gradient["kernel"], compute_uv=False)
    assert spread.max() / spread.min() > 2.0
    for name in ("bias", "readout"):
        np.testing.assert_allclose(updates[name], expected[name], rtol=1e-3)


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_weight_decay_acts_on_matrices_only(name):
    params, _ = params_and_gradients()
    still = jax.tree.map(jnp.zeros_like, params)
    optimizer = make_optimizer(OptimizerConfig(name=name, weight_decay=0.5))
    updates, _ = optimizer.update(still, optimizer.init(params), params)
    np.testing.assert_allclose(updates["kernel"], -0.5 * params["kernel"], rtol=1e-6)
    np.testing.assert_array_equal(updates["bias"], 0.0)


@pytest.mark.parametrize(
    ("fields", "step", "progress", "expected"),
    [
        ({"schedule": "constant"}, 10, 0.9, 1.0),
        ({"schedule": "constant", "warmup_steps": 4}, 0, 0.0, 0.25),
        ({"schedule": "constant", "warmup_steps": 4}, 3, 0.0, 1.0),
        ({"schedule": "cosine", "final_fraction": 0.2}, 9, 0.5, 0.6),
        ({"schedule": "cosine", "final_fraction": 0.2}, 9, 1.0, 0.2),
        ({"schedule": "exponential", "final_fraction": 0.01}, 9, 0.5, 0.1),
        ({"schedule": "cosine"}, 9, 1.5, 0.01),
    ],
)
def test_schedules(fields, step, progress, expected):
    config = OptimizerConfig(learning_rate=1.0, **{"warmup_steps": 0, **fields})
    assert learning_rate(config, step=step, progress=progress) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"learning_rate": 0.0}, "optimizer.learning_rate must be positive"),
        ({"b1": 1.0}, "optimizer.b1 must be at least 0 and below 1"),
        ({"clip_norm": -1.0}, "optimizer.clip_norm must be positive"),
        ({"name": "adam", "weight_decay": 0.1}, "weight_decay has no meaning with name = 'adam'"),
        ({"name": "adam", "momentum": 0.9}, "momentum has no meaning with name = 'adam'"),
        (
            {"schedule": "constant", "final_fraction": 0.1},
            "final_fraction has no meaning with schedule = 'constant'",
        ),
        (
            {"schedule": "cosine", "plateau_patience": 3},
            "plateau_patience has no meaning with schedule = 'cosine'",
        ),
        ({"schedule": "plateau", "plateau_factor": 1.5}, "plateau_factor must be between 0 and 1"),
        ({"name": "sgd"}, "optimizer.name must be one of"),
        ({"warmup_steps": -1}, "warmup_steps must be at least 0"),
    ],
)
def test_meaningless_options_are_errors(fields, message):
    with pytest.raises(ConfigError, match=message):
        from_dict(OptimizerConfig, fields, where="optimizer")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"batch_size": 0}, "training.batch_size must be at least 1"),
        ({"max_minutes": 0.0}, "training.max_minutes must be positive"),
        ({"patience": 0}, "training.patience must be at least 1"),
        ({"ema_decay": 1.0}, "training.ema_decay must be at least 0 and below 1"),
        ({"batch_size": 8, "max_batch_size": 8}, "max_batch_size must be above batch_size"),
        ({"select": "forces"}, "training.select must be one of"),
        ({"max_batch_size": 64}, "max_batch_size has no meaning with optimizer.schedule"),
    ],
)
def test_impossible_courses_are_refused(fields, message):
    values = {"loss": {"forces": {}}, "training": fields}
    with pytest.raises(ConfigError, match=message):
        from_dict(TrainingConfig, values)


def test_training_configuration_survives_a_round_trip():
    config = TrainingConfig(
        loss=LossConfig(forces=TermConfig()),
        optimizer=OptimizerConfig(name="muon", schedule="plateau", plateau_factor=0.3),
        training=LoopConfig(max_batch_size=64, ema_decay=0.0),
    )
    assert from_dict(TrainingConfig, to_dict(config)) == config


def watched(values, *, epochs=1, max_batch_size=None):
    config = OptimizerConfig(schedule="plateau", plateau_patience=1, plateau_factor=0.5)
    plateau = Plateau(batch_size=8)
    for value in values:
        plateau = watch(plateau, value, epochs=epochs, config=config, max_batch_size=max_batch_size)
    return plateau


def test_plateau_lowers_the_rate_after_more_epochs_than_patience():
    assert watched([1.0, 1.0]).scale == 1.0
    assert watched([1.0, 1.0, 1.0]).scale == 0.5
    assert watched([1.0, 1.0, 0.9, 0.9]).scale == 1.0
    # less than the threshold of 1e-4 is no improvement
    assert watched([1.0, 0.99995, 0.9999]).scale == 0.5
    # two epochs pass between validations
    assert watched([1.0, 1.0], epochs=2).scale == 0.5


def test_plateau_raises_the_batch_size_to_its_maximum_before_it_lowers_the_rate():
    states = [watched([1.0] * n, max_batch_size=20) for n in range(1, 9)]
    assert [s.batch_size for s in states] == [8, 8, 16, 16, 20, 20, 20, 20]
    assert [s.scale for s in states] == [1, 1, 1, 1, 1, 1, 0.5, 0.5]


def test_a_validation_that_is_not_finite_is_no_improvement():
    plateau = watched([1.0, float("nan"), float("nan")])
    assert plateau.best == 1.0
    assert plateau.scale == 0.5


FEW = {"cutoff": 3.0, "n_features": 2, "n_onsite": 0, "n_interactions": 1}


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("hipnn", {"r_high": 2.5, **FEW}),
        ("mace", {"n_channels": 1, "max_degree": 0, "harmonics": 1, "correlation": 2}),
        ("pair", {part: {"kind": "hipnn", "r_high": 2.5, **FEW} for part in ("small", "large")}),
    ],
)
def test_groups_of_any_model_are_slowed_and_frozen(kind, fields):
    model = make_model(kind, {"species": [1], **fields})
    params = jax.tree.map(lambda leaf: jnp.ones(leaf.shape), parameter_shapes(model))
    frozen, slow, *_ = params
    factors = {frozen: 0.0, slow: 0.1}
    plain, scaled = (
        make_optimizer(OptimizerConfig(name="adam", rate_factors=each)) for each in (None, factors)
    )
    plain, scaled = (o.update(params, o.init(params))[0] for o in (plain, scaled))
    for name, group in plain.items():
        times = factors.get(name, 1.0)
        assert_same(scaled[name], jax.tree.map(lambda x, times=times: times * x, group))
        assert (name == frozen) == (not any(np.any(x) for x in jax.tree.leaves(scaled[name])))
