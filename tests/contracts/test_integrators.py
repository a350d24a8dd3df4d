"""What every integrator must satisfy, on an analytic potential without rotational symmetry."""

import functools
from typing import NamedTuple

import ase
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase.calculators.calculator import Calculator
from ase.constraints import FixAtoms
from ase.md.verlet import VelocityVerlet
from jax_md import simulate
from scipy import stats

from jmlip.analysis.lines import log_log_slope
from jmlip.analysis.thermodynamics import degrees_of_freedom
from jmlip.core.structure import Structure
from jmlip.md import integrators
from jmlip.md.propagator import Level
from jmlip.md.state import Evaluation, kinetic_energy
from jmlip.md.velocities import masses, maxwell_boltzmann
from tests.compiling import optimized

KT = 0.1  # eV
STIFFNESS = jnp.array([0.5, 1.0, 1.5])  # eV / angstrom^2; different axes, so nothing is conserved
SPECIES = np.array([1, 1, 6, 8, 1, 7])  # that should not be: neither angular momentum nor modes
DT = 0.05  # internal units, about 0.5 fs; the fastest period is about 2
N_ATOMS = len(SPECIES)
N_FREE = 3 * N_ATOMS - 3
MASSES = masses(Structure(species=SPECIES, positions=np.zeros((N_ATOMS, 3))))
HELD = (1, 3)  # atoms, where some are


class NoNeighbors(NamedTuple):
    status: jax.Array


NO_NEIGHBORS = (NoNeighbors(jnp.zeros((), jnp.uint8)),)


def energy(positions):
    vector = positions[:, None] - positions[None]
    squared = vector**2 @ STIFFNESS.astype(positions.dtype)
    return 0.25 * (squared + 0.5 * squared**2).sum()


def force_fn(positions, cell, neighbors):
    del cell
    value, gradient = jax.value_and_grad(energy)(positions)
    return Evaluation(value, -gradient, jnp.zeros((3, 3), positions.dtype), neighbors)


def slow_energy(positions):
    vector = positions[:, None] - positions[None]
    return 0.01 * jnp.cos(1.3 * vector[..., 0] + 0.7 * vector[..., 1] * vector[..., 2]).sum()


def whole_force_fn(positions, cell, neighbors):
    value, gradient = jax.value_and_grad(lambda x: energy(x) + slow_energy(x))(positions)
    return Evaluation(value, -gradient, jnp.zeros((3, 3), positions.dtype), neighbors)


def slow_force_fn(positions, cell, neighbors):
    value, gradient = jax.value_and_grad(slow_energy)(positions)
    return Evaluation(value, -gradient, jnp.zeros((3, 3), positions.dtype), neighbors)


def sum_force_fn(positions, cell, neighbors):
    slow, fast = (f(positions, cell, neighbors) for f in (slow_force_fn, force_fn))
    return fast._replace(energy=slow.energy + fast.energy, forces=slow.forces + fast.forces)


RESPA = (Level(slow_force_fn, n=3), Level(force_fn))
"""A potential less its smooth part, in three small steps."""


def respa(make, **options):
    """An integrator of two levels that starts from one list, as the others do."""
    integrator = make(RESPA, **options)
    init = lambda *arguments: integrator.init(*arguments[:4], 2 * arguments[4], arguments[5])
    return integrator._replace(init=init)


LANGEVIN, NOSE_HOOVER, CSVR = (
    functools.partial(integrators.make_langevin, kT=KT, friction=1.0),
    functools.partial(integrators.make_nose_hoover, kT=KT, tau=1.0),
    functools.partial(integrators.make_csvr, kT=KT, tau=1.0),
)
OUTSIDE = functools.partial(LANGEVIN, outside=True)
THERMOSTATS = {
    "langevin": lambda dt: LANGEVIN(force_fn, dt=dt),
    "langevin outside": lambda dt: OUTSIDE(force_fn, dt=dt),
    "nose-hoover": lambda dt: NOSE_HOOVER(force_fn, dt=dt),
    "csvr": lambda dt: CSVR(force_fn, dt=dt),
    "respa langevin": lambda dt: respa(LANGEVIN, dt=dt),
    "respa langevin outside": lambda dt: respa(OUTSIDE, dt=dt),
    "respa nose-hoover": lambda dt: respa(NOSE_HOOVER, dt=dt),
    "respa csvr": lambda dt: respa(CSVR, dt=dt),
}
ALL = {
    "nve": lambda dt: integrators.make_nve(force_fn, dt=dt),
    "respa": lambda dt: respa(integrators.make_nve, dt=dt),
    **THERMOSTATS,
}


