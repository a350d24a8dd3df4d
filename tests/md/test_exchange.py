"""Replica exchange on analytic systems: the canonical distribution at every temperature."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats

from jmlip.graphs.systems import System
from jmlip.md import integrators
from jmlip.md.batched import BatchState, Exchange, make_batch_advance, make_mesh
from jmlip.md.exchange import Ladder, exchange, first_places
from jmlip.md.state import Evaluation
from jmlip.md.velocities import maxwell_boltzmann
from tests.compiling import optimized
from tests.contracts.test_integrators import NO_NEIGHBORS

KT = np.array([0.02, 0.035, 0.06, 0.1])  # eV
BARRIER, TILT, STIFFNESS = 0.25, 0.02, 2.0  # eV, eV / angstrom, eV / angstrom^2
DT, EVERY, SLOTS = 0.05, 20, 1500


def along(x):
    """Two wells at -1 and 1 angstrom, twelve kT apart at the lowest temperature."""
    return BARRIER * (x**2 - 1.0) ** 2 + TILT * x


def energy(positions):
    x, y, z = positions[0]
    return along(x) + 0.5 * STIFFNESS * (y**2 + z**2)


def force_fn(positions, cell, neighbors):
    del cell
    value, gradient = jax.value_and_grad(energy)(positions)
    return Evaluation(value, -gradient, jnp.zeros((3, 3), positions.dtype), neighbors)


def double_well(system, kT):
    del system
    return integrators.make_langevin(force_fn, dt=DT, kT=kT, friction=1.0)


def start(kT, x):
    """One atom for each kT at x, beside it and in front of the other well."""
    n = len(kT)
    keys = jax.random.split(jax.random.key(1), (n, 2))
    mass = jnp.ones((n, 1, 1))
    momenta = jax.vmap(lambda m, kT, key: maxwell_boltzmann(m, kT=kT, key=key))(
        mass, kT, keys[:, 0]
    )
    positions = jnp.zeros((n, 1, 3)).at[:, 0, 0].set(x)
    begin = lambda kT, *rest: double_well(None, kT).init(*rest)
    cells = jnp.zeros((n, 3, 3))
    lists = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (n,)), NO_NEIGHBORS)
    md = jax.vmap(begin)(kT, positions, momenta, mass, cells, lists, keys[:, 1])
    zeros = jnp.zeros(n, jnp.int32)
    system = System(jnp.zeros((n, 1), jnp.int32), zeros + 1, zeros)
    return (system,), BatchState(md, first_places(n))


def sample(exchange_every, copies=50):
    """Coordinate and kinetic energy, [frames, copies, temperatures], and the last state."""
    kT = jnp.asarray(np.tile(KT, copies))
    linked = jnp.asarray(np.tile(np.arange(len(KT)) < len(KT) - 1, copies))
    systems, state = start(kT, 1.0)  # all in the upper well, out of equilibrium
    advance = make_batch_advance(
        double_well,
        Ladder(kT, linked),
        make_mesh(np.array(jax.devices()[:1])),
        every=EVERY,
        n_slots=SLOTS,
        exchanges=exchange_every and Exchange(exchange_every, jax.random.key(7)),
    )
    state, records = optimized(advance)(systems, state, jnp.asarray(EVERY * SLOTS, jnp.int32))
    assert int(state.step) == EVERY * SLOTS
    standing = np.argsort(records.rung, axis=1)
    split = lambda values: np.take_along_axis(np.asarray(values), standing, 1)[
        SLOTS // 3 :
    ].reshape(-1, copies, len(KT))
    return split(records.systems.positions[:, :, 0, 0]), split(records.systems.kinetic), state


def probability(kT, low, high):
    weight = lambda x: np.exp(-along(x) / kT)
    return integrate.quad(weight, low, high)[0] / integrate.quad(weight, -3.0, 3.0)[0]


def test_every_temperature_has_its_canonical_distribution():
    """Histogram of the coordinate against Boltzmann's, and kinetic energies, at each rung.

    Ladders are independent, so their spread gives the error. Without exchange no atom of the lowest
    temperature crosses the barrier, so the share of the wells shows what exchange does.
    """
    x, kinetic, state = sample(exchange_every=10)
    edges = np.array([-3.0, -1.1, -0.9, 0.0, 0.9, 1.1, 3.0])
    for rung, kT in enumerate(KT):
        for low, high in itertools.pairwise(edges):
            share = ((x[..., rung] > low) & (x[..., rung] < high)).mean(axis=0)
            error = share.std(ddof=1) / np.sqrt(len(share))
            assert abs(share.mean() - probability(kT, low, high)) < 4.0 * error + 2e-3
        mean = kinetic[..., rung].mean(axis=0) / (1.5 * kT)
        error = mean.std(ddof=1) / np.sqrt(len(mean))
        assert abs(mean.mean() - 1.0) < 4.0 * error + 2e-3 < 0.03
    tried, accepted = (np.asarray(each).reshape(-1, len(KT)) for each in state.places[1:])
    assert (tried[:, :-1] == EVERY * SLOTS // 20).all()
    assert (tried[:, -1] == 0).all()  # ladders do not mix
    ladders = np.sort(np.asarray(state.places.rung).reshape(-1, len(KT)), axis=1)
    np.testing.assert_array_equal(ladders, np.arange(ladders.size).reshape(ladders.shape))
    assert (accepted[:, :-1] > 0.2 * tried[:, :-1]).all()


def test_without_exchange_the_lowest_temperature_stays_where_it_began():
    x, _, state = sample(exchange_every=None, copies=4)
    assert (x[..., 0] > 0.0).all()
    assert probability(KT[0], -3.0, 0.0) > 0.8
    np.testing.assert_array_equal(state.places.rung, np.arange(16))


@pytest.mark.parametrize("parity", [0, 1])
def test_trades_obey_detailed_balance(parity):
    """With energies drawn from the distributions of their rungs, they are so afterwards.

    Harmonic energies of 3 degrees of freedom; a wrong sign, or a factor two in the exponent, moves
    the mean energies by several percent.
    """
    n, kT = 20_000, jnp.array([0.02, 0.03, 0.05])
    ladder = Ladder(kT, jnp.array([True, True, False]))
    keys = jax.random.split(jax.random.key(3), 2)
    drawn = kT[None] * jax.random.gamma(keys[0], 1.5, (n, 3))
    trade = lambda energy, key: exchange(
        first_places(3), energy, ladder, parity=jnp.asarray(parity), key=key
    )
    places = jax.vmap(trade)(drawn, jax.random.split(keys[1], n))
    after = np.take_along_axis(np.asarray(drawn), np.argsort(np.asarray(places.rung), 1), 1)
    for rung in range(3):
        law = stats.gamma(1.5, scale=float(kT[rung])).cdf
        assert stats.kstest(after[:, rung], law).pvalue > 1e-3
    share = np.asarray(places.accepted).mean(axis=0)
    assert 0.3 < share[parity] < 1.0
    assert np.delete(share, parity).max() == 0.0


def test_a_much_lower_energy_belongs_on_the_lower_rung():
    ladder = Ladder(jnp.array([0.02, 0.03]), jnp.array([True, False]))
    trade = lambda places, energy: exchange(
        places, jnp.array(energy), ladder, parity=jnp.asarray(0), key=jax.random.key(0)
    )
    down = trade(first_places(2), [50.0, 0.0])
    np.testing.assert_array_equal(down.rung, [1, 0])
    stays = trade(down, [50.0, 0.0])
    np.testing.assert_array_equal(stays.rung, [1, 0])
    np.testing.assert_array_equal(stays.tried, [2, 0])
    np.testing.assert_array_equal(stays.accepted, [1, 0])
