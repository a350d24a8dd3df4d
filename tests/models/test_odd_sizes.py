"""Frames of one atom, and features of both parities from products of several neighbors."""

import math

import e3nn_jax
import jax
import numpy as np
import pytest

from jmlip.core.errors import ConfigError
from jmlip.core.structure import Structure
from jmlip.factory import MODELS, make_model
from jmlip.models.sizes import SIZES
from jmlip.ops.irreps import Irrep, all_irreps, symmetric_power
from jmlip.potentials.potential import initial_potential

ATOM = Structure(species=[8], positions=[[0.0, 0.0, 0.0]])
CHIRAL = [[0, 0, 0], [1.1, 0, 0], [0, 1.3, 0], [0, 0, 1.5], [-0.9, -0.9, -0.7]]


def potential_of(kind, **fields):
    model = make_model(kind, {"species": [1, 6, 8], **fields})
    return initial_potential(kind, model, key=jax.random.key(0), reference_energies=(0.0,) * 3)


@pytest.mark.parametrize("kind", MODELS)
def test_one_atom_alone(kind):
    (prediction,) = potential_of(kind, **({"size": "S"} if kind in SIZES else {})).predict([ATOM])
    assert np.isfinite(prediction.energy)
    np.testing.assert_array_equal(prediction.forces, 0.0)


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("mace", {"harmonics": 2}),
        ("mace", {"harmonics": 2, "correlation": 2, "max_degree": 2, "last_layer": "all"}),
        ("nequip", {"correlation": 2, "n_layers": 2, "max_degree": 1, "harmonics": 1}),
    ],
)
def test_both_parities_with_products_of_several_neighbors(kind, fields):
    """Energies of a chiral molecule and of its mirror image are equal, and neighbors matter."""
    potential = potential_of(kind, both_parities=True, n_channels=4, **fields)
    species, positions = [6, 1, 8, 1, 6], np.array(CHIRAL)
    given, mirrored, moved = (
        p.energy
        for p in potential.predict(
            [
                Structure(species=species, positions=x)
                for x in (positions, -positions, 1.1 * positions)
            ],
            dtype="float64",
        )
    )
    assert given == pytest.approx(mirrored, abs=1e-9)
    assert abs(given - moved) > 1e-4


# the reference takes half a minute for the third power of degree 2
@pytest.mark.parametrize(
    ("degree", "order"), [(0, 1), (0, 2), (0, 3), (1, 1), (1, 2), (1, 3), (2, 1), (2, 2)]
)
def test_symmetric_powers_are_those_of_e3nn(degree, order):
    irreps = (*all_irreps(degree, both_parities=True), Irrep(1, 1))
    basis = e3nn_jax.reduced_symmetric_tensor_product_basis(
        e3nn_jax.Irreps([(1, tuple(ir)) for ir in irreps]), order
    )
    found = symmetric_power(irreps, order)
    expected = {Irrep(ir.l, ir.p): mul for mul, ir in basis.irreps.sort().irreps.simplify()}
    assert found == expected


@pytest.mark.parametrize("order", [1, 2, 3, 4])
@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_symmetric_powers_have_all_monomials(degree, order):
    """As many dimensions as there are monomials of this order in the components."""
    irreps = all_irreps(degree, both_parities=True)
    n = sum(ir.dim for ir in irreps)
    found = sum(count * ir.dim for ir, count in symmetric_power(irreps, order).items())
    assert found == math.comb(n + order - 1, order)


def test_a_batch_holds_something():
    with pytest.raises(ConfigError, match="batch_size must be 1 or more, found 0"):
        potential_of("hipnn", size="S").predict([ATOM], batch_size=0)
