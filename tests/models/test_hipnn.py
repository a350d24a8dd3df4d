"""HIP-NN against its published size and against its equations written out atom by atom."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jmlip.core.errors import ConfigError
from jmlip.core.structure import Structure
from jmlip.factory import make_model
from jmlip.graphs.batching import Bucket, pad_batch
from jmlip.graphs.frames import make_frame
from jmlip.models.hipnn import HIPNN, HIPNNConfig

SPECIES = (1, 6, 7, 8, 9)


def small_graph(cutoff, dtype=np.float32):
    rng = np.random.default_rng(3)
    positions = rng.uniform(0.0, 2.5, (5, 3)) + np.arange(5)[:, None] * [0.9, 0.0, 0.0]
    molecule = Structure(species=np.array([6, 1, 8, 1, 6]), positions=positions)
    frame = make_frame(molecule, species=SPECIES, cutoff=cutoff, reference_energies=(0.0,) * 5)
    bucket = Bucket(n_atoms=6, n_slots=5, n_graphs=2)
    batch = pad_batch([frame], bucket, dtype=dtype, cutoff=cutoff)
    return molecule, jax.tree.map(jnp.asarray, batch.graph)


@pytest.mark.parametrize(
    ("n_features", "printed"),
    [(5, 1577), (10, 4867), (20, 16647), (40, 61207), (60, 133767), (80, 234327)],
)
def test_parameter_counts_are_those_of_the_paper(n_features, printed):
    """Lubbers 2018, table 2: five species, 20 sensitivities, 2 interactions, 3 on-site layers."""
    model = HIPNN(
        HIPNNConfig(species=SPECIES, n_features=n_features, n_sensitivities=20, max_rank=0)
    )
    _, graph = small_graph(6.5)
    shapes = jax.eval_shape(model.init, jax.random.key(0), graph)
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) + len(SPECIES) == printed


@pytest.mark.parametrize(("n_onsite", "n_features", "printed"), [(0, 20, 10725), (3, 40, 59445)])
def test_parameter_counts_of_the_trajectory_models(n_onsite, n_features, printed):
    sizes = {"n_features": n_features, "n_onsite": n_onsite}
    config = HIPNNConfig(species=(1, 6, 8), max_rank=0, n_sensitivities=20, **sizes)
    shapes = jax.eval_shape(HIPNN(config).init, jax.random.key(0), small_graph(6.5)[1])
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) + 3 == printed


def reference_energies(params, config, molecule):
    """Atomic terms of HIP-NN-TS by loops over atoms and pairs, from the equations of the papers."""
    n = molecule.n_atoms
    softplus = lambda x: np.logaddexp(0.0, x)
    dense = lambda layer, x: x @ layer["kernel"] + layer.get("bias", 0.0)

    def exit_layer(layer, hidden, z):
        carried = dense(layer["adjust"], z) if "adjust" in layer else z
        return dense(layer["exit"], softplus(hidden)) + carried

    z = np.eye(len(config.species))[[config.species.index(s) for s in molecule.species]]
    terms = []
    for block in range(1, config.n_interactions + 1):
        layer = params[f"interaction_{block}"]
        mu, sigma = layer["sensitivity"]["mu"], layer["sensitivity"]["sigma"]
        hidden = dense(layer["self"], z)
        for i in range(n):
            t0, t1, t2 = 0.0, 0.0, 0.0
            for j in range(n):
                vector = molecule.positions[j] - molecule.positions[i]
                r = np.linalg.norm(vector)
                if i == j or r >= config.cutoff:
                    continue
                s = np.exp(-0.5 * sigma**2 * (1 / r - 1 / mu) ** 2)
                s = s * np.cos(np.pi * r / (2 * config.cutoff)) ** 2
                m = np.einsum("v,vfi,i->f", s, layer["weight"], z[j])
                u = vector / r
                t0 = t0 + m
                t1 = t1 + u[:, None] * m
                t2 = t2 + (np.outer(u, u) - np.eye(3) / 3)[:, :, None] * m
            hidden[i] += t0
            if config.max_rank >= 1:
                hidden[i] += layer["scale_1"] * np.sqrt((t1**2).sum(0) + config.cusp)
            if config.max_rank >= 2:
                hidden[i] += layer["scale_2"] * np.sqrt((t2**2).sum((0, 1)) + config.cusp)
        z = exit_layer(layer, hidden, z)
        for k in range(1, config.n_onsite + 1):
            onsite = params[f"onsite_{block}_{k}"]
            z = exit_layer(onsite, dense(onsite["self"], z), z)
        terms.append(config.energy_scale * dense(params[f"energy_{block}"], z)[:, 0])
    return np.stack(terms, axis=-1)


@pytest.mark.parametrize("max_rank", [0, 1, 2])
@pytest.mark.parametrize("initialization", ["paper", "hippynn"])
def test_model_equals_its_equations(x64, max_rank, initialization):
    config = HIPNNConfig(
        species=SPECIES, cutoff=4.0, r_high=3.5, n_features=7, n_sensitivities=4, n_onsite=1,
        max_rank=max_rank, initialization=initialization, energy_scale=3.0,
    )  # fmt: skip
    molecule, graph = small_graph(config.cutoff, np.float64)
    params = jax.jit(HIPNN(config).init)(jax.random.key(7), graph)["params"]
    params = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), params)
    output = jax.jit(HIPNN(config).apply)({"params": params}, graph)
    expected = reference_energies(jax.tree.map(np.asarray, params), config, molecule)
    n = molecule.n_atoms
    np.testing.assert_allclose(output.terms[:n], expected, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(output.energy[:n], expected.sum(-1), rtol=1e-10, atol=1e-12)


def test_energy_layers_start_at_the_expected_hierarchy():
    """Paper: terms shrink by 10^-2 per order, in units of sigma_E."""
    config = HIPNNConfig(species=SPECIES, n_features=40, energy_scale=1.0)
    params = jax.jit(HIPNN(config).init)(jax.random.key(0), small_graph(6.5)[1])["params"]
    bound = np.sqrt(6.0 / 41.0)
    for n in (1, 2):
        largest = float(np.abs(params[f"energy_{n}"]["kernel"]).max())
        assert 0.8 * bound < largest * 10 ** (2 * n) <= bound * 1.001


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"cutof": 5.0}, "did you mean 'cutoff'"),
        ({"max_rank": 3}, "0, 1 or 2"),
        ({"r_low": 6.0, "r_high": 5.0}, "r_low < model.r_high"),
        ({"n_features": 0}, "at least 1"),
        ({"cutoff": "5"}, "type float"),
        ({"initialization": "torch"}, "one of"),
    ],
)
def test_wrong_configurations_are_refused(values, message):
    with pytest.raises(ConfigError, match=message):
        make_model("hipnn", {"species": [1, 6], **values})


def test_unknown_model_names_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'hipnn'"):
        make_model("hippnn", {})
