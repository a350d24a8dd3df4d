"""`jmlip analyse` on trajectories whose statistics are known, and on what lacks them."""

import csv

import jax
import numpy as np
import pytest
from ase.build import bulk

from jmlip.analysis.conductivity import flux_autocorrelation, thermal_conductivity
from jmlip.core import units
from jmlip.core.structure import Structure
from jmlip.data import from_atoms, write
from jmlip.data.trajectory_reading import read_trajectory
from jmlip.factory import load_potential, make_model
from jmlip.md.heat_flux import heat_flux
from jmlip.md.trajectory import Frames, open_trajectory
from jmlip.potentials.potential import initial_potential, save_potential

ALL = ("--rdf", "--adf", "O-O-O:4", "--msd", "--vacf", "--spectrum", "--energies")
N, LENGTH, TIMESTEP_FS, MASS = 400, 12.0, 10.0, 15.999
STEP = 0.05  # angstrom, standard deviation: D = STEP^2 / (2 dt) = 0.125 A^2/ps


def walkers(seed, *, n_atoms=30, n_frames=N, pbc=True):
    """Oxygen atoms that walk at random, with velocities of their own at 300 K."""
    rng, kT = np.random.default_rng(seed), 300.0 * units.KELVIN
    start = rng.uniform(0.0, LENGTH, (n_atoms, 3))
    positions = start + np.cumsum(rng.normal(size=(n_frames, n_atoms, 3)) * STEP, axis=0)
    velocities = rng.normal(size=positions.shape) * np.sqrt(kT / MASS)
    kinetic = 0.5 * MASS * np.sum(velocities**2, axis=(1, 2))
    potential = -400.0 * n_atoms + kT * rng.gamma(1.5 * n_atoms, size=n_frames)
    step = 20 * np.arange(n_frames)
    frames = Frames(
        step=step,
        time_fs=step * TIMESTEP_FS / 20,
        positions=positions,
        velocities=velocities,
        forces=np.zeros_like(positions),
        cell=np.broadcast_to(LENGTH * np.eye(3), (n_frames, 3, 3)),
        potential_energy=potential,
        kinetic_energy=kinetic,
        conserved_energy=-400.0 * n_atoms + 1e-3 * n_atoms * step * TIMESTEP_FS / 20000,
        temperature_K=2.0 * kinetic / (3 * n_atoms * units.KELVIN),
        pressure_GPa=0.1 + 0.02 * rng.normal(size=n_frames) if pbc else None,
    )
    cell = LENGTH * np.eye(3) if pbc else np.zeros((3, 3))
    return Structure(species=[8] * n_atoms, positions=start, cell=cell, pbc=[pbc] * 3), frames


def trajectory(path, seed, **options):
    structure, frames = walkers(seed, **options)
    open_trajectory(path, structure, mark=None).append(frames)
    return path


def table(path):
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def liquid(tmp_path_factory):
    return trajectory(tmp_path_factory.mktemp("analyse") / "liquid.h5md", 0)


def test_all_at_once_of_two_trajectories(jmlip, liquid, tmp_path):
    other = trajectory(tmp_path / "other.xyz", 1)
    out = tmp_path / "out"
    result = jmlip("analyse", liquid, other, *ALL, "--viscosity-mPa-s", 0.9, "--out", out)
    assert (result.code, result.err) == (0, "")
    names = ("rdf", "adf", "msd", "vacf", "spectrum", "energies", "means")
    for name in names:
        rows = table(out / f"{name}.csv")
        assert {row["trajectory"] for row in rows} == {str(liquid), str(other)}
        assert (name == "means") != (out / f"{name}.svg").exists()
    assert all(f"{name}\n" in result.out.replace(" ", "") for name in names[:3])
    assert "D of infinite size" in result.out


