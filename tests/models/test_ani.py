"""ANI against torchani, and its symmetry functions against loops over atoms."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jmlip.core.structure import Structure
from jmlip.factory import make_model
from jmlip.graphs.batching import Bucket, pad_batch
from jmlip.graphs.frames import make_frame
from jmlip.models.ani import ANI, ANIConfig, symmetry_functions
from jmlip.potentials.evaluate import evaluate
from tests.models.references.make_ani import HIDDEN, SPECIES, draw, molecule

REFERENCE = json.loads((Path(__file__).parent / "references" / "ani.json").read_text())
CONFIG = ANIConfig(species=SPECIES, hidden=HIDDEN)


def graph_of_molecule(n_slots: int):
    index, positions = molecule()
    structure = Structure(species=np.array(SPECIES)[index], positions=positions)
    frame = make_frame(
        structure, species=SPECIES, cutoff=CONFIG.cutoff, reference_energies=(0.0,) * 3
    )
    bucket = Bucket(n_atoms=14, n_slots=n_slots, n_graphs=2)
    batch = pad_batch([frame], bucket, cutoff=CONFIG.cutoff, dtype=np.float64)
    return jax.tree.map(jnp.asarray, batch.graph)


def reference_params(n_inputs: int):
    layers = {}
    for i, (kernel, bias) in enumerate(draw(n_inputs), start=1):
        layers |= {f"kernel_{i}": jnp.asarray(kernel), f"bias_{i}": jnp.asarray(bias)}
    return {"networks": layers}


@pytest.mark.parametrize("n_slots", [11, 12, 15])
def test_energies_and_forces_are_those_of_torchani(x64, n_slots):
    """References: tests/models/references/make_ani.py, torchani 2.9 in float64."""
    graph = graph_of_molecule(n_slots)
    features = jax.jit(lambda graph: symmetry_functions(graph, CONFIG))(graph)
    np.testing.assert_allclose(features[:12].sum(0), REFERENCE["aev_sums"], rtol=1e-10, atol=1e-12)
    apply = lambda params, graph: ANI(CONFIG).apply({"params": params}, graph)
    run = jax.jit(lambda params, graph: evaluate(apply, params, graph))
    found = run(reference_params(features.shape[1]), graph)
    np.testing.assert_allclose(
        found.output.energy[:12], REFERENCE["atomic_energies"], rtol=1e-10, atol=1e-10
    )
    # differences of torchani's energies, good to 1e-9
    np.testing.assert_allclose(found.forces[:12], REFERENCE["forces"], rtol=1e-9, atol=1e-9)


def test_sizes_are_those_of_ani_1x():
    """384 inputs for four elements; one network of 384-128-112-96-1 for each."""
    model = ANI(ANIConfig(species=(1, 6, 7, 8)))
    shapes = jax.eval_shape(model.init, jax.random.key(0), graph_of_molecule(12))["params"]
    per_element = 384 * 128 + 128 * 112 + 112 * 96 + 96 + 128 + 112 + 96 + 1
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == 4 * per_element


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"angular_cutoff": 9.0}, "angular_cutoff <= model.cutoff must hold"),
        ({"hidden": []}, "1 to 16 positive widths"),
        ({"radial_shifts": 0}, "radial_shifts must lie between 1 and 256"),
        ({"angular_zeta": -1.0}, "angular_zeta must be positive"),
        ({"radial_start": 6.0}, "must lie below their cutoffs, 5.2 and 3.5 angstrom, got 6.0"),
        ({"hiden": [3]}, "did you mean 'hidden'"),
    ],
)
def test_wrong_fields_are_refused(fields, message):
    with pytest.raises(Exception, match=message):
        make_model("ani", {"species": [1, 8], **fields})
