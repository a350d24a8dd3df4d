"""The demonstration, small: aluminium by EMT from data to report; its data, its pictures."""

import h5py
import jax
import numpy as np
import pytest
from ase.build import bulk, molecule

from jmlip.cli import demo_figures
from jmlip.cli.demo_data import ALUMINIUM, ETHANOL, Trajectory, choose_system, run_engine
from jmlip.cli.demo_steps import Sizes, make_data, run_demo, train
from jmlip.data import from_atoms, read

SMALL = Sizes(
    n_train=10,
    n_test=4,
    every=1,
    n_features=4,
    n_interactions=1,
    max_rank=1,
    max_epochs=2,
    nve_ps=0.02,
    nvt_ps=0.02,
)


@pytest.fixture
def in_this_process(monkeypatch):
    """One process per trajectory costs more than these trajectories."""
    run_all = lambda system, trajectories: [run_engine(system, t) for t in trajectories]
    monkeypatch.setattr("jmlip.cli.demo_steps.sample", run_all)


@pytest.mark.filterwarnings("ignore:atoms came as close")  # so little is learned
def test_demo_from_data_to_report_and_again(tmp_path, capsys, in_this_process, monkeypatch):
    out = tmp_path / "demo"
    with jax.numpy_rank_promotion("allow"), jax.debug_nans(False):
        run_demo(ALUMINIUM, out, SMALL)
    told = capsys.readouterr().out
    assert "tblite is not installed" in told
    assert [f"[{n}/5]" in told for n in range(1, 6)] == [True] * 5
    assert "held-out" in told
    page = (out / "report.html").read_text(encoding="utf-8")
    for title in ("Parity", "Learning curves", "Energy conservation", "Structure in dynamics"):
        assert f"<h2>{title}</h2>" in page
    with h5py.File(out / "md" / "nve.h5") as file:
        assert len(file["observables/conserved_energy/value"]) == 3
    # data and training are taken up where they ended
    monkeypatch.setattr("jmlip.cli.demo_steps.sample", None)
    before = (out / "run" / "potential" / "params.safetensors").read_bytes()
    make_data(ALUMINIUM, out / "data", SMALL)
    train(ALUMINIUM, out, SMALL)
    assert "found, not made again" in capsys.readouterr().out
    assert (out / "run" / "potential" / "params.safetensors").read_bytes() == before


def test_other_sizes_make_other_data(tmp_path, in_this_process):
    make_data(ALUMINIUM, tmp_path, SMALL)
    make_data(ALUMINIUM, tmp_path, SMALL._replace(n_train=3))
    assert len(read(tmp_path / "training.xyz")) == 3


def test_engine_labels_are_its_own_at_the_positions_written():
    pytest.importorskip("tblite")
    from tblite.ase import TBLite

    assert choose_system() is ETHANOL
    frames = run_engine(ETHANOL, Trajectory(500.0, 2, 3, 0))
    atoms = molecule("CH3CH2OH")
    atoms.positions = frames[-1].positions
    atoms.calc = TBLite(method="GFN2-xTB", verbosity=0)
    assert frames[-1].energy == pytest.approx(atoms.get_potential_energy(), abs=1e-5)
    np.testing.assert_allclose(frames[-1].forces, atoms.get_forces(), atol=1e-4)
    assert not np.allclose(frames[0].positions, frames[1].positions, atol=1e-3)


def test_without_tblite_aluminium_is_chosen(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert choose_system() is ALUMINIUM


def test_bonds_of_ethanol_are_found_and_normalized():
    start = from_atoms(molecule("CH3CH2OH"))
    rng = np.random.default_rng(0)
    frames = start.positions + 0.02 * rng.normal(size=(50, 9, 3))
    panels = demo_figures.bond_lengths(start, {"engine": frames, "potential": frames})
    assert [panel.title for panel in panels] == ["C-C", "C-H", "C-O", "H-O"]
    for panel in panels:
        width = panel.centers[1] - panel.centers[0]
        assert panel.density["engine"].sum() * width == pytest.approx(1.0, abs=0.02)
    distance = start.positions[0] - start.positions[1]
    mean = np.average(panels[0].centers, weights=panels[0].density["engine"])
    assert mean == pytest.approx(np.linalg.norm(distance), abs=0.02)


def test_radial_distribution_counts_the_shells_of_a_crystal():
    start = from_atoms(bulk("Al", "fcc", a=4.05, cubic=True) * (2, 2, 2))
    (panel,) = demo_figures.radial_distribution(start, {"engine": start.positions[None]})
    edges = panel.centers - 0.5 * (panel.centers[1] - panel.centers[0])
    width = panel.centers[1] - panel.centers[0]
    volumes = 4.0 / 3.0 * np.pi * ((edges + width) ** 3 - edges**3)
    counts = panel.density["engine"] * volumes * 32 / start.volume
    shells = [(2.5, 3.2, 12), (3.6, 4.3, 6), (4.6, 5.3, 24)]
    for low, high, expected in shells:
        inside = (panel.centers > low) & (panel.centers < high)
        assert counts[inside].sum() == pytest.approx(expected, rel=1e-9)


def test_pictures_draw():
    time_ps = np.linspace(0.0, 1.0, 50)
    potential, total = np.sin(20.0 * time_ps), 1e-3 * np.sin(9.0 * time_ps)
    figure = demo_figures.energy_conservation(time_ps, potential, total, drift=1e-3)
    assert "drift +1.0e-03 meV/atom/ps" in figure.axes[1].get_title(loc="left")
    centers, values = np.linspace(0.0, 1.0, 10), np.ones(10)
    panel = demo_figures.Distribution("C-C", centers, {"a": values, "b": values}, "1/Å")
    assert len(demo_figures.distributions([panel, panel]).axes) == 2
