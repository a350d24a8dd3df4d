"""Sign of forces and the curation report, on sets labelled with ASE's EMT and on real ones."""

import dataclasses
import json
import os
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.emt import EMT

from jmlip.core.structure import Structure
from jmlip.data import Subset, check_force_sign, curate, from_atoms, read

DATA = Path(os.environ.get("JMLIP_DATA", Path(__file__).parents[3] / "shared" / "data"))


def labelled(atoms: Atoms) -> Structure:
    atoms.calc = EMT()
    atoms.get_forces()
    return from_atoms(atoms).replace(info={}, atomic_energies=None)


def rattled_molecules(n: int, *, rotate: bool) -> list[Structure]:
    rng = np.random.default_rng(0)
    frames = []
    for _ in range(n):
        atoms = molecule("C2H6")
        atoms.positions += rng.normal(scale=0.05, size=(8, 3))
        if rotate:
            atoms.rotate(rng.uniform(0, 360), rng.normal(size=3))
        frames.append(labelled(atoms))
    return frames


def rattled_crystals(n: int) -> list[Structure]:
    frames = []
    for seed in range(n):
        atoms = bulk("Cu", cubic=True) * (2, 1, 1)
        atoms.rattle(0.05, seed=seed)
        atoms.wrap()
        frames.append(labelled(atoms))
    return frames


def strained_crystals(n: int) -> list[Structure]:
    """Every cell another: no two frames can be compared, only bonds speak."""
    frames = []
    for seed in range(n):
        atoms = bulk("Cu", cubic=True) * (2, 1, 1)
        atoms.set_cell(atoms.cell * (1 + 0.002 * seed), scale_atoms=True)
        atoms.rattle(0.05, seed=seed)
        frames.append(labelled(atoms))
    return frames


SETS = {
    "molecules": lambda: rattled_molecules(40, rotate=False),
    "rotated molecules": lambda: rattled_molecules(40, rotate=True),
    "crystals": lambda: rattled_crystals(30),
    "strained crystals": lambda: strained_crystals(20),
}


@pytest.mark.parametrize("name", SETS)
def test_forces_and_gradients_are_told_apart(name):
    frames = SETS[name]()
    right = check_force_sign(frames)
    assert right.verdict == "forces", right.message
    wrong = check_force_sign([s.replace(forces=-s.forces) for s in frames])
    assert wrong.verdict == "gradients"
    assert wrong.energy_slope == pytest.approx(-right.energy_slope)
    assert "forces_are_gradients=True" in wrong.message
    if name != "strained crystals":
        assert right.energy_slope == pytest.approx(1.0, abs=0.2)


def test_forces_alone_are_judged_by_bonds():
    frames = [s.replace(energy=None) for s in rattled_crystals(10)]
    assert check_force_sign(frames).verdict == "forces"
    turned = [s.replace(forces=-s.forces) for s in frames]
    assert check_force_sign(turned).verdict == "gradients"


def test_noise_and_silence_are_unclear():
    rng = np.random.default_rng(1)  # not the seed of the displacements
    frames = rattled_molecules(40, rotate=False)
    noise = [s.replace(forces=rng.normal(size=s.forces.shape)) for s in frames]
    assert check_force_sign(noise).verdict == "unclear"
    assert check_force_sign([s.replace(forces=None) for s in frames]).verdict == "unclear"
    assert check_force_sign([s.replace(forces=0 * s.forces) for s in frames]).verdict == "unclear"
    assert check_force_sign(frames[:1]).verdict == "unclear"


@pytest.mark.parametrize(
    ("energy", "forces", "guess"),
    [
        (1.0, 1.0 / 51.4221, "forces were in hartree/bohr"),
        (1.0, 1.0 / 27.2114, "forces were in hartree/angstrom"),
        (1.0, 0.529177, "forces were in eV/bohr"),
        (1.0, 23.0605, "forces were in kcal/mol/angstrom"),
        (23.0605, 1.0, "energies were in kcal/mol"),
        (1.0 / 27.2114, 1.0, "energies were in hartree"),
    ],
)
def test_forces_in_other_units_than_energies_are_named(energy, forces, guess):
    frames = rattled_molecules(40, rotate=False)
    assert check_force_sign(frames).unit_hint == ""
    wrong = [s.replace(energy=energy * s.energy, forces=forces * s.forces) for s in frames]
    found = check_force_sign(wrong)
    assert f"as if {guess}; check the units" in found.unit_hint
    assert found.unit_hint in found.message


