"""The ways of a force loss's gradient against each other, by hand, and where nothing moves."""

import csv

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule

from jmlip.core.config import from_dict
from jmlip.core.errors import ConfigError
from jmlip.core.structure import Structure
from jmlip.factory import make_model
from jmlip.graphs.batching import Bucket, pad_batch
from jmlip.graphs.frames import make_frame
from jmlip.graphs.output import AtomicOutput
from jmlip.ops import safe
from jmlip.potentials.evaluate import evaluate
from jmlip.potentials.potential import initial_potential
from jmlip.training.config import TrainingConfig
from jmlip.training.directional import make_loss_gradient
from jmlip.training.loop import fit
from jmlip.training.loss_config import LABELS, LossConfig, PenaltyConfig, TermConfig

WAYS = ("double_backward", "jvp", "finite_difference")
SPECIES, CUTOFF, REFERENCES = (1, 6, 8), 3.5, (-1.0, 2.0, 1.0)
SMALL = {"n_channels": 2, "mean_neighbors": 4.0}
MODELS = {
    "hipnn": {
        "n_features": 4,
        "n_sensitivities": 4,
        "n_onsite": 0,
        "r_high": 3.0,
        "n_interactions": 1,
    },
    "ani": {"hidden": [6], "radial_shifts": 4, "angular_sections": 2, "angular_shifts": 2}
    | {"angular_cutoff": 3.0},
    "mace": SMALL | {"n_layers": 1, "radial_hidden": [4], "harmonics": 1},
    "allegro": SMALL
    | {"n_layers": 1, "harmonics": 1, "n_scalars": 4, "radial": 4}
    | {"embedding_hidden": [4], "latent_hidden": [4], "readout_hidden": [4]},
}


def structures():
    """Methanol with random labels, one atom alone, a crystal with stress, one without labels."""
    rng = np.random.default_rng(1)

    def labelled(atoms, **labels):
        positions = atoms.positions + rng.normal(scale=0.08, size=(len(atoms), 3))
        box = {"cell": np.array(atoms.cell), "pbc": atoms.pbc}
        return Structure(species=atoms.numbers, positions=positions, **box, **labels)

    random = lambda *shape: rng.normal(size=shape)
    methanol = molecule("CH3OH")
    crystal = Atoms("CO", scaled_positions=[[0, 0, 0], [0.5, 0.5, 0.5]], cell=[2.8] * 3, pbc=True)
    return [
        labelled(methanol, energy=1.0, forces=random(6, 3), atomic_energies=random(6)),
        labelled(Atoms("O"), energy=0.5, forces=np.zeros((1, 3))),
        labelled(crystal, energy=-1.0, forces=random(2, 3), stress=0.1 * np.eye(3)),
        labelled(methanol),
    ]


def make_batch(dtype=np.float32):
    """Those four, padded. The lone atom has no error of forces, the last have no label."""
    options = {"species": SPECIES, "cutoff": CUTOFF, "reference_energies": REFERENCES}
    frames = [make_frame(structure, **options, dtype=dtype) for structure in structures()]
    slots = max(frame.mask.shape[1] for frame in frames)
    bucket = Bucket(n_atoms=18, n_slots=slots + 2, n_graphs=6)
    return jax.tree.map(jnp.asarray, pad_batch(frames, bucket, cutoff=CUTOFF, dtype=dtype))


def with_labels(batch, **labels):
    return batch._replace(labels=batch.labels._replace(**labels))


def only_term(apply_fn, number):
    def apply_part(params, graph):
        output = apply_fn(params, graph)
        return output._replace(energy=output.terms[:, number])

    return apply_part


def gradients(apply_fn, params, batch, loss, ways=WAYS, **options):
    """Loss, terms, and gradient as one vector, by each way, from one program."""
    eps = {"force_gradient_eps": options["eps"]} if options else {}
    calls = [
        make_loss_gradient(
            apply_fn,
            loss,
            reference_energies=REFERENCES,
            parts=[only_term(apply_fn, n) for n in (0, 1)] if loss.needs_parts else (),
            force_gradient=way,
            **(eps if way == "finite_difference" else {}),
        )
        for way in ways
    ]
    dtype = batch.graph.edges.vector.dtype
    weights = jnp.array([term.weight for term in loss.terms.values()], dtype)

    def every(params, batch):
        return [call(params, batch, weights) for call in calls]

    flat = lambda tree: np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])
    found = jax.device_get(jax.jit(every)(params, batch))
    return [(loss, terms, flat(gradient).astype(np.float64)) for loss, terms, gradient in found]


