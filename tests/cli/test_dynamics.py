"""`jmlip md` and `jmlip relax`: hydrogen molecules that vibrate and come to rest."""

import dataclasses
import shutil

import jax
import numpy as np
import pytest

from jmlip.data import read, write
from jmlip.factory import load_potential, make_model
from jmlip.potentials.ensembles import write_ensemble
from jmlip.potentials.potential import initial_potential, save_potential
from tests.cli.molecules import BOND

pytestmark = pytest.mark.filterwarnings("always:atoms came as close")
# the potential is steep at bonds shorter than those in training, hence the short step
NVE = ("--ensemble", "nve", "--timestep-fs", 0.125, "--steps", 400, "--every", 40)


@pytest.fixture(autouse=True)
def rank_promotion():
    with jax.numpy_rank_promotion("allow"):  # jax-md relies on it
        yield


def length(structure):
    return np.linalg.norm(structure.positions[1] - structure.positions[0])


def test_nve_writes_a_trajectory_that_conserves_energy(jmlip, folder, potential, tmp_path):
    out = tmp_path / "nve.xyz"
    words = ("--temperature-K", 300, "--dtype", "float64", "--out", out)
    result = jmlip("md", potential, folder / "held-out.xyz", *NVE, *words)
    assert result.code == 0
    assert "meV/atom/ps" in result.err
    # from a bond of 1.0 it swings to one shorter than those in training
    assert result.err.count("notice: atoms came as close as 0.") == 1
    frames = read(out)
    assert len(frames) == 11
    total = np.array([f.energy + f.info["kinetic_energy"] for f in frames])
    exchanged = np.ptp([f.energy for f in frames])
    assert np.ptp(total) < 0.05 * exchanged


def test_an_atom_that_the_start_fixes_stays(jmlip, folder, potential, tmp_path):
    start = read(folder / "held-out.xyz")[0]
    mask = {"arrays": {"move_mask": np.array([False, True])}}
    write(tmp_path / "start.xyz", [start.replace(info=mask)])
    out = tmp_path / "held.xyz"
    words = ("--temperature-K", 300, "--steps", 10, "--every", 5, "--out", out)
    result = jmlip("md", potential, tmp_path / "start.xyz", *NVE, *words)
    assert result.code == 0, result.err
    first, *_, last = read(out)
    np.testing.assert_array_equal(last.positions[0], first.positions[0])
    assert np.abs(last.positions[1] - first.positions[1]).max() > 1e-4


def test_restart_goes_on_to_the_same_end(jmlip, folder, potential, tmp_path):
    start = folder / "held-out.xyz"
    langevin = ("--ensemble", "langevin", "--temperature-K", 300, "--timestep-fs", 0.25)
    more = (*langevin, "--every", 20, "--seed", 4)
    for name, stages in (("whole", [(200,)]), ("parts", [(100,), (200, "--restart")])):
        for steps, *restart in stages:
            words = ("--steps", steps, "--out", tmp_path / f"{name}.xyz", *restart)
            assert jmlip("md", potential, start, *more, *words).code == 0
    assert (tmp_path / "whole.xyz").read_bytes() == (tmp_path / "parts.xyz").read_bytes()


def test_a_ramp_of_the_temperature_is_followed(jmlip, folder, potential, tmp_path):
    out, start = tmp_path / "ramp.xyz", folder / "held-out.xyz"
    csvr = ("--ensemble", "csvr", "--tau-fs", 2, "--timestep-fs", 0.25, "--steps", 400)
    ramp = ("--temperature-K", 600, "--temperature-ramp", "0.02:600,0.03:6", "--every", 20)
    assert jmlip("md", potential, start, *csvr, *ramp, "--out", out).code == 0
    kinetic = [frame.info["kinetic_energy"] for frame in read(out)]
    assert np.mean(kinetic[-10:]) < 0.1 * np.mean(kinetic[:5])


def test_tables_are_written_and_read(jmlip, folder, tmp_path):
    """A MACE as initialized."""
    model = make_model("mace", {"species": [1], "n_channels": 2, "cutoff": 3.0})
    whole = initial_potential("mace", model, key=jax.random.key(0), reference_energies=(0.0,))
    save_potential(whole, tmp_path / "mace")
    result = jmlip("tabulate", tmp_path / "mace", "--out", tmp_path / "table")
    assert (result.code, "of the largest" in result.out) == (0, True)
    frames, table = read(folder / "held-out.xyz"), load_potential(tmp_path / "table")
    for exact, found in zip(whole.predict(frames), table.predict(frames), strict=True):
        scale = np.abs(exact.forces).max()
        np.testing.assert_allclose(found.forces, exact.forces, atol=1e-4 * scale)
        assert (found.forces != exact.forces).any()


