"""LAMMPS as the judge of potentials and r-RESPA; numbers by `references/make_lammps.py`."""

import dataclasses
import json
from pathlib import Path

import jax
import numpy as np
import pytest

from experiments.md_averages.compare import compare
from jmlip.core.structure import Structure
from jmlip.data import read
from jmlip.factory import make_model
from jmlip.md.config import MDConfig
from jmlip.md.simulate import simulate
from jmlip.potentials.potential import initial_potential
from tests.md.references import make_lammps

LAMMPS = json.loads((Path(make_lammps.__file__).parent / "lammps.json").read_text())
ELEMENTS = {"lennard-jones": (18, 54), "stillinger-weber": (14, 32)}


def analytic(kind, species, *, cutoff, **params):
    """A potential with parameters in float64, as LAMMPS has them."""
    model = make_model(kind, {"species": species, "cutoff": cutoff})
    references = (0.0,) * len(species)
    potential = initial_potential(kind, model, key=jax.random.key(0), reference_energies=references)
    params = {name: np.array(value, np.float64) for name, value in params.items()}
    return dataclasses.replace(potential, params=potential.params | params)


@pytest.mark.parametrize("kind", ELEMENTS)
def test_energies_forces_and_stresses_are_those_of_lammps(kind):
    """Two elements, mixed, in a skewed cell that the cutoff passes."""
    potential = analytic(kind, ELEMENTS[kind], **make_lammps.PAIRS[kind])
    index, positions, cell = make_lammps.crystal(kind)
    species = np.array(ELEMENTS[kind])[index]
    structure = Structure(species=species, positions=positions, cell=cell, pbc=[True] * 3)
    (found,) = potential.predict([structure], dtype="float64")
    expected = LAMMPS[kind]
    assert found.energy == pytest.approx(expected["energy"], rel=1e-10)
    for name in ("forces", "stress"):
        scale = np.abs(expected[name]).max()
        np.testing.assert_allclose(getattr(found, name), expected[name], atol=1e-10 * scale)


def inner_and_whole():
    cutoffs = make_lammps.INNER_CUTOFF, make_lammps.CUTOFF
    per_element = {name: [value] for name, value in make_lammps.ARGON.items()}
    return (analytic("lennard-jones", (18,), cutoff=c, **per_element) for c in cutoffs)


def liquid():
    positions, velocities, cell = make_lammps.liquid()
    masses = {"arrays": {"masses": np.full(len(positions), 39.948)}}
    return Structure(
        species=[18] * len(positions),
        positions=positions,
        velocities=velocities,
        cell=cell,
        pbc=[True] * 3,
        info=masses,
    )


def test_respa_goes_the_way_of_lammps(tmp_path):
    """Atom by atom, and with the same error of the energy; `experiments/md_averages` has more."""
    outer_fs = max(make_lammps.OUTER_FS)
    expected = LAMMPS["respa"][f"{outer_fs:g}"]
    config = MDConfig(
        ensemble="nve",
        timestep_fs=outer_fs,
        n_steps=len(expected["energies"]) - 1,
        n_inner=make_lammps.N_INNER,
        every=1,
        dtype="float64",
    )
    inner, whole = inner_and_whole()
    result = simulate(whole, liquid(), config, tmp_path / "t.xyz", inner=inner, progress=False)
    moved = result.structure.positions - np.array(expected["positions"])
    moved -= np.round(moved / liquid().cell[0, 0]) * liquid().cell[0, 0]  # LAMMPS wraps
    assert np.abs(result.structure.positions - liquid().positions).max() > 1.0
    assert np.abs(moved).max() < 1e-8
    np.testing.assert_allclose(result.structure.velocities, expected["velocities"], atol=1e-9)
    energies = [frame.info["conserved_energy"] for frame in read(tmp_path / "t.xyz")]
    np.testing.assert_allclose(energies, expected["energies"], atol=1e-9)


SMALL = {"T, K": 0.01, "P, GPa": 0.02, "density, 1/nm^3": 0.02}


def test_averages_are_those_of_lammps():
    """From the means of blocks of the runs in `experiments/md_averages`, by both programs."""
    comparisons = compare()
    assert {each.run.split(" ")[0] for each in comparisons} == {"argon", "silicon"}
    for each in comparisons:
        assert abs(each.z) < 4.0, each
        share = each.sigma / abs(each.expected.value)
        assert share < SMALL.get(each.quantity, 1.0), each
