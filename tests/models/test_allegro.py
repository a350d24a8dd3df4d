"""Allegro: sizes of the published models, and what its two forms promise."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from jmlip.core.errors import ConfigError
from jmlip.core.structure import Structure
from jmlip.factory import make_model
from jmlip.graphs.batching import Bucket, pad_batch
from jmlip.graphs.frames import make_frame
from jmlip.models.allegro_config import AllegroConfig
from jmlip.potentials.potential import initial_potential
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


TINY = {
    "species": (1, 6, 8),
    "cutoff": 3.0,
    "n_channels": 2,
    "n_scalars": 4,
    "harmonics": 1,
    "embedding_hidden": (5,),
    "latent_hidden": (5,),
    "readout_hidden": (4,),
}


def potential_of(kind, **config):
    model = make_model(kind, TINY | config)
    return initial_potential(kind, model, key=jax.random.key(1), reference_energies=(0.0,) * 3)


def atomic_energies(potential, structures):
    """Of structures of equal size, [structures, atoms]."""
    species, cutoff = potential.species, potential.cutoff
    frames = [
        make_frame(s, species=species, cutoff=cutoff, reference_energies=(0.0,) * 3)
        for s in structures
    ]
    size = len(structures[0].species)
    bucket = Bucket(n_atoms=size * len(frames) + 1, n_slots=size - 1, n_graphs=len(frames) + 1)
    graph = pad_batch(frames, bucket, cutoff=cutoff, dtype=np.float64).graph
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), potential.params)
    energy = jax.jit(potential.apply)(params, jax.tree.map(jnp.asarray, graph)).energy
    return np.asarray(energy[:-1]).reshape(len(frames), size)


@pytest.mark.parametrize("kind", ["allegro", "allegro-2023"])
def test_an_atom_knows_nothing_beyond_one_cutoff(x64, kind):
    """In spite of two layers: in a chain, the first atom does not see the third one move."""
    chain = lambda x: Structure(species=[6, 8, 1], positions=[[0, 0, 0], [2.0, 0, 0], [x, 0.5, 0]])
    near, far = atomic_energies(potential_of(kind), [chain(3.8), chain(4.0)])
    assert near[0] == pytest.approx(far[0], rel=1e-13)
    assert abs(near[1] - far[1]) > 1e-6


@pytest.mark.parametrize(
    ("kind", "symmetry", "differ"),
    [("allegro", "so3", True), ("allegro", "o3_full", False), ("allegro-2023", "o3_full", False)],
)
def test_rotations_change_nothing_and_mirrors_only_without_parity(x64, kind, symmetry, differ):
    """Of a center with four different neighbors, after three layers."""
    positions = np.array([[0, 0, 0], [1.1, 0, 0], [0, 1.3, 0], [0, 0, 1.5], [-0.9, -0.9, -0.7]])
    rotation = Rotation.from_rotvec([0.3, -1.1, 0.7]).as_matrix()
    given, mirrored, rotated = atomic_energies(
        potential_of(kind, symmetry=symmetry, n_layers=3, harmonics=2),
        [
            Structure(species=[6, 1, 8, 1, 6], positions=positions @ matrix)
            for matrix in (np.eye(3), -np.eye(3), rotation)
        ],
    )
    np.testing.assert_allclose(rotated, given, rtol=0, atol=1e-12)
    assert (np.abs(mirrored - given).max() > 1e-9) == differ


def test_irreps_of_no_use_are_left_out():
    names = lambda **config: [
        " ".join(map(str, irreps))
        for irreps in AllegroConfig(species=(1,), **config).layer_irreps()
    ]
    natural = ["0e 1o 2e", "0e 1o 2e", "0e"]
    assert names(symmetry="o3_full") == names(symmetry="o3_restricted") == natural
    assert names(n_layers=3)[1:] == ["0e 1e 1o 2e 2o", "0e 1o 2e", "0e"]
    assert "0o" in names(n_layers=5)[2]
    assert names(symmetry="so3", n_layers=1) == ["0e 1e 2e", "0e"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_scalars": 3}, "must be even"),
        ({"mean_neighbors": (1.0, 2.0)}, "one for each of 3 elements"),
        ({"pair_cutoffs": ((1.0,),)}, "must be 3 rows of 3 distances"),
        ({"pair_cutoffs": ((9.0,) * 3,) * 3}, "at most model.cutoff"),
        ({"embedding": "spline", "radial": 4, "spline_span": 5}, "spline_span must lie between"),
        ({"latent_hidden": (0,)}, "latent_hidden must be at most 8 widths"),
        ({"spline_span": 4}, "spline_span = 4 has no meaning with model.embedding = 'product'"),
        ({"embedding": "spline", "normalized_basis": True}, "normalized_basis = True has no mean"),
    ],
)
def test_values_out_of_range_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        make_model("allegro", TINY | changes)