def test_numbers_are_those_of_the_process(jmlip, liquid, tmp_path):
    assert jmlip("analyse", liquid, *ALL, "--out", tmp_path).code == 0
    means = {row["quantity"]: row for row in table(tmp_path / "means.csv")}
    near = lambda name, value: (
        abs(float(means[name]["mean"]) - value) < 4 * float(means[name]["error"])
    )
    assert near("temperature, K", 300.0)
    assert near("pressure, GPa", 0.1)
    assert near("potential energy, eV/atom", -400.0 + 1.5 * 300 * units.KELVIN)
    assert near("heat capacity at constant volume, k/atom", 3.0)
    drift = float(means["drift of the conserved energy, meV/atom/ps"]["mean"])
    assert drift == pytest.approx(1.0, rel=1e-6)
    density = float(means["density, g/cm³"]["mean"])
    assert density == pytest.approx(30 * MASS * 1.66053907 / LENGTH**3, rel=1e-6)
    assert 1.0 <= float(means["temperature, K"]["inefficiency_frames"]) < 1.5

    msd = table(tmp_path / "msd.csv")
    lag, value, error = (
        np.array([float(row[name]) for row in msd]) for name in ("lag_ps", "msd_A2", "msd_error_A2")
    )
    assert lag[1] == pytest.approx(0.01)
    assert np.abs((value - 6 * 0.125 * lag)[1:] / error[1:]).max() < 5.0
    far = [row for row in table(tmp_path / "rdf.csv") if float(row["distance_A"]) > 3.0]
    g = np.array([float(row["g"]) for row in far])
    assert g.mean() == pytest.approx(1.0, abs=0.15)  # the walk hardly leaves its start


def test_bare_options_take_every_pair_and_every_bond(jmlip, tmp_path):
    water = Structure(
        species=[8, 1, 1],
        positions=[[0, 0, 0], [0.76, 0.59, 0], [-0.76, 0.59, 0]],
        cell=9.0 * np.eye(3),
        pbc=[True] * 3,
    )
    write(tmp_path / "w.xyz", [water])
    result = jmlip("analyse", tmp_path / "w.xyz", "--rdf", "--adf", "--out", tmp_path / "o")
    assert result.code == 0
    assert {row["pair"] for row in table(tmp_path / "o" / "rdf.csv")} == {"H-H", "H-O", "O-O"}
    assert {row["triple"] for row in table(tmp_path / "o" / "adf.csv")} == {"H-O-H"}
    assert "104.3" in result.out


def test_frames_are_skipped_and_thinned(jmlip, liquid, tmp_path):
    words = ("--energies", "--skip-ps", 2.0, "--every", 4)
    assert jmlip("analyse", liquid, *words, "--out", tmp_path).code == 0
    times = [
        float(row["time_ps"])
        for row in table(tmp_path / "energies.csv")
        if row["quantity"].startswith("temp")
    ]
    np.testing.assert_allclose(times, np.arange(2.0, 4.0, 0.04))


def test_what_does_not_diffuse_and_what_is_too_fast_is_noticed(jmlip, tmp_path):
    rng = np.random.default_rng(0)
    frames = [
        Structure(
            species=[1, 1],
            positions=rng.normal(size=(2, 3)),
            velocities=rng.normal(size=(2, 3)),
            info={"time_fs": 10.0 * k},
        )
        for k in range(100)
    ]
    write(tmp_path / "x.xyz", frames)
    result = jmlip("analyse", tmp_path / "x.xyz", "--msd", "--spectrum", "--out", tmp_path / "o")
    assert result.code == 0
    assert "notice: H in" in result.err
    assert "does not diffuse within 0.05 ps" in result.err
    assert "show vibrations up to 1668 1/cm" in result.err


