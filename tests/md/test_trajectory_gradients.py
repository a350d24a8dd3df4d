"""Gradients of trajectories against central differences, analytic derivatives and each other."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jmlip.core import units
from jmlip.core.errors import ConfigError, DataError, DivergenceError
from jmlip.md import integrators
from jmlip.md.checkpointed import checkpointed_scan, loop_lengths, require_sound
from jmlip.md.forces import allocate_neighbors, make_force_fn
from jmlip.md.propagator import Level
from jmlip.md.reversible import reversible_scan
from jmlip.md.state import OUT_OF_RANGE, OVERFLOW, Evaluation, kinetic_energy
from tests.contracts.test_integrators import NO_NEIGHBORS
from tests.md.systems import crystal, lennard_jones

N_STEPS, N_ATOMS, DT, KT = 1000, 4, 0.05, 0.02


def chain(stiffness):
    """Atoms with quartic springs to their neighbors and their sites; at low energy not chaotic."""

    def energy(positions):
        bonds, sites = jnp.sum(jnp.diff(positions, axis=0) ** 2), jnp.sum(positions**2, axis=-1)
        return stiffness * (0.5 * bonds + 0.1 * bonds**2) + 0.5 * jnp.sum(sites + 0.3 * sites**2)

    return with_forces(energy)


def with_forces(energy):
    def force_fn(positions, cell, neighbors):
        value, gradient = jax.value_and_grad(energy)(positions)
        return Evaluation(value, -gradient, jnp.zeros((3, 3), positions.dtype), neighbors)

    return force_fn


def respa(stiffness):
    slow = with_forces(lambda positions: 0.1 * stiffness * jnp.sum(jnp.cos(positions)))
    return (Level(slow, n=2), Level(chain(1.0)))


FORCES = {"velocity Verlet": chain, "r-RESPA": respa}
VALUES = {"stiffness": 1.0, "kT": KT, "mass": 3.0, "stretch": 1.0}


def normal(seed, n_atoms):
    return np.random.default_rng(seed).normal(size=(n_atoms, 3))


def begin(forces, values, dtype="float64", make=integrators.make_nve, **options):
    mass = jnp.linspace(1.0, 2.0, N_ATOMS, dtype=dtype)[:, None].at[0].set(values["mass"])
    momenta = jnp.sqrt(mass * values["kT"]) * jnp.asarray(normal(2, N_ATOMS), dtype)
    integrator = make(forces, dt=DT, **options)
    lists = NO_NEIGHBORS if callable(forces) else 2 * NO_NEIGHBORS
    positions = values["stretch"] * jnp.asarray(0.2 * normal(1, N_ATOMS), dtype)
    return integrator, integrator.init(
        positions, momenta, mass, jnp.zeros((3, 3), dtype), lists, jax.random.key(3)
    )


def observe(state):
    end = jnp.sum(state.dynamics.position**2) + 0.1 * jnp.sum(state.dynamics.momentum[0])
    return {"potential": state.energy, "end": end, "step": state.step}


def outcome(observed):
    return observed["potential"].mean() + observed["end"][-1]


def by_scan(values, forces=chain, n_steps=N_STEPS):
    integrator, state = begin(forces(values["stiffness"]), values)
    body = lambda state, _: (state := integrator.step(state), observe(state))
    return outcome(jax.lax.scan(body, state, length=n_steps)[1])


def checkpointed(values, forces=chain, n_steps=N_STEPS, levels=2):
    integrator, state = begin(forces(values["stiffness"]), values)
    return outcome(checkpointed_scan(integrator.step, state, n_steps, observe, levels=levels)[1])


def reversible(values, missed=0.0, forces=chain, n_steps=N_STEPS):
    levels = forces(values["stiffness"])
    _, state = begin(levels, values)
    return outcome(reversible_scan(levels, state, n_steps, observe, dt=DT, missed=missed)[1])


def central_difference(function, values, name):
    at = lambda shift: function(values | {name: values[name] + shift})
    return (at(1e-4) - at(-1e-4)) / 2e-4


@pytest.mark.parametrize("forces", FORCES.values(), ids=FORCES)
def test_gradients_are_central_differences(forces, x64):
    """Parameter, temperature, mass and initial positions, after 1000 steps."""
    plain = jax.jit(lambda values: by_scan(values, forces))
    one = jax.jit(jax.grad(lambda values: checkpointed(values, forces)))(VALUES)
    other, missed = jax.jit(jax.grad(lambda *a: reversible(*a, forces), (0, 1)))(VALUES, 0.0)
    for name in VALUES:
        difference = float(central_difference(plain, VALUES, name))
        assert float(one[name]) == pytest.approx(difference, rel=1e-5), name
        assert float(other[name]) == pytest.approx(difference, rel=1e-5), name
    assert float(missed) == 0.0


def test_checkpoints_change_nothing(x64):
    """Any number of steps and loops: the gradient of a plain scan."""
    value, gradient = jax.jit(jax.value_and_grad(lambda v: by_scan(v, n_steps=53)))(VALUES)
    for levels in (1, 3):
        function = lambda v, levels=levels: checkpointed(v, chain, 53, levels)
        again = jax.jit(jax.value_and_grad(function))(VALUES)
        assert float(again[0]) == pytest.approx(float(value), rel=1e-14)
        for name in VALUES:
            assert float(again[1][name]) == pytest.approx(float(gradient[name]), rel=1e-12)


def memory(method, n_steps):
    """Bytes for temporary arrays, as the compiler says; nothing is run."""
    program = jax.jit(jax.grad(lambda values: method(values, n_steps))).lower(VALUES).compile()
    return program.memory_analysis().temp_size_in_bytes


def test_memory_grows_as_promised():
    """Sixteen times the steps: 16 and 4 times the memory of states, and the same."""

    def last(values, n_steps, levels):
        integrator, state = begin(chain(values["stiffness"]), values, "float32")
        end, _ = checkpointed_scan(integrator.step, state, n_steps, levels=levels)
        return end.energy

    def reversible(values, n_steps):
        forces = chain(values["stiffness"])
        _, state = begin(forces, values, "float32")
        return reversible_scan(forces, state, n_steps, dt=DT)[0].energy

    growth = lambda method: memory(method, 16 * 1024) / memory(method, 1024)
    assert growth(lambda v, n: last(v, n, 1)) == pytest.approx(16.0, rel=0.1)
    assert growth(lambda v, n: last(v, n, 2)) == pytest.approx(4.0, rel=0.2)
    assert growth(reversible) == pytest.approx(1.0, abs=0.01)


def test_observations_are_those_of_the_steps(x64):
    integrator, state = begin(chain(1.0), VALUES)
    scan = jax.jit(lambda s: checkpointed_scan(integrator.step, s, 7, observe, levels=2))
    back = jax.jit(lambda s: reversible_scan(chain(1.0), s, 7, observe, dt=DT))
    for end, observed in (scan(state), back(state)):
        np.testing.assert_array_equal(observed["step"], np.arange(1, 8))
        assert observed["potential"][-1] == pytest.approx(float(end.energy), rel=1e-12)
        assert int(end.step) == 7


def test_loops_are_long_enough():
    for n_steps in (1, 2, 7, 1000, 1023):
        for levels in (1, 2, 3, 10):
            lengths = loop_lengths(n_steps, levels)
            assert np.prod(lengths) >= n_steps
            assert max(lengths) <= int(np.ceil(n_steps ** (1 / levels) - 1e-9))


@pytest.mark.parametrize("forces", FORCES.values(), ids=FORCES)
def test_trajectories_return_to_the_same_bits_in_float32(forces):
    levels = forces(1.0)
    _, state = begin(levels, VALUES, "float32")
    grid = lambda missed: reversible_scan(
        levels, state, N_STEPS, lambda s: s.dynamics.position.sum(), dt=DT, missed=missed
    )[1].sum()
    assert float(jax.jit(jax.grad(grid))(0.0)) == 0.0


def test_a_trajectory_that_does_not_return_is_counted():
    """Forces that differ from call to call, as sums in varying order do, only more."""
    calls = itertools.count(1)
    weaken = lambda _: np.float32(1.0 - 1e-3 * next(calls))

    def forces(positions, cell, neighbors):
        found = chain(1.0)(positions, cell, neighbors)
        scalar = jax.ShapeDtypeStruct((), "float32")
        factor = jax.pure_callback(weaken, scalar, jax.lax.stop_gradient(positions[0, 0]))
        return found._replace(forces=factor * found.forces)

    _, state = begin(chain(1.0), VALUES, "float32")
    end = lambda missed: reversible_scan(forces, state, 3, dt=DT, missed=missed)[0].energy
    assert float(jax.jit(jax.grad(end))(0.0)) > N_ATOMS


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-9), ("float32", 1e-3)])
def test_the_grid_is_fine(dtype, tolerance, x64):
    """The end of 1000 steps is that of the integrator, which does not round to a grid."""
    integrator, state = begin(chain(1.0), VALUES, dtype)
    end = jax.jit(lambda s: reversible_scan(chain(1.0), s, N_STEPS, dt=DT)[0])(state)
    usual = jax.jit(lambda s: jax.lax.fori_loop(0, N_STEPS, lambda _, s: integrator.step(s), s))
    want = usual(state)
    np.testing.assert_allclose(end.dynamics.position, want.dynamics.position, atol=tolerance)
    np.testing.assert_allclose(end.dynamics.momentum, want.dynamics.momentum, atol=tolerance)
    assert jax.tree.structure(end) == jax.tree.structure(want)
    require_sound(end)


def test_gradients_inside_of_loops(x64):
    """In a loop over many starts, closing over its arrays, whole numbers among them."""

    def mean(stiffness, method):
        def one(stretch_and_order):
            stretch, order = stretch_and_order
            forces = lambda x, *rest: chain(stiffness)(x[order][jnp.argsort(order)], *rest)
            integrator, state = begin(forces, VALUES | {"stretch": stretch})
            see = lambda state: state.dynamics.position[order[0], 0]
            if method == "reversible":
                return reversible_scan(forces, state, 20, see, dt=DT)[1][-1]
            return checkpointed_scan(integrator.step, state, 20, see)[1][-1]

        stretches = jnp.array([0.9, 1.1, 1.3])
        return jax.lax.map(one, (stretches, jnp.array([[0, 1, 2, 3]] * 3))).mean()

    slopes = [jax.jit(jax.grad(mean), static_argnums=1)(1.0, m) for m in ("reversible", "other")]
    assert float(slopes[0]) == pytest.approx(float(slopes[1]), rel=1e-9)


def test_gradient_of_the_time_step(x64):
    """A free particle: x = x0 + n dt p / m."""
    free = with_forces(lambda positions: 0.0 * jnp.sum(positions))

    def reached(dt):
        _, state = begin(free, VALUES)
        return reversible_scan(free, state, 50, dt=dt)[0].dynamics.position[1, 2]

    _, state = begin(free, VALUES)
    want = 50 * state.dynamics.momentum[1, 2] / state.dynamics.mass[1, 0]
    assert float(jax.jit(jax.grad(reached))(DT)) == pytest.approx(float(want), rel=1e-12)


THERMOSTATS = {
    "langevin": (integrators.make_langevin, {"friction": 1.0}),
    "nose-hoover": (integrators.make_nose_hoover, {"tau": 1.0}),
}


@pytest.mark.parametrize("name", THERMOSTATS)
def test_gradient_of_the_temperature_of_a_thermostat(name, x64):
    """At fixed random numbers, against a central difference."""
    make, options = THERMOSTATS[name]

    def mean(kT):
        # the momenta at the start are those of another temperature: only the thermostat knows kT
        integrator, state = begin(chain(1.0), VALUES, make=make, kT=kT, **options)
        kinetic = lambda state: kinetic_energy(state.dynamics)
        return checkpointed_scan(integrator.step, state, 200, kinetic)[1].mean()

    difference = (jax.jit(mean)(KT + 1e-6) - jax.jit(mean)(KT - 1e-6)) / 2e-6
    assert abs(float(difference)) > 0.1
    # jax-md rounds numbers of the chain to float32
    rel = 1e-3 if name == "nose-hoover" else 1e-6
    assert float(jax.jit(jax.grad(mean))(KT)) == pytest.approx(float(difference), rel=rel)


def lennard_jones_crystal(dtype, skin):
    structure, potential = crystal(), lennard_jones()
    positions, cell = (jnp.asarray(x, dtype) for x in (structure.positions, structure.cell))
    momenta = jnp.asarray(0.25 * normal(3, len(positions)), dtype)
    lists = (allocate_neighbors(potential, structure, positions, cell, skin=skin),)

    def forces(sigma):
        changed = dataclasses.replace(potential, params=potential.params | {"sigma": sigma})
        return make_force_fn(changed, structure, dtype=dtype, skin=skin)

    def state(sigma):
        integrator = integrators.make_nve(forces(sigma), dt=1.0 * units.FS)
        mass = jnp.full((len(positions), 1), 12.0, dtype)
        return integrator, integrator.init(positions, momenta, mass, cell, lists, None)

    return forces, state, jnp.asarray(potential.params["sigma"], dtype)


def test_potentials_with_neighbor_lists(x64):
    """The list is renewed many times on the way, forward and backward, and nothing is missed."""
    forces, start, sigma = lennard_jones_crystal("float64", skin=0.1)

    def by_checkpoints(sigma):
        integrator, state = start(sigma)
        end, energy = checkpointed_scan(integrator.step, state, 40, lambda s: s.energy)
        return energy[-1], end

    def by_return(sigma, missed):
        _, state = start(sigma)
        options = {"dt": 1.0 * units.FS, "missed": missed}
        end, energy = reversible_scan(forces(sigma), state, 40, lambda s: s.energy, **options)
        return energy[-1], end

    one, end = jax.jit(jax.grad(by_checkpoints, has_aux=True))(sigma)
    (other, missed), last = jax.jit(jax.grad(by_return, (0, 1), has_aux=True))(sigma, 0.0)
    assert not np.array_equal(end.neighbors[0].reference_positions, crystal().positions)
    assert float(missed) == 0.0
    np.testing.assert_allclose(other, one, rtol=1e-7, atol=1e-9)
    for state in (end, last):
        require_sound(state)


def test_an_atom_that_leaves_the_grid_is_noticed():
    _, state = begin(chain(1.0), VALUES, "float32")
    fast = state._replace(dynamics=state.dynamics.set(momentum=300.0 + state.dynamics.momentum))
    forces = with_forces(lambda positions: 0.0 * positions.sum())
    end, _ = jax.jit(lambda s: reversible_scan(forces, s, 100, dt=1.0))(fast)
    assert int(end.status) & OUT_OF_RANGE
    with pytest.raises(DataError, match="status of a trajectory must be 0, found 8"):
        require_sound(end)


def test_a_number_that_is_not_finite_is_noticed():
    _, state = begin(chain(1.0), VALUES, "float32")
    with jax.debug_nans(False):
        nan = with_forces(lambda positions: jnp.nan * positions.sum())
        end, _ = reversible_scan(nan, state, 3, dt=DT)
        assert int(end.status) & OUT_OF_RANGE
        bad = state._replace(dynamics=state.dynamics.set(momentum=jnp.full((4, 3), jnp.inf)))
        with pytest.raises(DivergenceError, match="must be finite"):
            require_sound(bad)


def test_a_list_that_overflows_is_noticed():
    _, state = begin(chain(1.0), VALUES, "float32")
    full = NO_NEIGHBORS[0]._replace(status=jnp.ones((), jnp.uint8))
    overflowed = state._replace(levels=(state.levels[0]._replace(neighbors=full),))
    with pytest.raises(DataError, match="must hold all pairs"):
        require_sound(overflowed)
    end, _ = jax.jit(lambda s: reversible_scan(chain(1.0), s, 3, dt=DT))(overflowed)
    assert int(end.status) & OVERFLOW


def test_refusals():
    langevin, state = begin(
        chain(1.0), VALUES, "float32", integrators.make_langevin, kT=KT, friction=1.0
    )
    with pytest.raises(ConfigError, match="only dynamics at constant energy is reversible"):
        reversible_scan(chain(1.0), state, 3, dt=DT)
    for n_steps, levels in ((0, 2), (3, 0)):
        with pytest.raises(ConfigError, match="at least 1 step"):
            checkpointed_scan(langevin.step, state, n_steps, levels=levels)
    _, state = begin(chain(1.0), VALUES, "float32")
    with pytest.raises(ConfigError, match="at least 1 step, found 0"):
        reversible_scan(chain(1.0), state, 0, dt=DT)