def relative(found, expected):
    return np.linalg.norm(found - expected) / np.linalg.norm(expected)


@pytest.mark.parametrize("kind", MODELS)
def test_ways_agree_for_every_kind_of_model(kind):
    model = make_model(kind, {"species": SPECIES, "cutoff": CUTOFF, **MODELS[kind]})
    potential = initial_potential(kind, model, key=jax.random.key(3), reference_energies=REFERENCES)
    loss = LossConfig(energy=TermConfig(), forces=TermConfig(kind="rmse+mae"), stress=TermConfig())
    double, forward, difference = gradients(potential.apply, potential.params, make_batch(), loss)
    for found in (forward, difference):
        np.testing.assert_allclose(found[0], double[0], rtol=1e-6)
        np.testing.assert_allclose(found[1], double[1], rtol=1e-6)
    assert relative(forward[2], double[2]) < 1e-4
    assert relative(difference[2], double[2]) < 1e-3
    cosine = difference[2] @ double[2] / np.linalg.norm(difference[2]) / np.linalg.norm(double[2])
    assert cosine > 0.99999


def two_terms(params, graph):
    """Two smooth energies of pairs, the second one of the environment, too."""
    scaled = safe.norm(graph.edges.vector) / CUTOFF
    inside = jnp.where(graph.edges.mask, jnp.clip(1.0 - scaled, 0.0, None) ** 3, 0.0)
    atoms = lambda pairs: pairs.reshape(len(graph.nodes.species), -1).sum(axis=1)
    element = params["element"][graph.nodes.species]
    first = atoms(inside * jnp.exp(params["decay"] * scaled)) + element[:, 0]
    density = atoms(inside * jnp.cos(params["wave"] * scaled))
    terms = jnp.stack([first, element[:, 1] * jnp.tanh(density)], axis=1)
    return AtomicOutput(terms.sum(axis=1), terms, terms)


def two_terms_params(dtype):
    rng = np.random.default_rng(5)
    params = {"element": rng.normal(size=(3, 2)), "decay": -1.3, "wave": 2.1}
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), params)


PENALTIES = {name: PenaltyConfig(weight=0.3) for name in ("hierarchy", "slow_forces", "l2")}


KINDS = ("mse", "mae", "rmse+mae", "huber")


@pytest.mark.parametrize("first", [0, 2])
def test_ways_agree_for_every_loss(first, x64):
    """Each label with two kinds of averages; forces and stress, one after the other, with all."""
    labels = [name for name in LABELS if name != "energy_orders"]  # which this model does not have
    kinds = [KINDS[(first + n) % 4] for n in range(len(labels))]
    terms = [TermConfig(kind=kind, delta=0.4 if kind == "huber" else None) for kind in kinds]
    loss = LossConfig(**dict(zip(labels, terms, strict=True)), **PENALTIES)
    params, batch = two_terms_params(np.float64), make_batch(np.float64)
    double, forward, difference = gradients(two_terms, params, batch, loss)
    assert np.all(double[1] > 0.0)
    np.testing.assert_allclose(forward[1], double[1], rtol=1e-12)
    assert relative(forward[2], double[2]) < 1e-10
    assert relative(difference[2], double[2]) < 1e-5


def test_differences_are_of_second_order(x64):
    loss = LossConfig(energy=TermConfig(), forces=TermConfig(), stress=TermConfig())
    params, batch = two_terms_params(np.float64), make_batch(np.float64)
    double, coarse = gradients(two_terms, params, batch, loss, ways=WAYS[::2], eps=2e-2)
    ((_, _, fine),) = gradients(two_terms, params, batch, loss, ways=WAYS[2:], eps=1e-2)
    order = np.log2(relative(coarse[2], double[2]) / relative(fine, double[2]))
    np.testing.assert_allclose(order, 2.0, atol=0.1)


