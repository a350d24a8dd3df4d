"""The multi-ACE family: body orders, special cases, sizes.

Its numbers are compared with those of mace-torch and nequip in tests/interop/test_torch_weights.py.
"""

import dataclasses
import itertools

import jax
import numpy as np
import pytest

from jmlip.core.errors import ConfigError
from jmlip.core.structure import Structure
from jmlip.factory import make_model
from jmlip.potentials.potential import initial_potential
from jmlip.potentials.storage import parameter_shapes

SPECIES = (1, 6, 8)
SMALL = {"species": SPECIES, "cutoff": 6.0, "n_channels": 3, "mean_neighbors": 2.0}
LINEAR = {"last_readout": [], "max_degree": 1, "harmonics": 2, "energy_scale": 10.0}


def make(kind, **fields):
    model = make_model(kind, SMALL | fields)
    return initial_potential(kind, model, key=jax.random.key(3), reference_energies=(0.0,) * 3)


def cluster(n):
    rng = np.random.default_rng(1)
    positions = rng.uniform(0.0, 2.2, (n, 3)) + np.eye(3)[np.arange(n) % 3]
    return rng.choice(SPECIES, n), positions


def many_body_term(potential, n):
    """V_n of a cluster of n atoms: sum over subsets, with alternating signs, of their energies."""
    species, positions = cluster(n)
    subsets = [list(s) for k in range(1, n + 1) for s in itertools.combinations(range(n), k)]
    structures = [Structure(species=species[s], positions=positions[s]) for s in subsets]
    energies = [p.energy for p in potential.predict(structures, dtype="float64")]
    signs = [(-1) ** (n - len(s)) for s in subsets]
    return float(np.dot(signs, energies)), max(map(abs, energies))


@pytest.mark.parametrize(
    ("kind", "fields", "order"),
    [
        ("botnet", {"n_layers": 1}, 2),
        ("botnet", {"n_layers": 2}, 3),
        ("mace", {"n_layers": 1, "correlation": 2, "radial_hidden": [4]}, 3),
        ("mace", {"n_layers": 1, "correlation": 3, "radial_hidden": [4]}, 4),
        ("linear-ace", {}, 4),
    ],
)
def test_a_linear_model_has_a_body_order(kind, fields, order):
    """T layers with nu = 1 have T + 1 bodies, one layer has nu + 1."""
    potential = make(kind, **LINEAR, **fields)
    highest, _ = many_body_term(potential, order)
    beyond, size = many_body_term(potential, order + 1)
    assert abs(highest) > 1e-6 * size
    assert abs(beyond) < 1e-12 * size


def test_a_gate_goes_beyond_it():
    potential = make("nequip", n_layers=1, max_degree=1, harmonics=1, radial_hidden=[4])
    term, size = many_body_term(potential, 3)
    assert abs(term) > 1e-6 * size


def test_mace_whose_product_is_linear_is_botnet():
    """B = A, mixed: the two linear maps of MACE are one of BOTNet, and the rest is the same."""
    fields = {"n_layers": 1, "harmonics": 1, "radial_hidden": [4], "first_skip": "species"}
    mace, botnet = (make("mace", correlation=nu, last_layer="all", **fields) for nu in (2, 1))
    params = jax.tree.map(np.asarray, mace.params)
    layer = params["layer_1"]
    for name, weight in layer["product"].items():
        layer["product"][name] = np.full_like(weight, float(name.endswith("_1")))
    mix, down = layer["mix"], layer["convolution"]["down"]
    both = {ir: down[ir] @ mix[ir] / np.sqrt(SMALL["n_channels"]) for ir in mix}
    merged = {"convolution": layer["convolution"] | {"down": both}, "skip": layer["skip"]}
    species, positions = cluster(5)
    structure = Structure(species=species, positions=positions)
    models = [(mace, params), (botnet, params | {"layer_1": merged})]
    one, other = (
        dataclasses.replace(potential, params=p).predict([structure], dtype="float64")[0]
        for potential, p in models
    )
    np.testing.assert_allclose(one.forces, other.forces, rtol=1e-6, atol=1e-6)  # of float32 params
    assert abs(one.forces).max() > 1e-2


@pytest.mark.parametrize(
    ("kind", "fields", "count"),
    [
        ("botnet", {"n_channels": 80, "max_degree": 3, "last_layer": "all"}, 2_756_416),
        (
            "nequip",
            {
                "n_layers": 5,
                "n_channels": 64,
                "max_degree": 3,
                "harmonics": 3,
                "both_parities": True,
                "radial_hidden": [64, 64, 64],
                "first_skip": "species",
                "last_layer": "all",
                "last_readout": [16],
            },
            3_190_488,
        ),
    ],
)
def test_sizes_are_those_published_for_acetylacetone(kind, fields, count):
    shapes = parameter_shapes(make_model(kind, {"species": SPECIES, **fields}))
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == count


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"n_channels": [4, 2, 2]}, "one for each degree up to model.max_degree = 1"),
        ({"n_channels": [4, 2]}, "model.correlation > 1 multiplies channel by channel"),
        ({"energy_scale": [1.0, 2.0]}, "one for each of 3 elements"),
        ({"mean_neighbors": [1.0, 2.0, 0.0]}, "model.mean_neighbors must be positive"),
        ({"pair_cutoffs": [[4.0] * 3] * 2}, "must be 3 rows of 3 distances"),
        ({"pair_cutoffs": [[6.0] * 3] * 3}, "at most model.cutoff = 5.0"),
        ({"radial_species": True}, "needs model.radial_hidden"),
        (
            {"harmonics": 6, "correlation": 4},
            "49 rows of messages to 4 rows of features",
        ),
        ({"harmonics": 1, "correlation": 2, "max_degree": 3}, "model.max_degree = 3 is more than"),
        ({"harmonics": 0, "max_degree": 2}, "reach, which is 0; lower it"),
        ({"repulsion": "mace", "cutoff": 1.4}, "must not exceed model.cutoff = 1.4"),
        ({"species": [0, 1]}, "must be atomic numbers"),
        ({"species": [1, 200]}, "must be atomic numbers"),
        ({"cutoff": 150.0}, "must be at most 100"),
        ({"embedding": 0}, "model.embedding must lie between 1 and 4096"),
    ],
)
def test_wrong_fields_are_refused(fields, message):
    with pytest.raises(ConfigError, match=message):
        make_model("mace", {"species": SPECIES, **fields})
