import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jmlip.core.config import from_dict, to_dict
from jmlip.core.errors import ConfigError
from jmlip.training.loss_config import LABELS, LossConfig, PenaltyConfig, TermConfig, weights
from jmlip.training.losses import set_values, term_values
from jmlip.training.residuals import residuals

REFERENCES = (-1.0, 2.0)


def only_term(apply_fn, number):
    def apply_part(params, graph):
        output = apply_fn(params, graph)
        return output._replace(energy=output.terms[:, number])

    return apply_part


def compare(spring, batch, *, with_gradient=True, with_parts=False):
    """As a pair, the first term of the spring is the small part."""
    apply_fn, params = spring
    return residuals(
        apply_fn,
        params,
        batch,
        reference_energies=REFERENCES,
        with_gradient=with_gradient,
        parts=[only_term(apply_fn, number) for number in (0, 1)] if with_parts else (),
    )


def values(config, spring, batch):
    compared = compare(spring, batch, with_parts=config.needs_parts)
    return np.asarray(term_values(config, spring[1], compared))


def every_term(**term):
    return LossConfig(**{name: TermConfig(**term) for name in LABELS})


# the spring: E = k/2 (1.5 - 1)^2 + 0.25 + 0.5 = 1.25 and 0.5; dE/dr = k (1.5 - 1) = 2
ENERGY_ERRORS = np.array([1.25 - 2.0, 0.5 - 1.0])
ERRORS = {
    "energy": ENERGY_ERRORS,
    "energy_per_atom": ENERGY_ERRORS / [2, 1],
    # a stretched spring pulls atom 0, at the origin, towards atom 1 at +x
    "forces": np.array([2.0 - 1, 0, 0, -2.0 + 1, 0, 0]),
    "stress": (np.diag([1.5 * 2.0 / 20.0, 0, 0]) - np.eye(3) * 0.1).ravel(),
    "atomic_energies": np.array([0.5 - 0.5, 0.75 - 1.5]),
    # offsets 0.25 and 0.5, and half of the energy of the spring for each
    "energy_orders": np.array([0.25 - 0.2, 0.25 - 0.1, 0.5 - 1.0, 0.25 - 0.5]),
    # the first term is the offset alone
    "small_energy": np.array([0.75 - 2.0, 0.5 - 1.0]),
    "small_forces": np.array([-1.0, 0, 0, 1.0, 0, 0]),
}


@pytest.mark.parametrize(
    ("kind", "delta", "mean"),
    [
        ("mse", None, lambda e: np.mean(e**2)),
        ("mae", None, lambda e: np.mean(np.abs(e))),
        ("rmse+mae", None, lambda e: np.sqrt(np.mean(e**2)) + np.mean(np.abs(e))),
        ("huber", 0.6, lambda e: np.mean(np.asarray(optax.huber_loss(e, delta=0.6)))),
    ],
)
def test_terms_average_labelled_real_entries_only(kind, delta, mean, spring, batch):
    config = every_term(kind=kind, delta=delta)
    expected = [mean(ERRORS[name]) for name in config.terms]
    np.testing.assert_allclose(values(config, spring, batch), expected, rtol=1e-5)


@pytest.mark.parametrize("kind", ["mse", "mae", "rmse+mae"])
def test_batch_averages_over_a_set_are_those_of_one_batch(kind, spring, batch):
    config = every_term(kind=kind)
    found = jax.device_get(compare(spring, batch, with_parts=True))
    # the same batch twice has the same means
    expected = values(config, spring, batch)
    np.testing.assert_allclose(set_values(config, spring[1], [found] * 2), expected, rtol=1e-5)


