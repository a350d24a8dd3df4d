"""Parameters and graphs of different precision, and graphs that a compiled function closes over."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jmlip.core.errors import PotentialError
from jmlip.core.structure import Structure
from jmlip.factory import make_model
from jmlip.graphs.batching import exact_bucket, pad_batch
from jmlip.graphs.frames import make_frame
from jmlip.potentials.evaluate import energies, evaluate
from jmlip.potentials.potential import initial_potential

WATER = Structure(species=[8, 1, 1], positions=[[0, 0, 0], [0.76, 0.59, 0], [-0.76, 0.59, 0]])
KINDS = {
    "mace": {"n_channels": 4, "max_degree": 1, "harmonics": 2, "correlation": 2},
    "allegro": {"n_channels": 4, "n_layers": 1, "n_scalars": 8, "harmonics": 1},
    "ani": {"size": "S"},
    "hipnn": {"n_features": 8, "n_onsite": 1},
}


def potential_of(kind):
    model = make_model(kind, {"species": [1, 8], **KINDS[kind]})
    return initial_potential(kind, model, key=jax.random.key(0), reference_energies=(0.0, 0.0))


def graph_of(potential, dtype):
    options = {"species": potential.species, "cutoff": potential.cutoff}
    frame = make_frame(WATER, reference_energies=potential.reference_energies, **options)
    bucket = exact_bucket([frame])
    return pad_batch([frame], bucket, cutoff=potential.cutoff, dtype=dtype).graph


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("params", "graph"), [("float64", "float32"), ("float32", "float64")])
def test_parameters_and_graph_of_different_precision(kind, params, graph, x64):
    potential = potential_of(kind).astype(params)
    arguments = (potential.apply, potential.params, graph_of(potential, getattr(np, graph)))
    for function in (evaluate, energies):
        with pytest.raises(PotentialError, match="must have one precision"):
            function(*arguments)


def test_a_form_refuses_operands_of_different_precision(x64):
    potential = potential_of("mace").astype("float64")
    graph = jax.tree.map(jnp.asarray, graph_of(potential, np.float32))
    with pytest.raises(TypeError, match="must have one precision"):
        potential.apply(potential.params, graph)


@pytest.mark.parametrize("kind", ["mace", "allegro", "hipnn"])  # those with forms of their own
def test_a_graph_may_be_a_constant_of_a_compiled_function(kind):
    potential = potential_of(kind)
    graph = jax.tree.map(jnp.asarray, graph_of(potential, np.float32))

    def loss(params, graph):
        return (evaluate(potential.apply, params, graph).forces ** 2).sum()

    closed = jax.jit(jax.grad(lambda params: loss(params, graph)))(potential.params)
    given = jax.jit(jax.grad(loss))(potential.params, graph)
    scale = max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(given))
    for one, other in zip(jax.tree.leaves(closed), jax.tree.leaves(given), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4 * scale)
