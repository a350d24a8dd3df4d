"""Whole runs: against ASE, taken up again, with neighbor lists that overflow, into explosions."""

import dataclasses
import functools
import json
import re
import signal

import ase.io
import jax
import numpy as np
import pytest
from ase import units as ase_units
from ase.calculators.lj import LennardJones
from ase.md.verlet import VelocityVerlet

from jmlip.core.errors import ConfigError, DivergenceError, JmlipError, PotentialError
from jmlip.core.lock import only_writer
from jmlip.core.structure import Structure
from jmlip.data import read, to_atoms
from jmlip.graphs import device_neighbors
from jmlip.md import progress
from jmlip.md.config import MDConfig
from jmlip.md.run import Run
from jmlip.md.simulate import simulate
from tests.md.systems import cluster, colliding_clusters, content, crystal, lennard_jones, softer

NVE = MDConfig(ensemble="nve", timestep_fs=1.0, n_steps=100, every=10, temperature_K=300.0)


def go(structure, config, path, **options):
    return simulate(lennard_jones(), structure, config, path, progress=False, **options)


def with_(config, **changes):
    return dataclasses.replace(config, **changes)


def test_nve_equals_ase_with_its_own_lennard_jones(tmp_path):
    config = with_(NVE, dtype="float64", temperature_K=2000.0)
    result = go(crystal(), config, tmp_path / "t.xyz")
    atoms = to_atoms(read(tmp_path / "t.xyz", index=0)[0])
    params = lennard_jones().params  # in float32, so that 0.05 is not 0.05
    sigma, epsilon = float(params["sigma"][1]), float(params["epsilon"])
    atoms.calc = LennardJones(sigma=sigma, epsilon=epsilon, rc=4.5, ro=3.0, smooth=True)
    VelocityVerlet(atoms, timestep=1.0 * ase_units.fs).run(100)
    moved = np.abs(result.structure.positions - crystal().positions).max()
    assert moved > 0.25  # half the skin: the neighbor list was renewed on the way
    np.testing.assert_allclose(result.structure.positions, atoms.positions, atol=1e-8)
    np.testing.assert_allclose(result.structure.velocities, atoms.get_velocities(), atol=1e-8)
    np.testing.assert_allclose(result.structure.forces, atoms.get_forces(), atol=1e-7)


def test_energy_does_not_drift(tmp_path):
    """10 ps at 0.25 fs in float64: the energy stays within 0.01 meV per atom and ps."""
    config = MDConfig(
        ensemble="nve", timestep_fs=0.25, n_steps=40_000, temperature_K=200.0, dtype="float64"
    )
    result = go(cluster(), config, tmp_path / "t.h5")
    assert abs(result.drift_meV_per_atom_ps) < 0.01
    assert 50.0 < result.mean_temperature_K < 200.0  # it is bound, and half of it went into bonds


def test_frames_carry_energies_with_references_and_the_pressure(tmp_path):
    result = go(crystal(), with_(NVE, dtype="float64"), tmp_path / "t.xyz")
    frames = read(tmp_path / "t.xyz")
    assert [frame.info["step"] for frame in frames] == list(range(0, 101, 10))
    (prediction,) = lennard_jones().predict([frames[-1]], dtype="float64")
    last, n = frames[-1], 31
    assert last.energy == pytest.approx(prediction.energy, abs=1e-9)
    assert result.structure.energy == last.energy
    kinetic = 0.5 * (to_atoms(last).get_masses()[:, None] * last.velocities**2).sum()
    assert last.info["kinetic_energy"] == pytest.approx(kinetic, rel=1e-12)
    kelvin = 2.0 * kinetic / ((3 * n - 3) * ase_units.kB)
    assert last.info["temperature_K"] == pytest.approx(kelvin, rel=1e-12)
    pressure = 2.0 * kinetic / 3.0 / last.volume - np.trace(prediction.stress) / 3.0
    assert last.info["pressure_GPa"] == pytest.approx(pressure / ase_units.GPa, rel=1e-9)
    np.testing.assert_allclose(last.forces, prediction.forces, atol=1e-10)


def test_an_inner_potential_goes_on_in_small_steps(tmp_path):
    """The same potential inside leaves nothing outside: plain dynamics with the small step."""
    small = with_(NVE, dtype="float64", timestep_fs=0.5, n_steps=40, every=4)
    plain = go(crystal(), small, tmp_path / "plain.xyz")
    outer = with_(small, timestep_fs=2.0, n_steps=10, every=1, n_inner=4)
    split = go(crystal(), outer, tmp_path / "split.xyz", inner=lennard_jones())
    np.testing.assert_allclose(split.structure.positions, plain.structure.positions, atol=1e-9)
    assert split.structure.energy == pytest.approx(plain.structure.energy, abs=1e-9)
    assert [f.info["time_fs"] for f in read(tmp_path / "split.xyz")] == [2.0 * k for k in range(11)]