def test_weights_multiply_what_is_averaged(spring, batch):
    """The sum is divided by the number of labels, whatever they count."""
    weights_ = {"energy_weight": [0.5, 3.0, 9.0], "forces_weight": [0.25, 2.0, 9.0, 9.0]}
    weights_ = {name: np.array(value, np.float32) for name, value in weights_.items()}
    weighted = batch._replace(labels=batch.labels._replace(**weights_))
    for label, w in (("energy", [0.5, 3.0]), ("forces", [0.25, 2.0])):
        error = ERRORS[label]
        each = np.repeat(w, len(error) // 2)
        squares, sizes = (each * error**2).mean(), (each * abs(error)).mean()
        for kind, expected in (("mse", squares), ("rmse+mae", squares**0.5 + sizes)):
            config = LossConfig(**{label: TermConfig(kind=kind)})
            np.testing.assert_allclose(values(config, spring, weighted), expected, rtol=1e-6)
            compared = jax.device_get(compare(spring, weighted))
            assert set_values(config, spring[1], [compared]) == pytest.approx([expected], rel=1e-6)
    # other terms of the same label, and one of a label that has no weights
    plain, found = (
        values(LossConfig(small_energy=TermConfig(), atomic_energies=TermConfig()), spring, each)
        for each in (batch, weighted)
    )
    assert plain[0] == found[0]
    assert plain[1] != found[1]


@pytest.mark.parametrize("kind", ["mse", "mae", "rmse+mae", "huber"])
def test_a_missing_label_contributes_nothing(kind, spring, batch):
    """In value and gradient, while the terms of all other labels keep their values."""
    config = every_term(kind=kind, delta=1.0 if kind == "huber" else None)
    apply_fn, params = spring

    def terms(params, batch):
        compared = compare((apply_fn, params), batch, with_parts=True)
        return term_values(config, params, compared)

    run = jax.jit(lambda params, batch: (terms(params, batch), jax.jacrev(terms)(params, batch)))
    whole, _ = run(params, batch)
    assert np.all(whole > 0.0)
    for label in set(LABELS.values()):
        mask = f"{label}_mask"
        labels = batch.labels._replace(**{mask: np.zeros_like(getattr(batch.labels, mask))})
        found, gradient = run(params, batch._replace(labels=labels))
        missing = np.array([LABELS[name] == label for name in config.terms])
        assert missing.any()
        assert not np.any(found[missing])
        assert not any(np.any(leaf[missing]) for leaf in jax.tree.leaves(gradient))
        np.testing.assert_array_equal(found[~missing], whole[~missing])


@pytest.mark.parametrize("kind", ["mae", "rmse+mae"])
def test_gradient_is_finite_where_the_fit_is_perfect(kind, spring, batch):
    apply_fn, params = spring
    exact = batch.labels._replace(energy=np.array([1.25, 0.5, 0.0], np.float32))
    config = LossConfig(energy=TermConfig(kind=kind))

    def loss(params):
        compared = residuals(
            apply_fn,
            params,
            batch._replace(labels=exact),
            reference_energies=REFERENCES,
            with_gradient=False,
        )
        return term_values(config, params, compared)[0]

    value, gradient = jax.value_and_grad(loss)(params)
    assert value == 0.0
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(gradient))


def test_parts_add_up_to_the_whole(spring, batch):
    whole, parts = (compare(spring, batch, with_parts=each) for each in (False, True))
    for name in ("energy", "forces", "stress", "atomic_energies", "hierarchy"):
        np.testing.assert_allclose(getattr(parts, name), getattr(whole, name), rtol=1e-6)


def test_forces_of_the_large_part_are_averaged_over_real_atoms(spring, batch):
    config = LossConfig(forces=TermConfig(), slow_forces=PenaltyConfig(weight=1.0))
    # +2 and -2 on the two atoms of the dimer, 0 on the third; 9 components
    assert values(config, spring, batch)[1] == pytest.approx((2.0**2 + 2.0**2) / 9)


def test_without_gradient_energies_agree_and_forces_do_not_count(spring, batch):
    with_forces = compare(spring, batch)
    without = compare(spring, batch, with_gradient=False)
    np.testing.assert_array_equal(with_forces.energy, without.energy)
    assert not without.forces_mask.any()
    assert not without.stress_mask.any()


