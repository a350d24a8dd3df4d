"""What changes in time: where it ends, what it conserves, what is refused."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jmlip.core import units
from jmlip.core.errors import ConfigError
from jmlip.data import read
from jmlip.md.config import MDConfig
from jmlip.md.ensembles import make_integrator
from jmlip.md.integrators import make_csvr, make_langevin
from jmlip.md.propagator import Level, levels_of
from jmlip.md.schedule import ramp, random_schedule, swing
from jmlip.md.simulate import simulate
from jmlip.md.state import kinetic_energy
from tests.md.systems import cluster, crystal, lennard_jones
from tests.md.test_rescaling import KT, N_ATOMS, begin, cluster_in_springs, ideal_gas, replicas

HEATING = ramp(KT, [(0.1, 3.0 * KT)], timestep_ps=0.001)  # in 100 steps


@pytest.mark.parametrize("step", [0, 30, 100, 5000])
def test_a_ramp_is_straight_between_its_points_and_then_constant(step):
    found = ramp(2.0, [(1.0, 4.0), (3.0, 1.0)], timestep_ps=0.05)(jnp.asarray(step))
    np.testing.assert_allclose(found, np.interp(0.05 * step, [0, 1, 3], [2, 4, 1]), rtol=1e-6)


@pytest.mark.parametrize(
    "make",
    [
        lambda kT: make_langevin(ideal_gas, dt=0.05, kT=kT, friction=20.0),
        lambda kT: make_csvr(ideal_gas, dt=0.05, kT=kT, tau=0.05),
    ],
    ids=["langevin", "csvr"],
)
def test_a_thermostat_follows_its_ramp(x64, make):
    """Strongly coupled: the temperature of a gas is that of the moment."""
    observe = lambda state: 2.0 * kinetic_energy(state.dynamics) / (3 * N_ATOMS - 3)
    for n_steps, expected in ((50, 2.0 * KT), (300, 3.0 * KT)):
        found = replicas(make(HEATING), 1000, n_steps, observe, cell=jnp.eye(3))
        error = found.std(ddof=1) / np.sqrt(len(found))
        assert abs(found.mean() - expected) < 4.0 * error + 0.02 * KT < 0.2 * KT


def test_energy_is_conserved_along_ramps_of_temperature_and_pressure(x64):
    """The work of a rising pressure and the heat are booked; the rest is the error of the step."""
    config = MDConfig(
        ensemble="npt", barostat="rescaling", timestep_fs=0.2, n_steps=1, dtype="float64",
        temperature_K=290.0, temperature_ramp=((0.04, 580.0),), tau_barostat_fs=20.0,
        pressure_GPa=1.0, pressure_ramp=((0.02, 30.0), (0.04, 20.0)),
        compressibility_per_GPa=0.005,
    )  # fmt: skip
    integrator = make_integrator(config, levels_of(cluster_in_springs))
    conserved = lambda s: s.energy + kinetic_energy(s.dynamics) + integrator.bath_energy(s)
    start = begin(integrator, 3, jnp.eye(3))
    end = jax.jit(lambda s: jax.lax.fori_loop(0, 200, lambda _, s: integrator.step(s), s))(start)
    assert int(end.dynamics.n_accepted) > 5
    # the ramp of the pressure alone has done work of 19 GPa times about a cubic angstrom, 0.12 eV
    assert abs(float(conserved(end) - conserved(start))) < 1e-3
    volume = float(jnp.linalg.det(end.cell))
    assert float(integrator.bath_energy(end) + end.heat) == pytest.approx(20.0 * units.GPA * volume)


@pytest.mark.parametrize("step", [0, 7, 40, 41, 123])
def test_a_swing_is_a_squared_sine_on_top(step):
    base = ramp(2.0, [(1.0, 4.0)], timestep_ps=0.05)
    found = swing(base, amplitude=3.0, period_ps=2.0, timestep_ps=0.05)(jnp.asarray(step))
    time = 0.05 * step
    expected = np.interp(time, [0, 1], [2, 4]) + 3.0 * np.sin(np.pi * time / 2.0) ** 2
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def half_of_it(positions, cell, neighbors):
    there = cluster_in_springs(positions, cell, neighbors)
    return there._replace(
        energy=0.5 * there.energy, forces=0.5 * there.forces, virial=0.5 * there.virial
    )


@pytest.mark.parametrize(
    "forces",
    [cluster_in_springs, [Level(cluster_in_springs, 3, whole=True), Level(half_of_it)]],
    ids=["one level", "two levels"],
)
def test_the_work_of_a_compression_is_booked(x64, forces):
    """Hardly any friction: what is left is the error of the step, small beside the work."""
    config = MDConfig(
        ensemble="langevin", timestep_fs=0.05, n_steps=1, dtype="float64", temperature_K=290.0,
        friction_per_ps=1e-9, density_ramp=((0.02, 1.5),), density_swing=(0.2, 0.03),
    )  # fmt: skip
    integrator = make_integrator(config, levels_of(forces), cell=jnp.eye(3))
    conserved = lambda s: s.energy + kinetic_energy(s.dynamics) + integrator.bath_energy(s)
    start = begin(integrator, 3, jnp.eye(3), len(levels_of(forces)))
    end = jax.jit(lambda s: jax.lax.fori_loop(0, 300, lambda _, s: integrator.step(s), s))(start)
    density = 1.5 + 0.2 * np.sin(np.pi * 0.015 / 0.03) ** 2 - 0.5 * 0.005 / 0.02
    assert float(jnp.linalg.det(end.cell)) == pytest.approx(1.0 / density, rel=1e-9)
    work = abs(float(integrator.bath_energy(end) - integrator.bath_energy(start)))
    assert abs(float(conserved(end) - conserved(start))) < 0.01 * work
    assert work > 0.05


def in_one_and_in_two(folder, structure, config, n_first):
    """Frames of a run, the same bytes in one go and with a restart after `n_first` steps."""
    whole, parts = folder / "whole.xyz", folder / "parts.xyz"
    simulate(lennard_jones(), structure, config, whole, progress=False)
    for n_steps in (n_first, config.n_steps):
        shorter = dataclasses.replace(config, n_steps=n_steps)
        simulate(lennard_jones(), structure, shorter, parts, restart=True, progress=False)
    assert whole.read_bytes() == parts.read_bytes()
    return read(whole)


def test_a_run_changes_its_density_and_restarts_bit_for_bit(tmp_path):
    config = MDConfig(
        ensemble="langevin", timestep_fs=2.0, n_steps=120, every=20, temperature_K=40.0,
        temperature_swing=(20.0, 0.1), density_ramp=((0.2, 1.2),), density_swing=(0.1, 0.4),
    )  # fmt: skip
    frames = in_one_and_in_two(tmp_path, crystal(), config, 50)
    for frame in frames:
        time = 1.0e-3 * frame.info["time_fs"]
        density = np.interp(time, [0.0, 0.2], [1.0, 1.2])
        density += 0.1 * np.sin(np.pi * time / 0.4) ** 2
        assert crystal().volume / frame.volume == pytest.approx(density, rel=1e-5)
    # atoms went with the cell: each is still near its site
    inside = frames[-1].positions @ np.linalg.inv(frames[-1].cell)
    sites = crystal().positions @ np.linalg.inv(crystal().cell)
    assert np.abs(inside - sites).max() < 0.1


def test_random_schedules_lie_in_their_ranges_and_are_configurations():
    rng = np.random.default_rng(1)
    for _ in range(20):
        fields = random_schedule(
            rng, length_ps=9.0, temperature_K=(100.0, 900.0), temperature_swing_K=(0.0, 300.0),
            density=(0.9, 1.1), density_swing=(-0.1, 0.1),
        )  # fmt: skip
        config = MDConfig(ensemble="langevin", timestep_fs=1.0, n_steps=9000, **fields)
        ((length, last),) = config.temperature_ramp
        assert (length, 100.0 <= last <= 900.0) == (9.0, True)
        assert 100.0 <= config.temperature_K <= 900.0
        assert 2.0 <= config.density_swing[1] <= 50.0


def test_a_run_along_a_ramp_is_hot_at_its_end_and_restarts_bit_for_bit(tmp_path):
    config = MDConfig(
        ensemble="langevin", timestep_fs=1.0, n_steps=300, every=10, temperature_K=10.0,
        temperature_ramp=((0.1, 200.0),), friction_per_ps=100.0,
    )  # fmt: skip
    frames = in_one_and_in_two(tmp_path, cluster(), config, 77)
    temperature = [frame.info["temperature_K"] for frame in frames]
    assert temperature[0] < 30.0
    assert 140.0 < np.mean(temperature[15:]) < 260.0


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"temperature_ramp": ()}, "temperature_ramp must hold points"),
        ({"temperature_ramp": ((0.0, 300.0),)}, "at rising times after 0"),
        ({"temperature_ramp": ((2.0, 300.0), (1.0, 400.0))}, "at rising times"),
        ({"temperature_ramp": ((1.0, 0.0),)}, "positive values"),
        ({"temperature_ramp": ((1.0, float("nan")),)}, "positive values"),
        ({"temperature_ramp": ((float("inf"), 300.0),)}, "rising times"),
        ({"pressure_ramp": ((1.0, 1.0),)}, "pressure_ramp means nothing in ensemble 'langevin'"),
        ({"temperature_swing": (-300.0, 1.0)}, "the temperature stays positive"),
        ({"temperature_swing": (10.0, 0.0)}, "a positive period"),
        ({"density_swing": (-1.0, 1.0)}, "the density stays positive"),
        ({"density_ramp": ((1.0, -0.5),)}, "positive values"),
        ({"ensemble": "csvr", "density_ramp": ((1.0, 1.5),)}, "density_ramp means nothing in"),
        ({"ensemble": "nose-hoover", "temperature_ramp": ((1.0, 9.0),)}, "temperature_ramp means"),
        (
            {"ensemble": "npt", "pressure_GPa": 1.0, "temperature_ramp": ((1.0, 9.0),)},
            "means nothing with barostat 'mtk'",
        ),
    ],
)
def test_impossible_ramps(changes, found):
    config = MDConfig(ensemble="langevin", timestep_fs=1.0, n_steps=10, temperature_K=300.0)
    with pytest.raises(ConfigError, match=found):
        dataclasses.replace(config, **changes)