@pytest.mark.parametrize("way", WAYS)
def test_gradient_of_a_spring_by_hand(way, spring, batch):
    apply_fn, params = spring
    loss = LossConfig(forces=TermConfig())
    call = make_loss_gradient(apply_fn, loss, reference_energies=(0.0, 0.0), force_gradient=way)
    value, _, gradient = jax.jit(call)(params, batch, jnp.ones(1))
    # L = 2 (F - 1)^2 / 6 with F = k (r - length) = 2
    np.testing.assert_allclose(value, 1.0 / 3.0, rtol=1e-6)
    np.testing.assert_allclose(gradient["k"], 2.0 / 3.0 * 0.5, rtol=1e-4)
    np.testing.assert_allclose(gradient["length"], -2.0 / 3.0 * 4.0, rtol=1e-4)
    np.testing.assert_allclose(gradient["offset"], 0.0, atol=1e-4)


@pytest.mark.parametrize("way", WAYS[1:])
def test_where_all_forces_are_right_only_energies_are_left(way):
    params, batch = two_terms_params(np.float32), make_batch()
    unlabelled = jnp.zeros_like(batch.labels.forces_mask)
    batch = with_labels(batch, forces_mask=unlabelled)
    energy = LossConfig(energy=TermConfig())
    both = LossConfig(energy=TermConfig(), forces=TermConfig())
    ((_, _, expected),) = gradients(two_terms, params, batch, energy, ways=WAYS[:1])
    ((_, _, found),) = gradients(two_terms, params, batch, both, ways=[way])
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6 * np.abs(expected).max())


def test_a_fit_up_to_rounding_adds_no_noise():
    """The direction is rounding itself there; it must not be magnified."""
    params, batch = two_terms_params(np.float32), make_batch()
    forces = jax.jit(lambda graph: evaluate(two_terms, params, graph).forces)(batch.graph)
    exact = batch.graph.nodes.graph[:, None] == 0  # methanol; the crystal keeps its error
    batch = with_labels(batch, forces=jnp.where(exact, forces, batch.labels.forces))
    loss = LossConfig(forces=TermConfig())
    double, _, difference = gradients(two_terms, params, batch, loss)
    assert relative(difference[2], double[2]) < 1e-3


def test_every_way_has_the_same_learning_curve(untrained, clusters, tmp_path):
    curves = []
    for way in WAYS:
        values = {
            "loss": {"energy": {}, "forces": {}},
            "optimizer": {"name": "adam", "learning_rate": 0.01, "warmup_steps": 0},
            "training": {"batch_size": 8, "max_epochs": 4, "force_gradient": way},
        }
        config = from_dict(TrainingConfig, values)
        fit(untrained, clusters[:32], clusters[32:], config, tmp_path / way, progress=False)
        with (tmp_path / way / "metrics.csv").open(newline="") as file:
            curves.append([float(row["train_loss"]) for row in csv.DictReader(file)])
    assert curves[0][-1] < 0.7 * curves[0][0]
    np.testing.assert_allclose(curves[1], curves[0], rtol=1e-4)
    np.testing.assert_allclose(curves[2], curves[0], rtol=1e-3)


@pytest.mark.parametrize(
    ("training", "loss", "message"),
    [
        ({"force_gradient": "jvp"}, {"energy": {}}, "needs a loss on forces or stress"),
        ({"force_gradient_eps": 1e-3}, {"forces": {}}, "has no meaning"),
        ({"force_gradient": "jvp", "force_gradient_eps": 1e-3}, {"forces": {}}, "has no meaning"),
        (
            {"force_gradient": "finite_difference", "force_gradient_eps": 0.0},
            {"forces": {}},
            "must be from 1e-06 to 0.1",
        ),
        ({"force_gradient": "backward"}, {"forces": {}}, "force_gradient"),
    ],
)
def test_contradictions_are_refused(training, loss, message):
    with pytest.raises(ConfigError, match=message):
        from_dict(TrainingConfig, {"loss": loss, "training": training})
