"""The barostat: its conserved energy, the volume of an ideal gas."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jmlip.analysis.lines import log_log_slope
from jmlip.core import units
from jmlip.core.errors import ConfigError, DivergenceError
from jmlip.data import read
from jmlip.md.config import MDConfig
from jmlip.md.forces import allocate_neighbors, make_force_fn
from jmlip.md.npt import make_npt
from jmlip.md.simulate import simulate
from jmlip.md.state import Evaluation, kinetic_energy
from jmlip.md.velocities import masses, maxwell_boltzmann
from tests.compiling import optimized
from tests.md.systems import cluster, crystal, lennard_jones

MOTIONS = ("isotropic", "anisotropic", "full")
KT = 300.0 * units.KELVIN
PRESSURE = 1.0 * units.GPA


def start(integrator, structure, seed=0):
    positions, mass = jnp.asarray(structure.positions), jnp.asarray(masses(structure))
    momenta = maxwell_boltzmann(mass, kT=2.0 * KT, key=jax.random.key(seed))
    cell = jnp.asarray(structure.cell)
    pairs = allocate_neighbors(lennard_jones(), structure, positions, cell, skin=1.0)
    return integrator.init(positions, momenta, mass, cell, (pairs,), None)


def integrator_of(structure, motion, dt):
    return make_npt(
        make_force_fn(lennard_jones(), structure, dtype="float64", skin=1.0),
        dt=dt,
        kT=KT,
        pressure=PRESSURE,
        tau=20.0 * units.FS,
        tau_barostat=100.0 * units.FS,
        motion=motion,
    )


@pytest.mark.parametrize("motion", MOTIONS)
def test_error_of_the_conserved_energy_is_of_second_order(motion, x64):
    """And the cell moves as it may: the slope would be another with a wrong force on the cell."""
    structure = crystal()
    steps = np.array([1.0, 2.0, 4.0]) * units.FS

    @jax.jit  # once for all time steps
    def fifty_steps(state, dt):
        integrator = integrator_of(structure, motion, dt)

        def body(state, _):
            state = integrator.step(state)
            energy = state.energy + kinetic_energy(state.dynamics) + integrator.bath_energy(state)
            return state, energy

        return jax.lax.scan(body, state, length=50)

    def spread(dt):
        state = start(integrator_of(structure, motion, dt), structure)
        energies = []
        for _ in range(round(4.0 * units.FS / dt)):
            state, found = fifty_steps(state, dt)
            energies.append(found)
        assert all(int(pairs.status) == 0 for pairs in state.neighbors)
        return state.cell, float(jnp.std(jnp.concatenate(energies)))

    cells, spreads = zip(*(spread(dt) for dt in steps), strict=True)
    assert log_log_slope(steps, np.array(spreads)) == pytest.approx(2.0, abs=0.15)
    strain = np.linalg.solve(structure.cell, np.asarray(cells[0])) - np.eye(3)
    assert np.abs(strain).max() > 1e-3
    off_diagonal = strain - np.diag(np.diag(strain))
    assert (np.abs(off_diagonal).max() > 1e-5) == (motion == "full")
    assert (np.ptp(np.diag(strain)) > 1e-5) == (motion != "isotropic")


def test_the_volume_of_an_ideal_gas_is_gamma_distributed(x64):
    """With the center of mass at rest p(V) ~ V^(N - 1) exp(-P V / kT): the mean is N kT / P."""
    n, n_replicas, kT, pressure = 8, 2000, 0.025, 0.01
    zero = jnp.zeros(())
    nothing = lambda x, c, pairs: Evaluation(zero, jnp.zeros_like(x), jnp.zeros((3, 3)), pairs)
    integrator = make_npt(nothing, dt=0.05, kT=kT, pressure=pressure, tau=1.0, tau_barostat=2.0)

    def volume(seed):
        keys = jax.random.split(jax.random.key(seed), 2)
        mass = jnp.ones((n, 1))
        momenta = maxwell_boltzmann(mass, kT=kT, key=keys[0])
        begin = n * kT / pressure * jax.random.gamma(keys[1], n) / n
        cell = jnp.cbrt(begin) * jnp.eye(3)
        state = integrator.init(jnp.zeros((n, 3)), momenta, mass, cell, ((),), None)
        state = jax.lax.fori_loop(0, 2000, lambda _, s: integrator.step(s), state)
        return jnp.linalg.det(state.cell)

    volumes = np.asarray(optimized(jax.vmap(volume))(jnp.arange(n_replicas)))
    mean, error = volumes.mean(), volumes.std(ddof=1) / np.sqrt(n_replicas)
    assert abs(mean - n * kT / pressure) < 4.0 * error < 0.05 * mean
    assert stats.kstest(volumes, stats.gamma(n, scale=kT / pressure).cdf).pvalue > 1e-3


NPT = MDConfig(
    ensemble="npt",
    timestep_fs=2.0,
    n_steps=60,
    every=7,
    temperature_K=300.0,
    pressure_GPa=1.0,
    tau_barostat_fs=200.0,
    cell_motion="full",
    chunk_seconds=1e-3,
)


@pytest.mark.parametrize("suffix", [".xyz", ".h5md"])
def test_frames_carry_their_cell(tmp_path, suffix):
    path = tmp_path / f"t{suffix}"
    result = simulate(lennard_jones(), crystal(), NPT, path, progress=False)
    assert np.abs(result.structure.cell - crystal().cell).max() > 1e-3
    if suffix == ".xyz":
        frames = read(path)
        np.testing.assert_array_equal(frames[0].cell, crystal().cell.astype("float32"))
        assert np.abs(frames[-1].cell - frames[0].cell).max() > 1e-3


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"pressure_GPa": None}, "needs a finite pressure_GPa"),
        ({"pressure_GPa": float("inf")}, "needs a finite pressure_GPa"),
        ({"tau_barostat_fs": 0.0}, "tau_barostat_fs must be positive"),
        ({"n_inner": 2}, "n_inner means nothing with barostat"),
        ({"ensemble": "csvr"}, "pressure_GPa means nothing in ensemble"),
    ],
)
def test_impossible_configurations(changes, found):
    with pytest.raises(ConfigError, match=found):
        dataclasses.replace(NPT, **changes)


def test_a_cell_that_collapses_ends_the_run_at_the_last_good_step(tmp_path):
    """Dense already, with atoms that hardly repel each other, under a hopeless pressure."""
    potential, path = lennard_jones(), tmp_path / "t.xyz"
    weak = dataclasses.replace(potential, params=potential.params | {"epsilon": np.float32(5e-6)})
    dense = crystal().replace(positions=0.58 * crystal().positions, cell=0.58 * crystal().cell)
    config = dataclasses.replace(
        NPT, pressure_GPa=2000.0, tau_barostat_fs=3000.0, cell_motion=None, n_steps=200, every=1
    )
    for restart in (False, True):
        with pytest.raises(DivergenceError, match=r"must keep 0\.5 .*lower pressure_GPa") as caught:
            simulate(weak, dense, config, path, restart=restart, progress=False)
        volumes = [frame.volume / frame.n_atoms for frame in read(path)]
        assert 0.5 < volumes[-1] < 0.52
        assert (np.diff(volumes) < 0.0).all()
        assert f"in step {len(volumes)} it shrank" in str(caught.value)


def test_a_cluster_has_no_pressure(tmp_path):
    with pytest.raises(ConfigError, match="periodic in all directions"):
        simulate(lennard_jones(), cluster(), NPT, tmp_path / "t.xyz", progress=False)