def holding(name, dt, held):
    """The integrator of this name; a chain is told how many atoms are held."""
    if not (held and "nose-hoover" in name):
        return ALL[name](dt)
    make = functools.partial(NOSE_HOOVER, n_held=len(held))
    return respa(make, dt=dt) if name.startswith("respa") else make(force_fn, dt=dt)


def start(integrator, *, seed=0, scale=0.1, held=()):
    keys = jax.random.split(jax.random.key(seed), 3)
    mass = jnp.asarray(MASSES).at[jnp.array(held, int)].set(jnp.inf)
    positions = scale * jax.random.normal(keys[0], (N_ATOMS, 3), mass.dtype)
    momenta = maxwell_boltzmann(mass, kT=KT, key=keys[1])
    return integrator.init(positions, momenta, mass, jnp.zeros((3, 3)), NO_NEIGHBORS, keys[2])


def conserved(integrator, state):
    return state.energy + kinetic_energy(state.dynamics) + integrator.bath_energy(state)


def trajectory(integrator, state, n_steps, observe):
    def body(state, _):
        state = integrator.step(state)
        return state, observe(state)

    return jax.jit(lambda state: jax.lax.scan(body, state, length=n_steps))(state)


@pytest.mark.parametrize("held", [(), HELD])
@pytest.mark.parametrize("name", ALL)
def test_error_of_the_conserved_energy_is_of_second_order(name, held, x64):
    """The slope of its fluctuation against the time step, over the same time, is 2.

    It is 1 where noise comes between two kicks of the slow force: the heat is booked as if the
    atoms had moved with the mean of the velocities at the kicks. Sampling is of second order still.
    """
    steps = np.array([0.01, 0.02, 0.04])

    @jax.jit
    def variance(seed, dt, n_steps):
        integrator = holding(name, dt, held)

        def body(_, carry):
            state, first, second = carry
            state = integrator.step(state)
            error = conserved(integrator, state) - origin
            return state, first + error, second + error**2

        state = start(integrator, seed=seed, held=held)
        origin = conserved(integrator, state)
        carry = (state, jnp.zeros(()), jnp.zeros(()))
        _, first, second = jax.lax.fori_loop(0, n_steps, body, carry)
        return second / n_steps - (first / n_steps) ** 2

    def spread(dt):  # noise differs from step to step, so only a mean over paths has a slope
        replicas = jax.vmap(variance, (0, None, None))(jnp.arange(200), dt, round(2.0 / dt))
        return float(jnp.sqrt(replicas.mean()))

    slope = log_log_slope(steps, np.array([spread(dt) for dt in steps]))
    assert slope == pytest.approx(1 if name == "respa langevin" else 2, abs=0.1)


@pytest.mark.parametrize("name", ["nve", "respa"])
def test_constant_energy_is_reversible(name, x64):
    integrator = ALL[name](DT)
    begin = start(integrator)
    end, _ = trajectory(integrator, begin, 200, lambda s: None)
    turned = end._replace(dynamics=end.dynamics.set(momentum=-end.dynamics.momentum))
    back, _ = trajectory(integrator, turned, 200, lambda s: None)
    assert float(jnp.abs(end.dynamics.position - begin.dynamics.position).max()) > 0.01
    np.testing.assert_allclose(back.dynamics.position, begin.dynamics.position, atol=1e-10)


class NumpyForces(Calculator):
    implemented_properties = ("energy", "forces")

    def calculate(self, atoms, properties, system_changes):
        super().calculate(atoms, properties, system_changes)
        vector = atoms.positions[:, None] - atoms.positions[None]
        k = np.array([0.5, 1.0, 1.5])
        squared = (vector**2 * k).sum(-1)
        self.results["energy"] = 0.25 * (squared + 0.5 * squared**2).sum()
        self.results["forces"] = -((1.0 + squared)[..., None] * vector * k).sum(1)