def test_relax_finds_the_bond_length(jmlip, folder, potential, tmp_path):
    out = tmp_path / "relaxed.xyz"
    result = jmlip("relax", potential, folder / "held-out.xyz", "--out", out, "--fmax-eV-A", 1e-3)
    assert result.code == 0
    (relaxed,) = read(out)
    assert length(relaxed) == pytest.approx(BOND, abs=0.01)
    assert np.abs(relaxed.forces).max() < 1e-3
    assert length(read(folder / "held-out.xyz")[-1]) != pytest.approx(BOND, abs=0.01)


def test_a_relaxation_that_ends_too_soon_leaves_its_last_structure(
    jmlip, folder, potential, tmp_path
):
    out = tmp_path / "r.xyz"
    words = ("--steps", 1, "--fmax-eV-A", 1e-9)
    result = jmlip("relax", potential, folder / "held-out.xyz", "--out", out, *words)
    assert (result.code, "allow more steps" in result.err) == (1, True)
    assert f"{out} holds the last one" in result.err
    assert read(out)[0].forces is not None


def test_the_start_is_the_frame_that_is_named(jmlip, folder, potential, tmp_path):
    start = folder / "held-out.xyz"
    frames = read(start)
    for index, words in ((-1, ()), (3, ("--index", 3)), (-2, ("--index", -2))):
        out = tmp_path / f"{index}.xyz"
        result = jmlip(
            "md", potential, start, *NVE, "--steps", 0, "--temperature-K", 300, "--out", out, *words
        )
        assert result.code == 0
        np.testing.assert_allclose(read(out)[0].positions, frames[index].positions, atol=1e-6)
    result = jmlip("relax", potential, start, "--out", tmp_path / "r.xyz", "--index", 20)
    assert (result.code, "none of the 20 frames" in result.err) == (1, True)


def test_a_committee_that_differs_ends_the_run(jmlip, folder, potential, tmp_path):
    one = load_potential(potential)
    other = dataclasses.replace(one, params=jax.tree.map(lambda x: 1.01 * x, one.params))
    write_ensemble([one, other], tmp_path / "committee")
    words = ("--steps", 0, "--temperature-K", 300, "--out", tmp_path / "c.xyz")
    words += ("--dtype", "float64", "--committee", tmp_path / "committee", "--max-spread")
    assert jmlip("md", potential, folder / "held-out.xyz", *NVE, *words, 1e3).code == 0
    (tmp_path / "c.xyz").unlink()
    shutil.rmtree(tmp_path / "c.xyz.restart")
    result = jmlip("md", potential, folder / "held-out.xyz", *NVE, *words, 1e-6)
    assert (result.code, "potentials of the committee differed by" in result.err) == (1, True)
    assert len(read(tmp_path / "c.xyz")) == 1


LANGEVIN = ("--ensemble", "langevin", "--timestep-fs", 0.25, "--every", 10)


def test_replicas_at_temperatures_are_exchanged_and_restarted(jmlip, folder, potential, tmp_path):
    start, ladder = folder / "held-out.xyz", ("--temperatures-K", "300,330", "--exchange-every", 5)
    for name, stages in (("whole", [(40,)]), ("parts", [(20,), (40, "--restart")])):
        for steps, *restart in stages:
            words = ("--replicas", 4, "--steps", steps, "--out", tmp_path / f"{name}.xyz", *restart)
            result = jmlip("md", potential, start, *LANGEVIN, *ladder, *words)
            assert result.code == 0
    assert "exchanges accepted" in result.err
    assert "parts.0.xyz ... parts.3.xyz" in result.out
    for k in range(4):
        whole, parts = (tmp_path / f"{name}.{k}.xyz" for name in ("whole", "parts"))
        assert whole.read_bytes() == parts.read_bytes()
        assert len(read(whole)) == 5


def test_options_of_a_batch_that_contradict_are_refused(jmlip, folder, potential, tmp_path):
    words = (*LANGEVIN, "--steps", 5, "--out", tmp_path / "t.xyz")
    for options, message in (
        (("--temperatures-K", "300,400", "--replicas", 3), "multiple of the 2 temperatures"),
        (("--temperatures-K", "400,300", "--exchange-every", 5), "in ascending order"),
        (("--temperatures-K", "300,500,400", "--exchange-every", 5), "in ascending order"),
        (("--temperature-K", 300, "--all-frames", "--index", 0), "remove one of them"),
        (("--temperature-K", 300, "--exchange-every", 5), "rising temperatures"),
        (("--temperature-K", 300, "--temperatures-K", "300,400"), "not allowed with"),
        (("--temperatures-K", "300,hot"), "must be a number"),
        (("--replicas", 0, "--temperature-K", 300), "must be positive"),
    ):
        result = jmlip("md", potential, folder / "held-out.xyz", *words, *options)
        assert result.code != 0
        assert message in result.err
    assert not list(tmp_path.iterdir())