def test_a_run_with_an_inner_potential_in_two_parts(tmp_path):
    config = with_(THERMOSTATED, n_inner=3, timestep_fs=3.0)
    whole, parts = tmp_path / "whole.h5md", tmp_path / "parts.h5md"
    go(crystal(), with_(config, chunk_seconds=10.0), whole, inner=softer())
    for n_steps in (38, 60):
        go(crystal(), with_(config, n_steps=n_steps), parts, inner=softer(), restart=True)
    assert content(parts) == content(whole)
    with pytest.raises(ConfigError, match="must use the potential"):
        go(crystal(), config, parts, inner=lennard_jones(), restart=True)


@pytest.mark.parametrize(
    ("n_inner", "inner", "message"),
    [
        (2, None, "found a potential of kind"),
        (None, lennard_jones, "needs n_inner"),
    ],
)
def test_inner_potential_and_number_of_its_steps_go_together(tmp_path, n_inner, inner, message):
    with pytest.raises(ConfigError, match=message):
        go(crystal(), with_(NVE, n_inner=n_inner), tmp_path / "t.xyz", inner=inner and inner())


THERMOSTATED = MDConfig(
    ensemble="csvr", timestep_fs=1.0, n_steps=60, every=7, temperature_K=500.0, chunk_seconds=1e-3
)


@pytest.mark.parametrize(
    ("ensemble", "suffix"),
    [
        ("nve", ".xyz"),
        ("langevin", ".h5md"),
        ("nose-hoover", ".xyz"),
        ("csvr", ".h5md"),
        ("npt", ".h5md"),
        ("npt rescaling", ".xyz"),
    ],
)
def test_a_run_in_two_parts_is_the_run_in_one(tmp_path, ensemble, suffix):
    """Chunks of any length, cut anywhere, from a checkpoint: bit for bit."""
    ensemble, _, barostat = ensemble.partition(" ")
    options = {"pressure_GPa": 1.0, "tau_barostat_fs": 100.0, "barostat": barostat or None}
    config = with_(THERMOSTATED, ensemble=ensemble, **(options if ensemble == "npt" else {}))
    whole, parts = tmp_path / f"whole{suffix}", tmp_path / f"parts{suffix}"
    one = go(crystal(), with_(config, chunk_seconds=10.0), whole)
    for n_steps in (38, 60):
        two = go(crystal(), with_(config, n_steps=n_steps), parts, restart=True)
    assert content(parts) == content(whole)
    np.testing.assert_array_equal(two.structure.velocities, one.structure.velocities)
    assert two.drift_meV_per_atom_ps == pytest.approx(one.drift_meV_per_atom_ps, rel=1e-9)
    assert two.n_steps == 22


def test_a_signal_ends_the_run_after_its_chunk(tmp_path, monkeypatch):
    config = with_(THERMOSTATED, n_steps=60)
    whole, parts = tmp_path / "whole.xyz", tmp_path / "parts.xyz"
    go(crystal(), config, whole)
    advance = Run.advance

    def hit(run):
        signal.raise_signal(signal.SIGTERM)
        advance(run)

    with monkeypatch.context() as patch:
        patch.setattr(Run, "advance", hit)
        with pytest.raises(KeyboardInterrupt):
            go(crystal(), config, parts)
    assert 0 < read(parts)[-1].info["step"] < 60
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    go(crystal(), config, parts, restart=True)
    assert content(parts) == content(whole)


@pytest.mark.parametrize("tight", ["list", "near"])
def test_an_overflowing_list_leaves_no_trace(tmp_path, monkeypatch, tight):
    """Slots of the list, or those of the pairs within the cutoff alone, become too few."""
    config = MDConfig(ensemble="nve", timestep_fs=2.0, n_steps=100, every=10)
    allocate = device_neighbors.allocate
    if tight == "near":
        tight_list = functools.partial(allocate, capacity_factor=4.0)
        monkeypatch.setattr(device_neighbors, "allocate", tight_list)
    grown = go(colliding_clusters(), config, tmp_path / "grown.xyz")
    ample = functools.partial(allocate, capacity_factor=4.0, near_factor=4.0)
    monkeypatch.setattr(device_neighbors, "allocate", ample)
    enough = go(colliding_clusters(), config, tmp_path / "enough.xyz")
    assert grown.n_compilations > enough.n_compilations == 2
    assert content(tmp_path / "grown.xyz") == content(tmp_path / "enough.xyz")


