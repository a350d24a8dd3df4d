"""Several heads on one trunk: equal to ordinary models, apart from each other, and told which."""

import jax
import numpy as np
import pytest

from jmlip.core.errors import ConfigError, DataError, PotentialError
from jmlip.core.structure import Structure
from jmlip.factory import MODELS, load_potential, make_model, one_head
from jmlip.graphs.frames import head_name
from jmlip.interop.ase import Calculator
from jmlip.md.forces import by_level
from jmlip.models.heads import READOUTS, split_readouts
from jmlip.potentials.potential import Potential, initial_potential, save_potential
from jmlip.potentials.storage import parameter_shapes, smallest_graph
from jmlip.training.directional import make_loss_gradient
from jmlip.training.feed import Feed
from jmlip.training.loss_config import LossConfig, TermConfig

TRUNKS = {
    "hipnn": {"cutoff": 4.0, "r_high": 3.4, "n_features": 4, "n_sensitivities": 4, "n_onsite": 0},
    "mace": {
        "cutoff": 4.0, "n_layers": 1, "n_channels": 2, "max_degree": 0, "harmonics": 1,
        "correlation": 2, "radial_hidden": [4],
    },
}  # fmt: skip
REFERENCES = {"dft": (-13.0, -2040.0), "cc": (-14.0, -2041.5)}
POSITIONS = np.array([[0, 0, 0], [0.76, 0.59, 0], [-0.76, 0.59, 0]])


def water(head, seed):
    rng = np.random.default_rng(seed)
    return Structure(
        species=[8, 1, 1],
        positions=POSITIONS + 0.05 * rng.normal(size=(3, 3)),
        energy=-2066.0 + rng.normal(),
        forces=rng.normal(size=(3, 3)),
        info={"head": head},
    )


def potential(kind, heads):
    trunk = {"kind": kind, **TRUNKS[kind]}
    model = make_model("heads", {"species": [1, 8], "heads": heads, "trunk": trunk})
    key, first = jax.random.key(0), next(iter(heads.values()))
    return initial_potential("heads", model, key=key, reference_energies=first)


@pytest.fixture(scope="module", params=TRUNKS)
def both(request) -> Potential:
    return potential(request.param, REFERENCES)


def assert_same(left, right):
    for one, other in zip(left, right, strict=True):
        assert one.energy == pytest.approx(other.energy, abs=1e-5)
        np.testing.assert_allclose(one.forces, other.forces, atol=1e-5)


def test_each_head_is_the_ordinary_model_that_is_taken_from_it(both, tmp_path):
    save_potential(both, tmp_path / "both")
    both = load_potential(tmp_path / "both")
    structures = [water(head, seed) for seed, head in enumerate(["dft", "cc", "cc", "dft"])]
    said = both.predict(structures)
    singles = {head: one_head(both, head) for head in REFERENCES}
    for head, single in singles.items():
        assert single.heads is None
        assert single.reference_energies == REFERENCES[head]
        mine = [(s, p) for s, p in zip(structures, said, strict=True) if s.info["head"] == head]
        assert_same([p for _, p in mine], single.predict([s for s, _ in mine]))
    # which is no play on words: they differ, and not by a constant
    one, other = (s.predict(structures[:1])[0].forces for s in singles.values())
    assert np.abs(one - other).max() > 1e-4


def test_with_one_head_it_is_the_ordinary_model():
    single = potential("hipnn", {"only": REFERENCES["cc"]})
    plain = Potential(
        kind="hipnn",
        model=make_model("hipnn", {"species": [1, 8], **TRUNKS["hipnn"]}),
        params=single.params["trunk"] | single.params["only"],
        species=(1, 8),
        cutoff=4.0,
        reference_energies=REFERENCES["cc"],
    )
    structures = [water("only", 0), water("only", 1)]
    assert_same(single.predict(structures), plain.predict(structures))
    assert single.n_parameters == plain.n_parameters


def test_no_head_learns_from_data_of_another(both):
    batch = next(Feed([water("cc", 0), water("cc", 1)], both, dtype="float32").all_batches(2))
    references = np.array(REFERENCES["cc"])[[1, 0, 0]].sum()
    np.testing.assert_allclose(
        batch.labels.energy[0], water("cc", 0).energy - references, rtol=1e-5
    )
    loss = LossConfig(energy=TermConfig(), forces=TermConfig())
    gradient = make_loss_gradient(both.apply, loss, reference_energies=both.reference_energies)
    _, _, found = jax.jit(gradient)(both.params, batch, np.ones(2, np.float32))
    sizes = {
        name: max(float(abs(leaf).max()) for leaf in jax.tree.leaves(group))
        for name, group in found.items()
    }
    assert sizes["dft"] == 0.0 < min(sizes["cc"], sizes["trunk"])


def test_heads_begin_apart_on_one_trunk(both):
    assert set(both.params) == {"trunk", "dft", "cc"}
    one, other = (jax.tree.leaves(both.params[head]) for head in REFERENCES)
    assert any(np.any(a != b) for a, b in zip(one, other, strict=True))
    assert both.cutoff == 4.0


def test_every_model_with_heads_has_readouts():
    for module in READOUTS:
        kind = next(kind for kind, (known, _) in MODELS.items() if known is module)
        model = make_model(kind, {"species": [1], **TRUNKS.get(kind, {})})
        trunk, own = split_readouts(model, parameter_shapes(model))
        assert trunk
        assert own


def test_a_head_must_be_named(both):
    with pytest.raises(
        PotentialError, match=r"structure 1: .* one of dft, cc, found None .* heads/NAME"
    ):
        both.predict([water("cc", 0), water("cc", 0).replace(info={})])
    with pytest.raises(DataError, match="found 'ccc' in H2O"):
        Feed([water("ccc", 0)], both, dtype="float32")
    with pytest.raises(PotentialError, match="did you mean 'cc'"):
        one_head(both, "ccc")
    for use in (Calculator, lambda potential: by_level(potential, None, None)):
        with pytest.raises(PotentialError, match="one of dft, cc: the directory heads/NAME"):
            use(both)
    with pytest.raises(PotentialError, match="several heads must be told which"):
        both.apply(both.params, smallest_graph())


def test_a_head_may_be_called_by_a_number():
    assert head_name(water(1, 0), ["0", "1"]) == "1"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"heads": {}}, "at least one head"),
        ({"heads": {"trunk": [0.0, 0.0]}}, "other than 'trunk'"),
        ({"heads": {"../cc": [0.0, 0.0]}}, "a name of letters"),
        ({"heads": {"cc": [0.0]}}, "must have 2 reference energies, found 1"),
        ({"trunk": {"kind": "ani"}}, "must be one of allegro, "),
        ({"trunk": {"kind": "pair"}}, "unknown model.trunk.kind 'pair'"),
        ({"trunk": {"kind": "hipnn", "species": [1]}}, "takes its species"),
    ],
)
def test_bad_configurations(fields, message):
    given = {"species": [1, 8], "heads": REFERENCES, "trunk": {"kind": "hipnn"}, **fields}
    with pytest.raises(ConfigError, match=message):
        make_model("heads", given)