def test_non_hierarchicality_starts_at_the_reference_energy(spring, batch):
    found = compare(spring, batch)
    # terms of the atoms: offset by species, then a quarter of 4 * 0.5^2 for each atom of the dimer
    expected = np.zeros(3)
    for atom, (graph, species) in enumerate([(0, 0), (0, 1), (1, 1)]):
        chain = [REFERENCES[species], (0.25, 0.5)[species], 0.25 if atom < 2 else 0.0]
        for before, after in itertools.pairwise(chain):
            expected[graph] += after**2 / (after**2 + before**2)
    np.testing.assert_allclose(found.hierarchy, expected, rtol=1e-6)
    config = LossConfig(energy=TermConfig(), hierarchy=PenaltyConfig(weight=1.0))
    mean = expected[:2].mean()
    np.testing.assert_allclose(values(config, spring, batch)[1], mean, rtol=1e-6)


def test_non_hierarchicality_of_nothing_is_nothing(spring, batch):
    apply_fn, params = spring
    zero = {**params, "k": jnp.float32(0.0), "offset": jnp.zeros((2, 1))}
    total = lambda params: jnp.sum(
        residuals(
            apply_fn, params, batch, reference_energies=(0.0, 0.0), with_gradient=False
        ).hierarchy
    )
    value, gradient = jax.value_and_grad(total)(zero)
    assert value == 0.0
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(gradient))


def test_l2_counts_matrices_only(spring, batch):
    config = LossConfig(energy=TermConfig(), l2=PenaltyConfig(weight=1e-3))
    np.testing.assert_allclose(values(config, spring, batch)[1], 0.25**2 + 0.5**2, rtol=1e-6)


@pytest.mark.parametrize(
    ("ramp", "progress", "expected"),
    [
        (None, 0.25, 3.0),
        ((0.5, 1.0), 0.5, 1.0),
        ((0.5, 1.0), 0.75, 5.0),
        ((0.75, 0.75), 0.74, 1.0),
        ((0.75, 0.75), 0.75, 9.0),
        ((0.0, 0.5), 0.9, 9.0),
        ((0.0, 1.0), 1.0, 9.0),
    ],
)
def test_weights_move_along_the_ramp(ramp, progress, expected):
    term = TermConfig(weight=1.0, final_weight=9.0, ramp=ramp)
    assert weights(LossConfig(forces=term), progress) == pytest.approx([expected])


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({}, "at least one term that compares with a label"),
        ({"l2": {"weight": 1e-6}}, "at least one term that compares with a label"),
        ({"forces": {"weight": -1.0}}, r"loss\.forces\.weight must be from 0 to"),
        ({"energy": {}, "l2": {"weight": 1e10}}, r"loss\.l2\.weight must be .* found 1e\+?10"),
        ({"energy": {"final_weight": -1}}, r"loss\.energy\.final_weight must be .* found -1"),
        ({"forces": {"weight": 0.0}}, r"loss\.forces needs a positive weight"),
        (
            {"forces": {"delta": 0.1}},
            r"loss\.forces needs delta if, and only if, its kind is 'huber'",
        ),
        ({"forces": {"kind": "huber"}}, "if, and only if, its kind is 'huber'"),
        ({"forces": {"kind": "huber", "delta": 0.0}}, r"loss\.forces\.delta must be positive"),
        ({"forces": {"ramp": [0.0, 1.0]}}, r"loss\.forces\.ramp is meaningless without"),
        (
            {"forces": {"final_weight": 2.0, "ramp": [0.6, 0.5]}},
            r"loss\.forces\.ramp must be two ascending fractions",
        ),
        ({"forces": {"kind": "rmse"}}, "must be one of"),
        ({"force": {"weight": 1.0}}, "did you mean 'forces'"),
        ({"forces": {}, "l2": {"weight": 1.0, "kind": "mse"}}, "unknown key 'loss.l2.kind'"),
    ],
)
def test_impossible_losses_are_refused_in_one_sentence(section, message):
    with pytest.raises(ConfigError, match=message):
        from_dict(LossConfig, section, where="loss")


def test_configuration_survives_a_round_trip():
    config = LossConfig(
        energy=TermConfig(kind="huber", delta=0.1, final_weight=2.0, ramp=(0.5, 1.0)),
        l2=PenaltyConfig(weight=1e-6),
    )
    assert from_dict(LossConfig, to_dict(config)) == config
