"""The stochastic barostat: what it conserves, the cells that it samples, how it fails."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jmlip.analysis.lines import log_log_slope
from jmlip.core.errors import ConfigError
from jmlip.md.config import MDConfig
from jmlip.md.rescaling import STEPS_BETWEEN, make_rescaled
from jmlip.md.simulate import simulate
from jmlip.md.state import Evaluation, kinetic_energy
from jmlip.md.velocities import maxwell_boltzmann
from tests.compiling import optimized
from tests.contracts.test_integrators import NO_NEIGHBORS, energy
from tests.md.systems import crystal, lennard_jones
from tests.md.test_simulate import softer

KT, PRESSURE, N_ATOMS, SPRING = 0.025, 0.01, 8, 5.0


def ideal_gas(positions, cell, neighbors):
    del cell
    zero = jnp.zeros((), positions.dtype)
    return Evaluation(zero, jnp.zeros_like(positions), jnp.zeros((3, 3)), neighbors)


def cluster_in_springs(positions, cell, neighbors):
    """Atoms that hold together, in a cell that has springs of its own: each ignores the other."""
    springs = lambda cell: SPRING * ((cell - jnp.eye(3)) ** 2).sum()
    of_atoms, by_position = jax.value_and_grad(energy)(positions)
    of_cell, by_cell = jax.value_and_grad(springs)(cell)
    virial = positions.T @ by_position + cell.T @ by_cell
    return Evaluation(of_atoms + of_cell, -by_position, 0.5 * (virial + virial.T), neighbors)


def make(force_fn, **changes):
    options = {"dt": 0.05, "kT": KT, "pressure": PRESSURE, "tau": 0.5, "tau_barostat": 2.0}
    return make_rescaled(force_fn, **{**options, "compressibility": 100.0, **changes})


def begin(integrator, seed, cell, n_levels=1):
    keys = jax.random.split(jax.random.key(seed), 3)
    mass = jnp.ones((N_ATOMS, 1))
    momenta = maxwell_boltzmann(mass, kT=KT, key=keys[0])
    positions = 0.1 * jax.random.normal(keys[2], (N_ATOMS, 3))
    return integrator.init(positions, momenta, mass, cell, n_levels * NO_NEIGHBORS, keys[1])


def replicas(integrator, n_replicas, n_steps, observe, *, cell):
    """What independent runs end with."""

    def one(seed):
        state = begin(integrator, seed, cell)
        return observe(jax.lax.fori_loop(0, n_steps, lambda _, s: integrator.step(s), state))

    return jax.tree.map(np.asarray, optimized(jax.vmap(one))(jnp.arange(n_replicas)))


@pytest.mark.parametrize(("compressibility", "least"), [(100.0, 0.8), (1000.0, 0.2)])
def test_the_volume_of_an_ideal_gas_is_gamma_distributed(x64, compressibility, least):
    """p(V) ~ V^(N - 1) exp(-P V / kT); steps far too long for the diffusion only cost moves."""
    integrator, n_steps = make(ideal_gas, compressibility=compressibility), 600
    observe = lambda state: (jnp.linalg.det(state.cell), state.dynamics.n_accepted)
    cell = jnp.cbrt(N_ATOMS * KT / PRESSURE) * jnp.eye(3)
    volumes, moves = replicas(integrator, 1000, n_steps, observe, cell=cell)
    assert least < moves.mean() / (n_steps // STEPS_BETWEEN) < 1.0
    mean, error = volumes.mean(), volumes.std(ddof=1) / np.sqrt(len(volumes))
    assert abs(mean - N_ATOMS * KT / PRESSURE) < 4.0 * error < 0.05 * mean
    gamma = stats.gamma(N_ATOMS, scale=KT / PRESSURE)
    assert stats.kstest(volumes, gamma.cdf).pvalue > 1e-3


@pytest.mark.parametrize("motion", ["anisotropic", "full"])
def test_edges_of_a_cell_on_springs_are_normally_distributed(x64, motion):
    """Without pressure p(L) ~ exp(-k (L_a - 1)^2 / kT) for each edge that stretches.

    A cell of any shape has <V (P_int - P)> = -kT 1: the integral of a derivative is 0.
    """
    options = {"pressure": 0.0, "compressibility": 1.0 / SPRING, "motion": motion}
    integrator = make(cluster_in_springs, **options, dt=0.1)

    def observe(state):
        velocity = state.dynamics.momentum / state.dynamics.mass
        return state.cell, state.dynamics.momentum.T @ velocity - state.virial

    cells, drives = replicas(integrator, 1000, 500, observe, cell=jnp.eye(3))
    if motion == "anisotropic":
        assert not cells[:, ~np.eye(3, dtype=bool)].any()
        normal = stats.norm(1.0, np.sqrt(0.5 * KT / SPRING))
        for axis in range(3):
            assert stats.kstest(cells[:, axis, axis], normal.cdf).pvalue > 1e-3
    else:
        error = drives.std(axis=0, ddof=1) / np.sqrt(len(drives))
        assert (4.0 * error < 3.0 * KT).all()
        assert (np.abs(drives.mean(axis=0) + KT * np.eye(3)) < 4.0 * error).all()
        assert np.std(cells[:, 0, 1]) > 0.5 * np.std(cells[:, 0, 0])


def test_error_of_the_conserved_energy_is_of_second_order(x64):
    """Moves of the cell are booked to the last digit, so only the step of the atoms shows."""
    steps = np.array([0.02, 0.04, 0.08])

    @jax.jit
    def deviation(seed, dt, n_steps):
        integrator = make(cluster_in_springs, compressibility=0.2, dt=dt)
        conserved = lambda s: s.energy + kinetic_energy(s.dynamics) + integrator.bath_energy(s)
        state = begin(integrator, seed, jnp.eye(3))
        end = jax.lax.fori_loop(0, n_steps, lambda _, s: integrator.step(s), state)
        return (conserved(end) - conserved(state)) ** 2

    def spread(dt):
        found = jax.vmap(deviation, (0, None, None))(jnp.arange(200), dt, round(4.0 / dt))
        return float(jnp.sqrt(found.mean()))

    spreads = np.array([spread(dt) for dt in steps])
    assert log_log_slope(steps, spreads) == pytest.approx(2.0, abs=0.2)


RESCALING = MDConfig(
    ensemble="npt",
    barostat="rescaling",
    timestep_fs=2.0,
    n_steps=60,
    temperature_K=300.0,
    pressure_GPa=20.0,
    tau_barostat_fs=100.0,
    n_inner=2,
    dtype="float64",
    skin=0.3,
)


@pytest.mark.slow
def test_a_cell_that_shrinks_gets_larger_lists(tmp_path):
    """Two levels of forces: the end is what the whole potential says of it."""
    wide = crystal()
    wide = wide.replace(positions=1.2 * wide.positions, cell=1.2 * wide.cell)
    options = {"inner": softer(), "progress": False}
    result = simulate(lennard_jones(), wide, RESCALING, tmp_path / "t.xyz", **options)
    assert result.structure.volume < 0.95 * wide.volume
    assert result.n_compilations > 2
    (expected,) = lennard_jones().predict([result.structure], dtype="float64")
    assert result.structure.energy == pytest.approx(expected.energy, abs=1e-9)
    np.testing.assert_allclose(result.structure.forces, expected.forces, atol=1e-9)


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"compressibility_per_GPa": 0.0}, "compressibility_per_GPa must be positive"),
        ({"chain_length": 3}, "chain_length means nothing with barostat 'rescaling'"),
        ({"barostat": "mtk"}, "n_inner means nothing with barostat 'mtk'"),
        (
            {"barostat": None, "n_inner": None, "compressibility_per_GPa": 1.0},
            "with barostat 'mtk'",
        ),
        ({"ensemble": "csvr", "pressure_GPa": None}, "means nothing in ensemble 'csvr'"),
        ({"pressure_GPa": None}, "needs a finite pressure_GPa"),
    ],
)
def test_impossible_configurations(changes, found):
    with pytest.raises(ConfigError, match=found):
        dataclasses.replace(RESCALING, **changes)
