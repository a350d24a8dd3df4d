"""Batches: every system goes as it goes alone, whatever stands beside it and on which device."""

import dataclasses
import functools
import re

import jax
import numpy as np
import pytest

from jmlip.core.errors import ConfigError, DivergenceError, JmlipError
from jmlip.core.structure import Structure
from jmlip.data import read
from jmlip.graphs import systems
from jmlip.md.batch_simulate import replicate, simulate_batch
from jmlip.md.config import MDConfig
from jmlip.md.simulate import simulate
from jmlip.md.xyz import XYZWriter
from tests.md.systems import (
    cluster,
    colliding_clusters,
    content,
    crystal,
    fixed,
    lennard_jones,
    softer,
)

LANGEVIN = MDConfig(
    ensemble="langevin",
    timestep_fs=2.0,
    n_steps=60,
    every=7,
    temperature_K=300.0,
    dtype="float64",
    chunk_seconds=1e-3,
)
SAME = 1e-10
"""Angstrom after 60 steps in float64: the order of sums differs, nothing else may."""


def small() -> Structure:
    """Six atoms, of two elements, that begin with velocities of their own."""
    whole = colliding_clusters()
    return Structure(
        species=[6, 6, 8, 6, 6, 8], positions=whole.positions[:6], velocities=whole.velocities[:6]
    )


def with_(config, **changes):
    return dataclasses.replace(config, **changes)


def batch(structures, configs, path, **options):
    return simulate_batch(lennard_jones(), structures, configs, path, progress=False, **options)


def assert_each_as_alone(result, structures, configs, folder, *, which, inner=None):
    """Positions, velocities, cell and energies of some systems of a batch, from runs of each."""
    for k in which:
        path = folder / f"alone.{k}.xyz"
        simulate(lennard_jones(), structures[k], configs[k], path, inner=inner, progress=False)
        mine, ours = read(result.trajectories[k]), read(path)
        assert [f.info["step"] for f in mine] == [f.info["step"] for f in ours]
        for name in ("positions", "velocities", "cell"):
            one, two = getattr(mine[-1], name), getattr(ours[-1], name)
            np.testing.assert_allclose(one, two, atol=SAME, err_msg=name)
        for name in ("conserved_energy", "temperature_K"):
            assert mine[-1].info[name] == pytest.approx(ours[-1].info[name], rel=1e-9)
        assert np.abs(mine[-1].positions - mine[0].positions).max() > 0.1


@pytest.mark.parametrize("ensemble", ["langevin", "csvr", "nose-hoover"])
def test_a_system_of_a_batch_goes_as_it_goes_alone(tmp_path, ensemble):
    """Six and thirteen atoms side by side, some held, at their own temperatures and seeds."""
    config = with_(LANGEVIN, ensemble=ensemble)
    structures = [small(), cluster(), fixed(cluster(), [0, 4, 7])]
    if ensemble == "nose-hoover":
        structures = [fixed(cluster(), [k, 4, 7]) for k in range(3)]
    configs = [with_(config, temperature_K=t, seed=s) for t, s in ((200, 5), (400, 2), (600, 9))]
    result = batch(structures, configs, tmp_path / "b.xyz")
    assert [path.name for path in result.trajectories] == ["b.0.xyz", "b.1.xyz", "b.2.xyz"]
    assert_each_as_alone(result, structures, configs, tmp_path, which=(0, 2))


def test_a_system_of_a_batch_with_two_time_steps_goes_as_it_goes_alone(tmp_path):
    """Six and thirteen atoms, some held, three small steps in each time step."""
    structures = [small(), fixed(cluster(), [0, 4, 7])]
    config = with_(LANGEVIN, timestep_fs=4.0, n_inner=3)
    configs = [with_(config, temperature_K=t, seed=s) for t, s in ((200, 5), (600, 9))]
    result = batch(structures, configs, tmp_path / "b.xyz", inner=softer())
    assert_each_as_alone(result, structures, configs, tmp_path, which=(0, 1), inner=softer())


