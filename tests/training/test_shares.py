"""The loss of a batch from its shares is that of the whole, and so is its gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jmlip.graphs.batching import exact_bucket, pad_batch
from jmlip.graphs.buckets import divide, needed_bucket, sizes_of
from jmlip.graphs.frames import make_frame
from jmlip.training.directional import make_loss_gradient
from jmlip.training.loss_config import LossConfig, PenaltyConfig, TermConfig
from jmlip.training.shares import Shares

LOSS = LossConfig(
    energy=TermConfig(kind="rmse+mae", weight=0.3),
    energy_per_atom=TermConfig(kind="huber", delta=0.05),
    forces=TermConfig(kind="rmse+mae", weight=3.0),
    atomic_energies=TermConfig(kind="mae"),
    hierarchy=PenaltyConfig(weight=0.1),
    l2=PenaltyConfig(weight=0.01),
)
WEIGHTS = np.array([term.weight for term in LOSS.terms.values()])
SAME = 1e-12
"""Relative, in float64; a sum over shares rounds otherwise than one over the batch."""


@pytest.fixture(scope="module")
def structures(clusters):
    """Of several sizes; labels are missing here and there, one kind in all shares but one."""
    rng, made = np.random.default_rng(0), []
    for k, structure in enumerate(clusters[:7]):
        n = 6 - k % 3
        atomic = rng.normal(size=n) if k == 2 else None
        made.append(
            structure.replace(
                species=structure.species[:n],
                positions=structure.positions[:n],
                forces=None if k % 4 == 1 else rng.normal(size=(n, 3)),
                energy=None if k == 3 else structure.energy,
                atomic_energies=atomic,
            )
        )
    return made


def batches(structures, potential, n_shares):
    """The whole batch, and its shares along a first axis."""
    options = {"species": potential.species, "reference_energies": potential.reference_energies}
    frames = [make_frame(s, cutoff=potential.cutoff, **options) for s in structures]
    sizes = sizes_of(frames)
    shares = divide(np.arange(len(frames)), sizes, n_shares)
    assert sorted(np.concatenate(shares)) == list(range(len(frames)))
    bucket = needed_bucket(shares, sizes)
    pad = lambda frames, bucket: pad_batch(
        frames, bucket, cutoff=potential.cutoff, dtype=np.float64
    )
    parts = [pad([frames[i] for i in share], bucket) for share in shares]
    as_arrays = lambda tree: jax.tree.map(jnp.asarray, tree)
    whole = as_arrays(pad(frames, exact_bucket(frames)))
    return whole, as_arrays(jax.tree.map(lambda *x: np.stack(x), *parts))


def assert_close(found, expected):
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=SAME, atol=SAME * np.abs(b).max())


@pytest.fixture(scope="module")
def params(untrained):
    with jax.enable_x64(True):
        return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), untrained.params)


@pytest.fixture(scope="module")
def expected(structures, untrained, params):
    with jax.enable_x64(True):
        call = make_loss_gradient(untrained.apply, LOSS, reference_energies=(-3.0,))
        return jax.jit(call)(params, batches(structures, untrained, 1)[0], WEIGHTS)


@pytest.mark.parametrize(
    ("devices", "turns", "way"),
    [(4, 1, "double_backward"), (2, 5, "jvp")],
)
def test_loss_and_gradient_are_those_of_the_whole(
    devices, turns, way, structures, untrained, params, expected, x64
):
    # an axis of `vmap` adds up as one of devices does
    axis = "devices" if devices > 1 else None
    call = make_loss_gradient(
        untrained.apply,
        LOSS,
        reference_energies=(-3.0,),
        force_gradient=way,
        shares=Shares(axis, turns),
    )
    _, shares = batches(structures, untrained, devices * turns)
    shares = jax.tree.map(lambda x: x.reshape(devices, turns, *x.shape[1:]), shares)
    divided = jax.vmap(call, in_axes=(None, 0, None), axis_name="devices")
    found = jax.jit(divided)(params, shares, WEIGHTS)
    for k in range(devices):
        assert_close(jax.tree.map(lambda leaf, k=k: leaf[k], found), expected)


def test_only_a_loss_with_a_root_predicts_twice(structures, untrained):
    """The model is the only one to take transcendental functions."""
    _, shares = batches(structures, untrained, 2)

    def cost(kind):
        loss = LossConfig(energy=TermConfig(kind=kind))
        call = make_loss_gradient(
            untrained.apply, loss, reference_energies=(-3.0,), shares=Shares(None, 2)
        )
        program = jax.jit(call).lower(untrained.params, shares, jnp.ones(1)).compile()
        return program.cost_analysis()["transcendentals"]

    assert cost("rmse+mae") == pytest.approx(2.0 * cost("mse"), rel=0.01)
