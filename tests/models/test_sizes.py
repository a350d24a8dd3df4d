import math

import jax
import pytest

from jmlip.cli.config import RunConfig
from jmlip.core.config import from_dict
from jmlip.core.errors import ConfigError
from jmlip.factory import MODELS, make_model
from jmlip.models.sizes import SIZES
from jmlip.potentials.storage import smallest_graph


def n_parameters(kind: str, size: str) -> int:
    model = make_model(kind, {"species": [1, 6, 8], "size": size})
    shapes = jax.eval_shape(model.init, jax.random.key(0), smallest_graph())
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes))


ANALYTIC = {"lennard-jones", "stillinger-weber"}


def test_every_kind_has_sizes_but_the_analytic_ones():
    assert set(SIZES) == set(MODELS) - ANALYTIC
    assert all(list(sizes) == ["S", "M", "L"] for sizes in SIZES.values())


@pytest.mark.parametrize("kind", sorted(set(SIZES) - {"linear-ace"}))  # whose L takes long
def test_sizes_grow(kind):
    counts = [n_parameters(kind, size) for size in "SML"]
    assert counts == sorted(set(counts))


def test_fields_that_are_given_win():
    config = make_model("mace", {"species": [1], "size": "L", "n_channels": 3}).config
    assert (config.n_channels, config.max_degree) == (3, 2)


@pytest.mark.parametrize("size", ["XL", 3, ["S"]])
def test_other_sizes_are_refused(size):
    with pytest.raises(ConfigError, match=r"unknown model.size .* Valid: S, M, L"):
        make_model("mace", {"species": [1], "size": size})


@pytest.mark.parametrize("kind", sorted(ANALYTIC))
def test_what_has_one_size_only_takes_none(kind):
    with pytest.raises(ConfigError, match="size means nothing for"):
        make_model(kind, {"species": [18], "size": "S"})


def test_a_run_knows_its_fields():
    values = {"data": {"train": "a.xyz"}, "model": {"kind": "hipnn", "size": "S"}}
    assert from_dict(RunConfig, values).known_model()["n_features"] == 32


@pytest.mark.parametrize("kind", ["mace", "allegro"])
def test_a_run_takes_values_for_each_element(kind):
    """Before it has read which elements there are."""
    model = {"kind": kind, "mean_neighbors": [4.0, 5.0, 6.0], "pair_cutoffs": [[3.0] * 3] * 3}
    values = {"data": {"train": "a.xyz"}, "model": model}
    known = from_dict(RunConfig, values).known_model()
    assert known["mean_neighbors"] == [4.0, 5.0, 6.0]
    assert known["pair_cutoffs"] == [[3.0] * 3] * 3
    assert "species" not in known