@pytest.mark.parametrize("barostat", ["mtk", "rescaling"])
def test_a_system_of_a_batch_at_constant_pressure_goes_as_it_goes_alone(tmp_path, barostat):
    """Each in a cell of its own, of other shape and size."""
    npt = {"pressure_GPa": 1.0, "tau_barostat_fs": 200.0, "cell_motion": "full"}
    config = with_(LANGEVIN, ensemble="npt", barostat=barostat, **npt)
    stretch = np.diag([1.02, 1.0, 1.01])
    structures = [crystal(), crystal().replace(**_times(crystal(), stretch))]
    configs = [with_(config, temperature_K=t, seed=s) for t, s in ((200, 5), (600, 9))]
    result = batch(structures, configs, tmp_path / "b.xyz")
    for k in (0, 1):
        cell = read(result.trajectories[k])[-1].cell
        assert np.abs(cell - structures[k].cell).max() > 1e-3
    assert_each_as_alone(result, structures, configs, tmp_path, which=(0, 1))


def _times(structure: Structure, strain: np.ndarray) -> dict[str, np.ndarray]:
    return {"positions": structure.positions @ strain, "cell": structure.cell @ strain}


THREE = [small(), cluster(), small()]


@pytest.mark.parametrize("suffix", [".xyz", ".h5md"])
def test_a_batch_in_two_parts_is_the_batch_in_one(tmp_path, suffix):
    """With exchanges, chunks of any length, cut anywhere: bit for bit."""
    config = with_(LANGEVIN, ensemble="csvr", dtype="float32")
    starts, configs = replicate([small()], config, temperatures_K=(300.0, 320.0, 340.0))
    whole, parts = tmp_path / f"whole{suffix}", tmp_path / f"parts{suffix}"
    ample = [with_(each, chunk_seconds=10.0) for each in configs]
    one = batch(starts, ample, whole, exchange_every=5)
    for n_steps in (38, 60):
        shorter = [with_(each, n_steps=n_steps) for each in configs]
        two = batch(starts, shorter, parts, exchange_every=5, restart=True)
    for a, b in zip(one.trajectories, two.trajectories, strict=True):
        assert content(a) == content(b)
    assert two.acceptance == one.acceptance
    assert min(one.acceptance) > 0.0
    assert one.mean_temperature_K == pytest.approx(two.mean_temperature_K, rel=1e-12)
    assert (one.n_steps, two.n_steps) == (60, 22)


@pytest.mark.parametrize("tight", ["list", "near"])
def test_an_overflowing_list_leaves_no_trace(tmp_path, monkeypatch, tight):
    """Slots of the list, or those of the pairs within the cutoff alone, become too few."""
    config = MDConfig(ensemble="nve", timestep_fs=2.0, n_steps=100, every=10)
    starts, configs = [small(), colliding_clusters()], [config, config]
    allocate = systems.allocate
    if tight == "near":
        tight_lists = functools.partial(allocate, capacity_factor=4.0)
        monkeypatch.setattr(systems, "allocate", tight_lists)
    grown = batch(starts, configs, tmp_path / "grown.xyz")
    ample = functools.partial(allocate, capacity_factor=4.0, near_factor=4.0)
    monkeypatch.setattr(systems, "allocate", ample)
    enough = batch(starts, configs, tmp_path / "enough.xyz")
    assert grown.n_compilations > enough.n_compilations == 2
    for a, b in zip(grown.trajectories, enough.trajectories, strict=True):
        assert content(a) == content(b)


def test_one_exploding_system_ends_all_at_the_last_good_step(tmp_path):
    thrown = Structure(
        species=[6, 6], positions=[[0, 0, 0], [3.0, 0, 0]], velocities=[[0, 0, 0], [-2.0, 0, 0]]
    )
    resting = cluster().replace(velocities=np.zeros((13, 3)))
    config = MDConfig(ensemble="nve", timestep_fs=4.0, n_steps=200, every=1)
    out = tmp_path / "t.xyz"
    for restart in (False, True):
        with (
            jax.debug_nans(False),
            pytest.raises(DivergenceError, match=r"in step (\d+) of .*t\.1\.xyz") as caught,
        ):
            batch([resting, thrown], [config] * 2, out, restart=restart)
        step = int(re.search(r"in step (\d+) of", str(caught.value)).group(1))
        for k in (0, 1):
            frames = read(tmp_path / f"t.{k}.xyz")
            assert [f.info["step"] for f in frames] == list(range(step))
            assert np.isfinite(frames[-1].forces).all()