BAD = {
    "no analysis": ("", 2, "needs at least one of --rdf, --adf"),
    "missing file": ("{t}/none.xyz --energies", 1, "no such file"),
    "the same twice": ("{liquid} --energies", 2, "TRAJ must name each file once"),
    "option of another": ("--msd --r-max 4", 2, "--r-max means nothing without --rdf"),
    "viscosity": ("--rdf --viscosity-mPa-s 1", 2, "--viscosity-mPa-s means nothing without --msd"),
    "unknown element": ("--rdf O-Q", 2, "'O-Q', with no element 'Q'"),
    "a path for a pair": ("--rdf run.xyz", 2, "trajectories come before options"),
    "absent element": ("--rdf O-H", 1, "must hold atoms of H, found O30"),
    "triple": ("--adf O-O", 2, "must be three chemical symbols, as in H-O-H, found 'O-O'"),
    "radius": ("--adf O-O-O:x", 2, "must be a number, found 'x'"),
    "no angles": ("--adf O-O-O:0.01", 1, "larger radius"),
    "one bin": ("--rdf --bins 1", 2, "must be at least 2"),
    "too much skipped": ("--energies --skip-ps 4", 2, "longer than the 4 ps to skip"),
    "too few frames": ("--msd --every 30", 1, "at least 16 frames, found 14"),
    "too long a lag": ("--msd --max-lag-ps 1", 1, "at most an eighth of the trajectory, 50 frames"),
    "out is a file": ("--energies --out {liquid}", 2, "--out must be a directory"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_sentence(jmlip, liquid, tmp_path, case):
    words, code, message = BAD[case]
    words = words.format(liquid=liquid, t=tmp_path).split()
    out = () if "--out" in words else ("--out", tmp_path / "out")
    result = jmlip("analyse", liquid, *words, *out)
    assert (result.code, message in result.err) == (code, True), result.err
    assert result.err.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("changes", "words", "message"),
    [
        ({}, "--vacf", "must hold velocities (columns momenta)"),
        ({"pbc": [False] * 3}, "--rdf", "needs the density of a cell"),
        ({"info": {}}, "--msd", "must say the time of each frame"),
        ({"info": {}}, "--energies", "must say the time of each frame"),
        ({}, "--energies", None),
        ({}, "--msd --viscosity-mPa-s 1", "must hold temperature_K or velocities"),
    ],
)
def test_extended_xyz_without_what_is_needed(jmlip, tmp_path, changes, words, message):
    atom = Structure(species=[18], positions=np.zeros((1, 3)), cell=9 * np.eye(3), pbc=[True] * 3)
    frames = [
        atom.replace(**{"info": {"time_fs": 5.0 * k}, "positions": [[0.1 * k, 0, 0]], **changes})
        for k in range(40)
    ]
    write(tmp_path / "x.xyz", frames)
    result = jmlip("analyse", tmp_path / "x.xyz", *words.split(), "--out", tmp_path / "o")
    assert result.code == (0 if message is None else 1), result.err
    assert (message or "") in result.err


def broken(structure, frames, path, **changes):
    open_trajectory(path, structure, mark=None).append(frames._replace(**changes))
    return path


@pytest.mark.parametrize("suffix", [".xyz", ".h5md"])
def test_exchanged_replicas_show_structure_but_no_motion(jmlip, tmp_path, suffix):
    structure, frames = walkers(0, n_atoms=4, n_frames=60)
    exchanged = np.arange(60) // 30
    path = broken(structure, frames, tmp_path / f"t{suffix}", replica=exchanged)
    result = jmlip("analyse", path, "--rdf", "--energies", "--out", tmp_path / "o")
    assert (result.code, "drift" in result.out) == (0, False)
    for words in ("--msd", "--vacf", "--spectrum"):
        result = jmlip("analyse", path, words, "--out", tmp_path / "o")
        assert (result.code, "replicas were exchanged" in result.err) == (1, True)
    still = broken(structure, frames, tmp_path / f"s{suffix}", replica=0 * exchanged)
    assert jmlip("analyse", still, "--msd", "--energies", "--out", tmp_path / "o").code == 0


def test_numbers_that_mean_nothing_are_named(jmlip, tmp_path):
    structure, frames = walkers(0, n_atoms=4, n_frames=60)
    hot, late = frames.temperature_K.copy(), frames.time_fs.copy()
    hot[7], late[30:] = np.nan, late[:30]
    for changes, words, message in (
        ({"temperature_K": hot}, "--energies", "must be finite in every frame"),
        ({"time_fs": late}, "--energies", "must rise"),
        ({"time_fs": late}, "--rdf --skip-ps 0.1", "must rise"),
        ({"time_fs": late * np.nan}, "--msd", "must rise"),
        ({"velocities": 0.0 * frames.velocities}, "--spectrum", "must not all be zero"),
    ):
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.h5md"
        broken(structure, frames, path, **changes)
        result = jmlip("analyse", path, *words.split(), "--out", tmp_path / "o")
        assert (result.code, message in result.err) == (1, True), result.err


def test_one_frame_and_a_cell_that_changes(jmlip, tmp_path):
    atom = Structure(species=[18], positions=np.zeros((1, 3)), cell=9 * np.eye(3), pbc=[True] * 3)
    frames = [
        atom.replace(cell=(9 + 0.1 * k) * np.eye(3), info={"time_fs": 5.0 * k}) for k in range(40)
    ]
    write(tmp_path / "one.xyz", frames[:1])
    write(tmp_path / "cell.xyz", frames)
    out = ("--out", tmp_path / "o")
    assert "several frames for motion" in jmlip("analyse", tmp_path / "one.xyz", "--msd", *out).err
    assert "must stay the same" in jmlip("analyse", tmp_path / "cell.xyz", "--msd", *out).err
    assert jmlip("analyse", tmp_path / "cell.xyz", "--rdf", "--energies", *out).code == 0
    assert "density" in (tmp_path / "o" / "means.csv").read_text()


@pytest.fixture(scope="module")
def argon(tmp_path_factory):
    """A potential, and a short trajectory of a crystal whose atoms tremble."""
    place = tmp_path_factory.mktemp("argon")
    model = make_model("lennard-jones", {"species": [8], "cutoff": 5.0})
    potential = initial_potential(
        "lennard-jones", model, key=jax.random.key(0), reference_energies=(0.0,)
    )
    save_potential(potential, place / "potential")
    _, frames = walkers(2, n_atoms=8, n_frames=40)
    sites = from_atoms(bulk("O", "fcc", a=6.0, cubic=True) * (1, 1, 2))
    positions = sites.positions + 0.05 * np.random.default_rng(0).normal(size=(40, 8, 3))
    cell = np.broadcast_to(sites.cell, (40, 3, 3))
    frames = frames._replace(positions=positions, cell=cell)
    open_trajectory(place / "run.h5md", sites, mark=None).append(frames)
    return place


def test_conductivity_is_that_of_the_flux_of_every_frame(jmlip, argon, tmp_path):
    path = argon / "run.h5md"
    done = jmlip("analyse", path, "--heat-flux", argon / "potential", "--out", tmp_path / "a")
    assert done.code == 0, done.err
    found = read_trajectory(path)
    velocities = next(iter(found.velocities.by_frames()))
    structures = [
        s.replace(velocities=v) for s, v in zip(found.structures(), velocities, strict=True)
    ]
    flux = heat_flux(load_potential(argon / "potential"), structures).total
    kappa = thermal_conductivity(
        flux_autocorrelation(flux, 3),
        timestep_ps=0.01,
        volume=432.0,
        temperature_K=found.observables["temperature_K"].mean(),
    )
    rows = table(tmp_path / "a" / "conductivity.csv")
    assert [float(row["kappa_W_mK"]) for row in rows] == pytest.approx([*kappa.value[0]])
    assert (tmp_path / "a" / "conductivity.svg").exists()


def test_conductivity_is_one_of_bulk(jmlip, argon, tmp_path):
    path = trajectory(tmp_path / "open.h5md", 3, n_atoms=3, n_frames=40, pbc=False)
    done = jmlip("analyse", path, "--heat-flux", argon / "potential", "--out", tmp_path / "a")
    assert done.code == 1
    assert "periodic in three directions" in done.err
    assert not (tmp_path / "a").exists()
