"""A convolution in blocks of channels: the same numbers, its radial weights never there at once."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jmlip.core.structure import Structure
from jmlip.factory import make_model
from jmlip.graphs.batching import exact_bucket, pad_batch
from jmlip.graphs.frames import make_frame
from jmlip.md.tabulation import tabulate
from jmlip.models import channel_blocks
from jmlip.potentials.evaluate import evaluate
from jmlip.potentials.potential import initial_potential

SMALL = {"species": [1, 8], "cutoff": 3.0, "n_layers": 2, "harmonics": 1, "max_degree": 1}
KINDS = {
    "mace": {**SMALL, "n_channels": 16, "correlation": 2, "radial_hidden": [4]},
    "botnet": {**SMALL, "n_channels": 16},
    # scalars and vectors in groups of their own, of 16 and 24 channels
    "nequip": {**SMALL, "n_channels": [24, 16], "radial_hidden": [4]},
}


def potential(kind, fields, dtype):
    zeros = (0.0, 0.0)
    model = make_model(kind, fields)
    found = initial_potential(kind, model, key=jax.random.key(0), reference_energies=zeros)
    return found.astype(dtype)


def graph_of(species, positions, dtype: type):
    structure = Structure(species=species, positions=positions)
    options = {"species": (1, 8), "cutoff": 3.0, "reference_energies": (0.0, 0.0)}
    frames = [make_frame(structure, **options, dtype=dtype)]
    batch = pad_batch(frames, exact_bucket(frames), cutoff=3.0, dtype=dtype)
    return jax.device_put(batch.graph)


def forces_and_their_gradient(found):
    """Forces, and the derivative of their squares with respect to the parameters."""

    positions = np.random.default_rng(0).normal(scale=1.2, size=(4, 3))
    graph = graph_of([8, 1, 1, 1], positions, np.float64)

    def loss(params):
        forces = evaluate(found.apply, params, graph)[1]
        return jnp.sum(forces**2), forces

    params = jax.tree.map(jnp.asarray, found.params)
    return jax.jit(jax.grad(loss, has_aux=True))(params)


@pytest.mark.parametrize(
    ("kind", "tabulated"), [("mace", False), ("botnet", False), ("nequip", True)]
)
def test_blocks_change_no_number(x64, monkeypatch, kind, tabulated):
    found = potential(kind, KINDS[kind], "float64")
    found = tabulate(found, 64)[0] if tabulated else found
    expected = forces_and_their_gradient(found)
    monkeypatch.setattr(channel_blocks, "ROOM", 1)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12),
        forces_and_their_gradient(found),
        expected,
    )


@pytest.mark.parametrize(
    ("megabytes", "channels", "expected"),
    [(1, 128, 1), (256, 128, 1), (257, 128, 2), (800, 96, 4), (10**6, 128, 16), (10**6, 6, 1)],
)
def test_no_more_blocks_than_needed(megabytes, channels, expected):
    assert channel_blocks._n_blocks(megabytes * 2**20, channels) == expected


def test_memory_falls(monkeypatch):
    """Of eight blocks, seven eighths of the radial weights and of their gradient."""
    fields = {**SMALL, "n_channels": 64, "n_layers": 1, "correlation": 2, "radial_hidden": [2]}
    found = potential("mace", fields, "float32")
    positions = np.random.default_rng(0).uniform(0.0, 12.0, size=(200, 3))
    graph = graph_of([8, 1] * 100, positions, np.float32)

    def megabytes():
        program = jax.jit(lambda params: evaluate(found.apply, params, graph)[:2])
        compiled = program.lower(jax.tree.map(jnp.asarray, found.params)).compile()
        return compiled.memory_analysis().temp_size_in_bytes / 2**20

    before = megabytes()
    weights = len(graph.senders) / 2 * 64 * 4 * 2 / 2**20  # two paths
    monkeypatch.setattr(channel_blocks, "ROOM", 1)
    assert megabytes() < before - weights