def test_atoms_closer_than_in_training_are_reported_once(tmp_path):
    """The start structure and everything after it lies below what training is said to know."""
    near = float(np.linalg.norm(crystal().positions[0] - crystal().positions, axis=1)[1:].min())
    known = 1.2 * near
    potential = dataclasses.replace(lennard_jones(), statistics={"shortest_distance": known})
    config = with_(NVE, chunk_seconds=1e-3)
    with pytest.warns(UserWarning, match=f"as close as {near:.3f} angstrom .step 0.") as warned:
        result = simulate(potential, crystal(), config, tmp_path / "t.xyz", progress=False)
    assert len(warned) == 1
    frames = [to_atoms(frame) for frame in read(tmp_path / "t.xyz")]
    shortest = [frame.get_all_distances(mic=True)[np.triu_indices(31, 1)].min() for frame in frames]
    assert result.closest.distance == pytest.approx(min(shortest), abs=1e-5)
    assert result.closest.step == 10 * int(np.argmin(shortest))
    assert f"closer than any in the training data ({known:.3f})" in result.summary()
    potential = dataclasses.replace(potential, statistics={"shortest_distance": min(shortest)})
    assert simulate(potential, crystal(), config, tmp_path / "u.xyz").closest is None


def test_a_single_frame_tells_no_drift(tmp_path):
    summary = go(crystal(), with_(NVE, n_steps=5), tmp_path / "t.xyz").summary()
    assert "nan" not in summary
    assert "one frame tells no drift" in summary


@pytest.fixture
def nans_allowed():
    with jax.debug_nans(False):
        yield


def test_an_explosion_is_reported_with_its_step(tmp_path, nans_allowed):
    """One atom thrown at another: no good step after they meet."""
    thrown = Structure(
        species=[6, 6], positions=[[0, 0, 0], [3.0, 0, 0]], velocities=[[0, 0, 0], [-2.0, 0, 0]]
    )
    config = MDConfig(ensemble="nve", timestep_fs=4.0, n_steps=200, every=1)
    out = tmp_path / "t.xyz"
    with pytest.raises(DivergenceError, match=r"in step (\d+) an atom moved more than"):
        go(thrown, config, out)
    frames = read(out)
    steps = [frame.info["step"] for frame in frames]
    assert 0 < steps[-1] < 20
    assert np.abs(np.diff([f.positions for f in frames], axis=0)).max() < 0.5
    checkpoint = json.loads((tmp_path / "t.xyz.restart" / "restart.json").read_text())
    assert checkpoint["state"] == f"state-{steps[-1]}.safetensors"
    with pytest.raises(DivergenceError, match=f"in step {steps[-1] + 1} an atom"):
        go(thrown, config, out, restart=True)


def test_positions_that_lose_digits_are_refused(tmp_path):
    far = crystal().replace(positions=crystal().positions + 1.0e4)
    with pytest.raises(ConfigError, match="within 419 angstrom of the origin"):
        go(far, NVE, tmp_path / "t.xyz")
    result = go(far, with_(NVE, dtype="float64"), tmp_path / "t.xyz")
    near = go(crystal(), with_(NVE, dtype="float64"), tmp_path / "near.xyz")
    moved = result.structure.positions - 1.0e4
    np.testing.assert_allclose(moved, near.structure.positions, atol=1e-7)


def test_two_runs_do_not_write_one_trajectory(tmp_path):
    go(crystal(), NVE, tmp_path / "t.xyz")
    before = (tmp_path / "t.xyz").read_bytes()
    with (
        only_writer(tmp_path / "t.xyz.restart"),
        pytest.raises(ConfigError, match="being written by another process"),
    ):
        go(crystal(), with_(NVE, n_steps=200), tmp_path / "t.xyz", restart=True)
    assert (tmp_path / "t.xyz").read_bytes() == before


def test_a_checkpoint_changed_by_hand_is_refused(tmp_path):
    go(crystal(), NVE, tmp_path / "t.xyz")
    path = tmp_path / "t.xyz.restart" / "restart.json"
    path.write_text(path.read_text().replace('"statistics": [', '"statistics": [1.0, ', 1))
    with pytest.raises(JmlipError, match=r"restart\.json is damaged"):
        go(crystal(), with_(NVE, n_steps=200), tmp_path / "t.xyz", restart=True)


def test_labels_of_the_start_are_not_carried_along(tmp_path):
    arrays = {"dft_forces": np.ones((31, 3)), "tags": np.arange(31)}
    go(crystal().replace(info={"arrays": arrays, "angle": 4.2}), NVE, tmp_path / "t.xyz")
    last = read(tmp_path / "t.xyz")[-1]
    assert set(last.info["arrays"]) == {"tags"}
    assert "angle" not in last.info