@pytest.mark.parametrize("name", ALL)
def test_held_atoms_do_not_move_by_a_bit(name):
    """Though forces act on them, and the others are hot."""
    integrator = holding(name, DT, HELD)
    state = start(integrator, held=HELD)
    end, momenta = trajectory(integrator, state, 50, lambda s: s.dynamics.momentum)
    before, after = state.dynamics.position, end.dynamics.position
    rows, others = list(HELD), [0, 2, 4, 5]
    np.testing.assert_array_equal(after[rows, :], before[rows, :])
    assert not np.asarray(momenta)[:, rows].any()
    assert (np.abs(after - before)[others, :] > 1e-3).any(axis=1).all()
    assert (np.abs(end.dynamics.force)[rows, :] > 1e-3).any(axis=1).all()  # those of the potential


@pytest.mark.parametrize("held", [(), HELD])
def test_verlet_equals_ase(held, x64):
    """Independent program, independent forces; a time step rounded to float32 would show."""
    integrator = ALL["nve"](DT)
    state = start(integrator, held=held)
    constraint = FixAtoms(indices=held)
    atoms = ase.Atoms(numbers=SPECIES, positions=state.dynamics.position, constraint=constraint)
    atoms.set_momenta(np.asarray(state.dynamics.momentum))
    atoms.calc = NumpyForces()
    VelocityVerlet(atoms, timestep=DT).run(100)
    end, _ = trajectory(integrator, state, 100, lambda s: None)
    np.testing.assert_allclose(end.dynamics.position, atoms.positions, atol=1e-11)
    np.testing.assert_allclose(end.dynamics.momentum, atoms.get_momenta(), atol=1e-10)


def test_nose_hoover_equals_jax_md_but_for_the_degrees_of_freedom(x64):
    """jax-md's own integrator, with its count of degrees of freedom set right from outside."""
    dt = 2.0**-5  # exact in float32, to which jax-md rounds it
    ours = integrators.make_nose_hoover(force_fn, dt=dt, kT=KT, tau=1.0, chain_length=3)
    init, apply = simulate.nvt_nose_hoover(
        lambda r: force_fn(r, None, None).forces,
        lambda r, dr: r + dr,
        dt,
        KT,
        chain_length=3,
        tau=1.0,
    )
    state = start(ours)
    dynamics = state.dynamics
    theirs = init(
        jax.random.key(0), dynamics.position, mass=dynamics.mass, momenta=dynamics.momentum
    )
    theirs = theirs.set(chain=theirs.chain.set(degrees_of_freedom=N_FREE, tau=dynamics.chain.tau))
    theirs = jax.lax.fori_loop(0, 100, lambda _, s: apply(s), theirs.set(chain=dynamics.chain))
    end, _ = trajectory(ours, state, 100, lambda s: None)
    np.testing.assert_allclose(end.dynamics.position, theirs.position, atol=1e-12)


@pytest.mark.parametrize("name", ALL)
def test_total_momentum_stays_zero(name, x64):
    integrator = ALL[name](DT)
    _, total = trajectory(
        integrator, start(integrator), 200, lambda s: s.dynamics.momentum.sum(axis=0)
    )
    np.testing.assert_allclose(total, 0.0, atol=1e-12)


N_REPLICAS = 1000
N_HEATING, N_EQUILIBRATION, N_SAMPLES = 150, 250, 250


class Samples(NamedTuple):
    kinetic: np.ndarray  # of every atom in units of kT: replicas x times x atoms
    n_free: int
    shares: np.ndarray  # of 3/2 kT that each atom should have


def of_all() -> tuple[int, np.ndarray]:
    """The share of the center of mass, which rests, is missing."""
    return N_FREE, 1.0 - MASSES[:, 0] / MASSES.sum()


def of_free() -> tuple[int, np.ndarray]:
    free = ~np.isin(np.arange(N_ATOMS), HELD)
    return 3 * int(free.sum()), free.astype(float)


SAMPLED = [(name, ()) for name in THERMOSTATS]
SAMPLED += [(name, HELD) for name in ("langevin", "nose-hoover", "csvr", "respa langevin")]


