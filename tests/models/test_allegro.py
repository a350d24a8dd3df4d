"""Allegro: sizes of the published models, and what its two forms promise."""

import jax
import pytest

from jmlip.factory import make_model
from jmlip.potentials.storage import smallest_graph

LARGE = {
    "n_scalars": 1024,
    "embedding_hidden": (128, 256, 512),
    "latent_hidden": (1024, 1024),
    "readout_hidden": (128,),
}
SMALL = {
    "n_layers": 1,
    "n_channels": 1,
    "harmonics": 1,
    "symmetry": "o3_restricted",
    "cutoff": 4.0,
    "envelope": 48,
    "latent_hidden": (),
}
ORGANIC = (1, 6, 7, 8, 9)
PUBLISHED = {  # of the model itself: the five fitted references of QM9 come on top
    "Li3PO4": (9058, {"species": (3, 8, 15), **SMALL, "n_scalars": 64, "embedding_hidden": (32,)}),
    "Ag": (
        2946,
        {
            "species": (47,), **SMALL, "n_scalars": 32, "embedding_hidden": (16,),
            "readout_hidden": (32,),
        },
    ),
    "QM9, 1 layer": (
        7_375_232,
        {"species": ORGANIC, **LARGE, "n_layers": 1, "n_channels": 256, "harmonics": 3},
    ),
    "QM9, 3 layers": (
        17_926_528,
        {"species": ORGANIC, **LARGE, "n_layers": 3, "n_channels": 256, "harmonics": 2},
    ),
    "3BPA": (
        15_108_224,
        {"species": (1, 6, 7, 8), **LARGE, "n_layers": 3, "n_channels": 128, "harmonics": 3},
    ),
    "aspirin": (
        15_107_968,
        {"species": (1, 6, 8), **LARGE, "n_layers": 3, "n_channels": 128, "harmonics": 3},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED)
def test_sizes_are_those_published(name):
    """Musaelian et al., Nat. Commun. 14, 579 (2023)."""
    count, config = PUBLISHED[name]
    model = make_model("allegro-2023", config)
    shapes = jax.eval_shape(model.init, jax.random.key(0), smallest_graph())["params"]
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == count
