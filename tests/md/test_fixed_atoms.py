"""Atoms that the start structure fixes: whole runs, their files, what cannot be held."""

import dataclasses

import ase.io
import jax
import numpy as np
import pytest
from ase import units as ase_units
from ase.constraints import FixAtoms, FixBondLengths, FixCartesian

from jmlip.core.errors import ConfigError
from jmlip.data import from_atoms, read, to_atoms
from jmlip.data.trajectory_reading import read_trajectory
from jmlip.md.config import MDConfig
from jmlip.md.reversible import reversible_scan
from jmlip.md.simulate import simulate
from tests.contracts import test_integrators as contract
from tests.md.systems import cluster, content, crystal, fixed, lennard_jones

NVE = MDConfig(
    ensemble="nve",
    timestep_fs=1.0,
    n_steps=40,
    every=4,
    temperature_K=300.0,
    dtype="float64",
    chunk_seconds=1e-3,
)
LANGEVIN = dataclasses.replace(NVE, ensemble="langevin", dtype="float32")
ROWS = [0, 3, 7]


def go(structure, config, path, **options):
    return simulate(lennard_jones(), structure, config, path, progress=False, **options)


@pytest.mark.parametrize("suffix", [".xyz", ".h5md"])
def test_a_run_holds_them_and_its_frames_say_so(tmp_path, suffix):
    begin, path = fixed(crystal(), ROWS), tmp_path / f"t{suffix}"
    result = go(begin, NVE, path)
    frames = read(path)
    free = ~np.isin(np.arange(31), ROWS)
    for frame in (*frames, result.structure):
        np.testing.assert_array_equal(frame.positions[ROWS], begin.positions[ROWS])
        np.testing.assert_array_equal(frame.info["arrays"]["move_mask"], free)
        assert not frame.velocities[ROWS].any()
    last = frames[-1]
    assert (np.abs(last.positions - begin.positions)[free] > 1e-3).any(axis=1).all()
    total = [frame.info["conserved_energy"] for frame in frames]
    assert np.ptp(total) < 5e-3 * np.ptp([frame.energy for frame in frames])
    # forces are those of the potential, on all atoms
    (prediction,) = lennard_jones().predict([last], dtype="float64")
    np.testing.assert_allclose(last.forces, prediction.forces, atol=1e-6)
    assert (np.abs(last.forces[ROWS]) > 1e-3).any(axis=1).all()
    # of the free atoms alone, and without the 3 of a center of mass
    kelvin = 2.0 * last.info["kinetic_energy"] / (3 * 28 * ase_units.kB)
    assert last.info["temperature_K"] == pytest.approx(kelvin, rel=1e-9)
    np.testing.assert_array_equal(read_trajectory(path).fixed, ~free)
    assert "3 of 31 atoms held" in result.summary()


@pytest.mark.parametrize("suffix", [".xyz", ".h5md"])
def test_a_restart_holds_them(tmp_path, suffix):
    begin, whole, parts = fixed(crystal(), ROWS), tmp_path / f"w{suffix}", tmp_path / f"p{suffix}"
    go(begin, LANGEVIN, whole)
    go(begin, dataclasses.replace(LANGEVIN, n_steps=22), parts)
    for other in (crystal(), fixed(crystal(), ROWS[:2])):
        with pytest.raises(ConfigError, match="must use the start structure"):
            go(other, LANGEVIN, parts, restart=True)
    go(begin, LANGEVIN, parts, restart=True)
    assert content(parts) == content(whole)


def test_a_fixed_atom_as_ase_writes_it(tmp_path):
    """In extended XYZ, and velocities of fixed atoms are not taken."""
    atoms = to_atoms(cluster().replace(velocities=np.ones((13, 3))))
    atoms.set_constraint(FixAtoms([2]))
    ase.io.write(tmp_path / "start.extxyz", atoms)
    config = dataclasses.replace(NVE, temperature_K=None, n_steps=0)
    for k, begin in enumerate((from_atoms(atoms), read(tmp_path / "start.extxyz")[0])):
        velocities = go(begin, config, tmp_path / f"{k}.xyz").structure.velocities
        assert not velocities[2].any()
        np.testing.assert_allclose(np.delete(velocities, 2, axis=0), 1.0, rtol=1e-6)


def test_what_cannot_be_held_is_refused(tmp_path):
    atoms, npt = to_atoms(crystal()), dataclasses.replace(NVE, ensemble="npt", pressure_GPa=0.0)
    for constraint, config, message in (
        (FixAtoms([0, 3]), npt, "every atom moves with the cell, and the start structure fixes 2"),
        (FixAtoms(range(31)), NVE, "fixes all 31"),
        (FixCartesian(0, (False, False, True)), NVE, "along some directions"),
        (FixBondLengths([[0, 1]]), NVE, "FixBondLengths"),
    ):
        atoms.set_constraint(constraint)
        with pytest.raises(ConfigError, match=message):
            go(from_atoms(atoms), config, tmp_path / "t.xyz")
    assert not list(tmp_path.iterdir())


def test_a_trajectory_run_backwards_holds_them(x64):
    """On its grid too, and with the gradient of the ordinary steps."""
    begin = contract.start(contract.ALL["nve"](contract.DT), held=contract.HELD)

    def moved(scale, scan):
        dynamics = begin.dynamics.set(momentum=scale * begin.dynamics.momentum)
        return (scan(begin._replace(dynamics=dynamics)).dynamics.position ** 2).sum()

    backwards = lambda state: reversible_scan(contract.force_fn, state, 20, dt=contract.DT)[0]
    integrator = contract.ALL["nve"](contract.DT)
    plain = lambda state: contract.trajectory(integrator, state, 20, lambda s: None)[0]
    rows = list(contract.HELD)
    end = jax.jit(backwards)(begin).dynamics
    np.testing.assert_array_equal(end.position[rows, :], begin.dynamics.position[rows, :])
    np.testing.assert_allclose(end.position, plain(begin).dynamics.position, atol=1e-9)
    one, two = (jax.jit(jax.grad(lambda s, f=f: moved(s, f)))(1.0) for f in (backwards, plain))
    assert float(one) == pytest.approx(float(two), rel=1e-8)