@pytest.fixture(scope="module", params=SAMPLED, ids=str)
def samples(request):
    name, held = request.param
    hot = integrators.make_langevin(force_fn, dt=DT, kT=2.0 * KT, friction=1.0)
    integrator = holding(name, DT, held)

    def replica(seed):
        # a start twice too hot, with all phases random: a start at rest would swing in step
        heated, _ = trajectory(hot, start(hot, seed=seed, held=held), N_HEATING, lambda s: None)
        before, key = heated.dynamics, jax.random.key(seed + N_REPLICAS)
        state = integrator.init(
            before.position, before.momentum, before.mass, heated.cell, heated.neighbors, key
        )
        state, _ = trajectory(integrator, state, N_EQUILIBRATION, lambda s: None)
        observe = lambda s: 0.5 * (s.dynamics.momentum**2 / s.dynamics.mass).sum(-1) / KT
        return trajectory(integrator, state, N_SAMPLES, observe)[1]

    kinetic = np.asarray(optimized(jax.vmap(replica))(jnp.arange(N_REPLICAS)), np.float64)
    return Samples(kinetic, *(of_free() if held else of_all()))


def mean_and_error(values):
    """Mean over independent replicas and its standard error."""
    return values.mean(axis=0), values.std(axis=0, ddof=1) / np.sqrt(len(values))


def test_temperature(samples):
    """Degrees of freedom hold kT / 2 each: three more or less of them would be 20 % or more."""
    mean, error = mean_and_error(samples.kinetic.sum(-1).mean(1) / (0.5 * samples.n_free))
    assert 4.0 * error < 0.02
    # BAOAB and Verlet themselves shift the kinetic temperature by O(dt^2): (omega dt)^2 / 12
    assert abs(mean - 1.0) < 4.0 * error + 0.005


def test_equipartition(samples):
    """Each atom holds 3/2 kT (1 - m / M), or 3/2 kT beside atoms that are held and have nothing."""
    mean, error = mean_and_error(samples.kinetic.mean(1) / 1.5)
    assert (4.0 * error <= 0.08 * samples.shares).all()  # the center of mass has 2 to 35 %
    assert (np.abs(mean - samples.shares) <= 4.0 * error + 0.005 * samples.shares).all()


def test_kinetic_energy_is_gamma_distributed(samples):
    """One sample per replica, so all are independent; a rescaled ensemble would be too narrow.

    At times in turn: chains that begin at rest ring in step in all replicas.
    """
    n = np.arange(N_REPLICAS)
    once = samples.kinetic[n, n % N_SAMPLES].sum(-1)
    assert stats.kstest(once, stats.gamma(0.5 * samples.n_free).cdf).pvalue > 1e-3


def test_rescaling_relaxes_as_published(x64):
    """<K> goes to its mean as exp(-t / tau), Bussi et al. equation 7, whatever the time step."""
    n, n_free, tau, start_ratio = 4000, N_FREE, 1.0, 3.0
    target = 0.5 * n_free * KT

    @jax.jit
    @jax.vmap
    def final(seed, dt, n_steps):
        def body(_, carry):
            kinetic, key = carry
            key, draw = jax.random.split(key)
            decay = jnp.exp(-dt / tau)
            factor = integrators._rescaling(kinetic, n_free, KT, decay=decay, key=draw)
            return kinetic * factor**2, key

        begin = (jnp.asarray(start_ratio * target), jax.random.key(seed))
        return jax.lax.fori_loop(0, n_steps, body, begin)[0] / target

    for dt in (1.0, 0.25):
        ratios = final(jnp.arange(n), jnp.full(n, dt), jnp.full(n, round(tau / dt)))
        mean, error = mean_and_error(np.asarray(ratios))
        assert abs(mean - (1.0 + (start_ratio - 1.0) * np.exp(-1.0))) < 4.0 * error < 0.05


def test_a_single_atom_keeps_three_degrees_of_freedom(key):
    mass = jnp.full((1, 1), 12.0)
    momentum = maxwell_boltzmann(mass, kT=KT, key=key)
    assert float(jnp.abs(momentum).min()) > 0.0
    assert (degrees_of_freedom(1), degrees_of_freedom(2)) == (3, 3)


def test_a_trajectory_is_differentiable(x64):
    """d(kinetic energy after 20 steps) / d(scale of the momenta) against a central difference."""
    integrator = ALL["nve"](DT)
    begin = start(integrator)

    def outcome(scale):
        scaled = begin.dynamics.set(momentum=scale * begin.dynamics.momentum)
        state = begin._replace(dynamics=scaled)
        return kinetic_energy(trajectory(integrator, state, 20, lambda s: None)[0].dynamics)

    step = 1e-5
    difference = (outcome(1.0 + step) - outcome(1.0 - step)) / (2.0 * step)
    assert float(jax.grad(outcome)(1.0)) == pytest.approx(float(difference), rel=1e-7)