def test_a_full_disk_ends_the_run_and_a_restart_makes_it_whole(tmp_path, monkeypatch):
    config = with_(LANGEVIN, ensemble="nve", dtype="float32", temperature_K=100.0)
    starts, configs = replicate([small()], config, n_replicas=2)
    whole = batch(starts, configs, tmp_path / "whole.xyz")
    append, room = XYZWriter.append, iter([True] * 3 + [False])

    def until_full(writer, frames):
        if next(room):
            return append(writer, frames)
        raise JmlipError(f"cannot write {writer._path}: No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(XYZWriter, "append", until_full)
        with pytest.raises(JmlipError, match=r"parts\.1\.xyz: No space left"):
            batch(starts, configs, tmp_path / "parts.xyz")
    parts = batch(starts, configs, tmp_path / "parts.xyz", restart=True)
    for a, b in zip(whole.trajectories, parts.trajectories, strict=True):
        assert content(a) == content(b)


def test_systems_that_do_not_go_together_are_refused(tmp_path):
    nve, out = with_(LANGEVIN, ensemble="nve"), tmp_path / "t.xyz"
    hoover = with_(LANGEVIN, ensemble="nose-hoover")
    ladder = [LANGEVIN, with_(LANGEVIN, temperature_K=310.0)]
    periodic = crystal()
    refused = [
        ("at least one structure", [], [], {}),
        ("and a configuration for each", THREE, [nve], {}),
        ("differ in temperature_K and seed only", THREE[:2], [nve, with_(nve, every=3)], {}),
        ("periodic along the same directions", [small(), periodic], [nve] * 2, {}),
        ("must have as many atoms", THREE, [hoover] * 3, {}),
        ("langevin and csvr", THREE, [nve] * 3, {"exchange_every": 5}),
        ("rising temperatures", THREE, [LANGEVIN] * 3, {"exchange_every": 5}),
        ("rising temperatures", [cluster(), fixed(cluster(), [0])], ladder, {"exchange_every": 5}),
        ("must fix as many", [cluster(), fixed(cluster(), [0])], [hoover] * 2, {}),
        ("fixes all 6", [small(), fixed(small(), range(6))], [nve] * 2, {}),
        ("exchange_every must be at least 1", THREE, [LANGEVIN] * 3, {"exchange_every": 0}),
    ]
    for message, starts, configs, options in refused:
        with pytest.raises(ConfigError, match=message):
            batch(starts, configs, out, **options)
    with pytest.raises(ConfigError, match="multiple of the 2 temperatures"):
        replicate([small()], LANGEVIN, n_replicas=3, temperatures_K=(300.0, 400.0))
    (tmp_path / "t.1.xyz").write_text("mine")
    with pytest.raises(ConfigError, match="must not exist yet"):
        batch(THREE, [LANGEVIN] * 3, out)
    assert [file.name for file in tmp_path.iterdir()] == ["t.1.xyz"]


def test_replicas_take_temperatures_in_turn_and_seeds_of_their_own():
    starts, configs = replicate(
        [small(), cluster()], with_(LANGEVIN, seed=3), n_replicas=4, temperatures_K=(300.0, 400.0)
    )
    assert [len(each.species) for each in starts] == [6] * 4 + [13] * 4
    assert [each.temperature_K for each in configs] == [300.0, 400.0] * 4
    assert [each.seed for each in configs] == list(range(3, 11))


@pytest.mark.parametrize("ensemble", ["nve", "nose-hoover"])
def test_replicas_that_would_be_the_same_are_refused(ensemble):
    moving = small().replace(velocities=np.ones((6, 3)))
    temperature = None if ensemble == "nve" else 300.0
    config = MDConfig(ensemble=ensemble, timestep_fs=1.0, n_steps=5, temperature_K=temperature)
    with pytest.raises(ConfigError, match="would all be the same"):
        replicate([moving], config, n_replicas=2)
    replicate([small().replace(velocities=None)], config, n_replicas=2)
    replicate([moving], with_(LANGEVIN, seed=3), n_replicas=2)
