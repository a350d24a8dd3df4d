"""Multiple time steps: equal to velocity Verlet where they must be, resonant where theory says."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jmlip.core.errors import ConfigError
from jmlip.md.integrators import make_nve
from jmlip.md.propagator import Level
from jmlip.md.state import Evaluation
from tests.contracts import test_integrators as contract

DT = contract.DT


def run(forces, *, dt=DT, n_steps=50, n_levels=2):
    integrator = make_nve(forces, dt=dt)
    state = contract.start(contract.ALL["nve"](dt))
    dynamics = state.dynamics
    arguments = (dynamics.position, dynamics.momentum, dynamics.mass, state.cell)
    state = integrator.init(*arguments, n_levels * contract.NO_NEIGHBORS, jax.random.key(0))
    return jax.lax.fori_loop(0, n_steps, lambda _, s: integrator.step(s), state)


@pytest.mark.parametrize("wide", [False, True])
def test_one_inner_step_is_velocity_verlet_to_the_last_bit(wide):
    with jax.enable_x64(wide):
        split = run((Level(contract.slow_force_fn), Level(contract.force_fn)))
        plain = run(contract.sum_force_fn, n_levels=1)
    assert plain.dynamics.position.dtype == ("float64" if wide else "float32")
    np.testing.assert_array_equal(split.dynamics.position, plain.dynamics.position)
    np.testing.assert_array_equal(split.dynamics.momentum, plain.dynamics.momentum)
    np.testing.assert_array_equal(split.dynamics.force, plain.dynamics.force)


def test_a_slow_force_of_nothing_leaves_the_small_steps(x64):
    nothing = lambda *a: jax.tree.map(jnp.zeros_like, contract.force_fn(*a))._replace(
        neighbors=a[2]
    )
    split = run((Level(nothing, n=4), Level(contract.force_fn)), n_steps=10)
    plain = run(contract.force_fn, dt=DT / 4, n_steps=40, n_levels=1)
    np.testing.assert_allclose(split.dynamics.position, plain.dynamics.position, atol=1e-12)


def test_three_levels_are_the_product_of_their_operators(x64):
    """Against the splitting written out, force by force."""
    third = lambda x: 0.003 * jnp.sin(x).sum()
    third_force = lambda x, c, n: Evaluation(third(x), -jax.grad(third)(x), jnp.zeros((3, 3)), n)
    levels = (Level(third_force, n=2), Level(contract.slow_force_fn, n=3), Level(contract.force_fn))
    end = run(levels, n_steps=5, n_levels=3)

    begin = contract.start(contract.ALL["nve"](DT)).dynamics
    position, momentum, mass = begin.position, begin.momentum, begin.mass
    force = lambda k, x: levels[k].force_fn(x, None, None).forces

    def step(x, p, k, dt):
        p = p + 0.5 * dt * force(k, x)
        for _ in range(levels[k].n):
            x, p = step(x, p, k + 1, dt / levels[k].n) if k < 2 else (x + dt * p / mass, p)
        return x, p + 0.5 * dt * force(k, x)

    for _ in range(5):
        position, momentum = step(position, momentum, 0, DT)
    np.testing.assert_allclose(end.dynamics.position, position, atol=1e-12)
    np.testing.assert_allclose(end.dynamics.momentum, momentum, atol=1e-12)


def test_a_whole_potential_outside_is_itself_less_the_inner_one(x64):
    terms = run((Level(contract.slow_force_fn, n=3), Level(contract.force_fn)))
    whole = run((Level(contract.whole_force_fn, n=3, whole=True), Level(contract.force_fn)))
    np.testing.assert_allclose(whole.dynamics.position, terms.dynamics.position, atol=1e-12)
    np.testing.assert_allclose(whole.energy, terms.energy, atol=1e-12)
    np.testing.assert_allclose(whole.levels[0].energy, terms.levels[0].energy, atol=1e-12)


@pytest.mark.parametrize(
    ("dt", "stable"), [(2.8, True), (2.9, False), (3.0, False), (3.1, False), (3.2, True)]
)
def test_resonance_lies_where_the_half_trace_says(dt, stable, x64):
    """Frequency 1, slow stiffness 0.1: unstable just below half the fast period, pi."""
    fast, slow = (functools.partial(_spring, stiffness=k) for k in (1.0, 0.1))
    integrator = make_nve((Level(slow, n=2000), Level(fast)), dt=dt)
    pairs = 2 * contract.NO_NEIGHBORS

    def step(x, p):
        state = integrator.init(x, p, jnp.ones((1, 1)), jnp.zeros((3, 3)), pairs, None)
        after = integrator.step(state).dynamics
        return jnp.stack([after.position[0, 0], after.momentum[0, 0]])

    unit, zero = jnp.array([[1.0, 0.0, 0.0]]), jnp.zeros((1, 3))
    matrix = jnp.stack([step(unit, zero), step(zero, unit)], axis=1)
    assert float(jnp.linalg.det(matrix)) == pytest.approx(1.0, abs=1e-9)
    half_trace = np.cos(dt) - 0.05 * dt * np.sin(dt)
    assert 0.5 * float(jnp.trace(matrix)) == pytest.approx(half_trace, abs=1e-5)
    radius = np.abs(np.linalg.eigvals(matrix)).max()
    assert (radius < 1.0 + 1e-6) == stable
    if dt == 3.0:
        assert radius == pytest.approx(1.16, abs=0.005)


def _spring(positions, cell, neighbors, *, stiffness):
    del cell
    energy = 0.5 * stiffness * (positions**2).sum()
    return Evaluation(energy, -stiffness * positions, jnp.zeros((3, 3)), neighbors)


@pytest.mark.parametrize(
    "levels", [(), (Level(_spring, n=0), Level(_spring)), (Level(_spring, n=2),)]
)
def test_impossible_levels(levels):
    with pytest.raises(ConfigError, match="levels must be one or more"):
        make_nve(levels, dt=1.0)


def test_the_last_level_takes_nothing_off():
    with pytest.raises(ConfigError, match="whole = False"):
        make_nve((Level(_spring), Level(_spring, whole=True)), dt=1.0)