def test_few_pairs_say_nothing_about_units():
    frames = [s.replace(forces=2.5 * s.forces) for s in rattled_crystals(40)]
    found = check_force_sign(frames)
    assert "check the units" in found.message
    assert "check the units" not in dataclasses.replace(found, n_pairs=4).message


def spoiled_set() -> list[Structure]:
    frames = rattled_molecules(30, rotate=False)
    cosine, sine = np.cos(1.0), np.sin(1.0)
    turn = np.array([[cosine, sine, 0], [-sine, cosine, 0], [0, 0, 1]])
    order = [1, 0, *range(2, 8)]  # the two carbon atoms
    frames.append(frames[3])  # 30: exact duplicate
    moved = frames[4].positions[order] @ turn + 5.0
    frames.append(frames[4].replace(positions=moved, forces=frames[4].forces[order] @ turn))  # 31
    frames[5] = frames[5].replace(energy=frames[5].energy + 30.0)
    frames[6] = frames[6].replace(forces=frames[6].forces + 50.0)
    positions = frames[7].positions.copy()
    positions[7] = positions[6] + [0.2, 0, 0]
    frames[7] = frames[7].replace(positions=positions, forces=None)
    return frames


def test_the_report_finds_each_fault_and_no_other():
    report = curate(spoiled_set())
    assert (report.n_structures, report.n_atoms) == (32, 256)
    assert report.missing == {"energy": 0, "forces": 1, "stress": 32, "atomic_energies": 32}
    assert report.exact_duplicates == ((3, 30),)
    assert report.near_duplicates == ((4, 31),)
    assert [i for i, _ in report.energy_outliers] == [5]
    assert [i for i, _ in report.force_outliers] == [6]
    assert report.largest_forces[0][0] == 6
    assert [i for i, _ in report.net_forces] == [6]
    assert report.net_force_max == pytest.approx(8 * 50 * np.sqrt(3), rel=1e-6)
    assert report.short_distances == ((7, "H-H 0.200"),)
    assert report.force_sign.verdict == "forces"


def test_the_report_is_text_and_json():
    report = curate(spoiled_set()[28:])
    text = str(report)
    for word in ("exact duplicates", "net force rms, max", "sign of forces", "stress 4"):
        assert word in text
    values = json.loads(json.dumps(report.to_dict()))
    assert values["missing"]["stress"] == 4


def test_a_set_without_labels_is_reported():
    frames = [s.replace(forces=None, energy=None) for s in rattled_crystals(3)]
    report = curate(frames)
    assert (report.net_force_rms, report.force_sign, report.largest_forces) == (None, None, ())
    assert "no forces" in str(report)
    assert "force_sign" not in report.to_dict()


def test_near_duplicates_are_found_in_periodic_cells():
    frames = rattled_crystals(4)
    shifted = frames[1].positions + np.array([1.0, 0.5, 7.0])
    frames.append(frames[1].replace(positions=shifted))
    assert curate(frames).near_duplicates == ((1, 4),)


@pytest.mark.skipif(not DATA.is_dir(), reason="needs the reference data (JMLIP_DATA)")
@pytest.mark.parametrize("name", ["water", "acac", "mlearn", "mad", "ethanol_ccsdt"])
def test_real_sets_have_forces_and_a_turned_column_is_detected(name):
    path = min((DATA / name).glob("*train*.xyz"), key=lambda p: p.stat().st_size)
    frames = read(path, index=slice(0, 60))
    assert check_force_sign(frames).verdict == "forces"
    turned = read(path, index=slice(0, 60), forces_are_gradients=True)
    assert check_force_sign(turned).verdict == "gradients"


@pytest.mark.skipif(not DATA.is_dir(), reason="needs the reference data (JMLIP_DATA)")
def test_net_forces_of_the_water_set_are_reported():
    frames = read(DATA / "water" / "train.xyz")
    net = [np.linalg.norm(s.forces.sum(axis=0)) for s in frames]
    report = curate(Subset(frames, range(230, 250)))
    assert report.net_force_max == pytest.approx(max(net), rel=1e-9)
    assert 0.3 < report.net_force_max < 0.5
    assert len(report.net_forces) == 20