def test_atoms_on_top_of_each_other_are_refused(tmp_path, nans_allowed):
    on_top = Structure(species=[6, 6], positions=np.zeros((2, 3)))
    with pytest.raises(PotentialError, match="atoms 0 and 1 of the start structure 0 angstrom"):
        go(on_top, NVE, tmp_path / "t.xyz")


def test_an_existing_file_is_kept(tmp_path):
    (tmp_path / "t.xyz").write_text("mine")
    for restart in (False, True):
        with pytest.raises(ConfigError, match=r"t\.xyz"):
            go(crystal(), NVE, tmp_path / "t.xyz", restart=restart)
    assert (tmp_path / "t.xyz").read_text() == "mine"


def test_a_restart_of_another_run_is_refused(tmp_path):
    path = tmp_path / "t.xyz"
    go(crystal(), with_(NVE, n_steps=20), path)
    before = path.read_bytes()
    moved = crystal().replace(positions=crystal().positions + 0.1)
    other = dataclasses.replace(lennard_jones(), reference_energies=(0.0, 0.0, 0.0))
    again = lambda potential, structure, config: simulate(
        potential, structure, config, path, restart=True, progress=False
    )
    with pytest.raises(
        ConfigError, match=r"must use the timestep_fs that .* was begun with, .*, found "
    ):
        again(lennard_jones(), crystal(), with_(NVE, timestep_fs=0.5))
    with pytest.raises(ConfigError, match="must use the start structure"):
        again(lennard_jones(), moved, NVE)
    with pytest.raises(ConfigError, match="must use the potential"):
        again(other, crystal(), NVE)
    with pytest.raises(ConfigError, match="at least the 20 steps"):
        again(lennard_jones(), crystal(), with_(NVE, n_steps=10))
    assert path.read_bytes() == before
    with pytest.raises(ConfigError, match="must not exist yet"):
        go(crystal(), NVE, path)


def test_velocities_of_the_start(tmp_path):
    given = crystal().replace(velocities=np.random.default_rng(0).normal(size=(31, 3)))
    hot = with_(NVE, temperature_K=3000.0, n_steps=0, dtype="float64")
    kept = go(given, with_(hot, temperature_K=None), tmp_path / "kept.xyz").structure
    drawn = go(given, hot, tmp_path / "drawn.xyz").structure
    rest = given.velocities.mean(axis=0)  # all masses are equal
    np.testing.assert_allclose(kept.velocities, given.velocities - rest, atol=1e-14)
    np.testing.assert_allclose(drawn.velocities.mean(axis=0), 0.0, atol=1e-14)
    assert np.abs(drawn.velocities - kept.velocities).max() > 0.1
    with pytest.raises(ConfigError, match="NVE needs velocities"):
        go(crystal(), with_(hot, temperature_K=None), tmp_path / "none.xyz")


def test_masses_of_isotopes_are_used(tmp_path):
    """Deuterium, given as ASE gives it, is half as fast in the square as hydrogen."""
    pair = Structure(species=[1, 1], positions=[[0, 0, 0], [1.5, 0, 0]])
    heavy = pair.replace(info={"arrays": {"masses": np.array([2.014, 2.014])}})
    config = with_(NVE, n_steps=0)
    light = go(pair, config, tmp_path / "h.xyz").structure
    slow = go(heavy, config, tmp_path / "d.xyz").structure
    ratio = (slow.velocities / light.velocities) ** 2
    np.testing.assert_allclose(ratio, 1.008 / 2.014, rtol=1e-5)
    atoms = ase.io.read(tmp_path / "d.xyz")
    np.testing.assert_allclose(atoms.get_velocities(), slow.velocities, rtol=1e-6)


def test_an_unknown_element_is_refused(tmp_path):
    with pytest.raises(PotentialError, match="Au"):
        go(Structure(species=[79], positions=np.zeros((1, 3))), NVE, tmp_path / "t.xyz")
    assert not list(tmp_path.iterdir())


def test_without_a_terminal_lines_tell_how_far_a_run_is(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.0)
    config = with_(NVE, chunk_seconds=1e-3)
    simulate(lennard_jones(), crystal(), config, tmp_path / "t.xyz")
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "MD from step 0 to 100, compiling"
    assert re.fullmatch(r"MD step \d+ of 100, left: 0:\d\d:\d\d", lines[1])
    assert lines[-3].startswith("MD step 100 of 100")
    assert "ns/day" in lines[-2]


def test_figures_of_speed(tmp_path):
    result = go(crystal(), NVE, tmp_path / "t.xyz")
    per_step = result.seconds / 100
    assert result.us_per_atom_step == pytest.approx(1e6 * per_step / 31)
    assert result.ns_per_day == pytest.approx(86400 / per_step * 1.0 * 1e-6)
    assert "ns/day" in result.summary()
    assert "2 compilations" in result.summary()
