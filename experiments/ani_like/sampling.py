"""Frames around a minimum, and their labels."""

from collections.abc import Iterator
from typing import Literal, NamedTuple

import numpy as np
from ase import Atoms, units
from ase.data import atomic_masses

from jmlip.core.structure import Structure

STEP = 0.005  # angstrom, of the differences of forces
SOFTEST = 150.0  # 1/cm; softer modes, rotations of groups, are not straight lines for long
ROTATIONS_AND_TRANSLATIONS = 30.0  # 1/cm
TIMESTEP_FS, EVERY = 0.5, 60


class Sampling(NamedTuple):
    """How many frames a molecule gives."""

    n_conformers: int  # at most
    n_displaced: int  # along normal modes
    n_langevin: int
    temperature_K: tuple[float, float]  # drawn between


def XTB():
    """GFN2-xTB of Bannwarth, Ehlert, Grimme, J. Chem. Theory Comput. 15, 1652 (2019)."""
    from tblite.ase import TBLite

    return TBLite(method="GFN2-xTB", verbosity=0)


def label(structure: Structure, level: Literal["GFN2-xTB", "CCSD(T)"]) -> Structure:
    """The structure with energy (eV) and, of GFN2-xTB, forces (eV / angstrom)."""
    info = {**structure.info, "level": level}
    if level == "CCSD(T)":
        return structure.replace(energy=_coupled_cluster_energy(structure), forces=None, info=info)
    atoms = Atoms(numbers=structure.species, positions=structure.positions, calculator=XTB())
    return structure.replace(
        energy=atoms.get_potential_energy(), forces=atoms.get_forces(), info=info
    )


def _coupled_cluster_energy(structure: Structure) -> float:
    from pyscf import cc, gto, scf

    atoms = [
        (int(z), tuple(x)) for z, x in zip(structure.species, structure.positions, strict=True)
    ]
    molecule = gto.M(atom=atoms, basis="cc-pvdz", unit="angstrom", verbose=0)
    field = scf.RHF(molecule).run()
    coupled = cc.CCSD(field, frozen=sum(z > 1 for z in structure.species)).run()
    if not (field.converged and coupled.converged):
        raise RuntimeError(f"CCSD must converge, and did not for {structure.info['molecule']}.")
    return float(coupled.e_tot + coupled.ccsd_t()) * units.Hartree


def thermal_displacements(
    minimum: Structure, n: int, sampling: Sampling, rng: np.random.Generator
) -> Iterator[Structure]:
    """Frames of the classical canonical distribution of the harmonic crystal,

    x = x0 + sum_k Q_k e_k / sqrt(m),    Q_k ~ Normal(0, kT / omega_k^2).
    """
    if not n:
        return
    mass = np.repeat(atomic_masses[minimum.species], 3)
    square, modes = np.linalg.eigh(_hessian(minimum) / np.sqrt(np.outer(mass, mass)))
    frequency = np.sqrt(np.abs(square))  # in ASE's units of time
    wave_number = frequency * units._hbar * 1e10 / np.sqrt(units._e * units._amu) / units.invcm
    inner = wave_number > ROTATIONS_AND_TRANSLATIONS
    softest = SOFTEST * frequency[-1] / wave_number[-1]
    width = inner / np.maximum(frequency, softest)
    for _ in range(n):
        kT = units.kB * rng.uniform(*sampling.temperature_K)
        moved = modes @ (np.sqrt(kT) * width * rng.normal(size=len(width))) / np.sqrt(mass)
        positions = minimum.positions + moved.reshape(-1, 3)
        yield label(minimum.replace(positions=positions, info={"kind": "displaced"}), "GFN2-xTB")


def _hessian(minimum: Structure) -> np.ndarray:
    """Second derivatives, eV / angstrom^2, by central differences."""
    atoms = Atoms(numbers=minimum.species, positions=minimum.positions, calculator=XTB())
    rows = []
    for place in np.ndindex(minimum.positions.shape):
        ends = []
        for sign in (1.0, -1.0):
            atoms.positions = minimum.positions
            atoms.positions[place] += sign * STEP
            ends.append(atoms.get_forces().ravel())
        rows.append((ends[1] - ends[0]) / (2.0 * STEP))
    return 0.5 * (np.array(rows) + np.array(rows).T)


def langevin_frames(
    minimum: Structure, n: int, sampling: Sampling, rng: np.random.Generator
) -> Iterator[Structure]:
    """Frames of dynamics from the minimum, 30 fs apart, each run at a temperature drawn anew."""
    from ase.md.langevin import Langevin
    from ase.md.velocitydistribution import MaxwellBoltzmannDistribution

    if not n:
        return
    temperature = rng.uniform(*sampling.temperature_K)
    atoms = Atoms(numbers=minimum.species, positions=minimum.positions, calculator=XTB())
    MaxwellBoltzmannDistribution(atoms, temperature_K=temperature, rng=rng)
    dynamics = Langevin(
        atoms,
        TIMESTEP_FS * units.fs,
        temperature_K=temperature,
        friction=0.02 / units.fs,
        rng=rng,
        fixcm=False,
    )
    for _ in range(n):
        dynamics.run(EVERY)
        frame = minimum.replace(positions=atoms.positions.copy(), info={"kind": "dynamics"})
        yield label(frame, "GFN2-xTB")
