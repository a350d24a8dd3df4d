"""Make the aluminium data: frames of hot crystals and melts, labelled by Quantum ESPRESSO.

    python -m experiments.teacher_student.aluminium --frames 96

32 atoms in strained cubic cells, density and temperature drawn anew for each frame, after 1 ps of
Langevin dynamics with the effective medium theory of ASE. Energy (the free energy of the smeared
electrons, of which forces are the derivative), forces and stress: LDA, plane waves up to 16 Ry,
2 x 2 x 2 shifted k-points, Marzari-Vanderbilt smearing of 0.02 Ry. It needs `pw.x` with the
pseudopotential Al.pz-vbc.UPF, which come with the package; frames that exist are not made again.
"""

import argparse
import tempfile
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.espresso import Espresso, EspressoProfile
from ase.calculators.singlepoint import SinglePointCalculator
from ase.md.langevin import Langevin
from rich.progress import track

HERE = Path(__file__).parent
CONSTANTS = 3.9, 4.3  # angstrom, of the cubic cell; 3.96 is that of LDA
TEMPERATURES = 300.0, 2500.0  # K
STRAIN = 0.02  # standard deviation of each component
INPUT = {
    "control": {"tprnfor": True, "tstress": True, "disk_io": "none"},
    "system": {
        "ecutwfc": 16,
        "occupations": "smearing",
        "smearing": "mv",
        "degauss": 0.02,
        "nosym": True,
    },
    "electrons": {"conv_thr": 1e-6, "mixing_beta": 0.3},
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--frames", type=int, default=96)
    parser.add_argument("--out", type=Path, default=HERE / "aluminium.xyz")
    parser.add_argument("--pseudo", type=Path, default=Path("/usr/share/espresso/pseudo"))
    options = parser.parse_args()
    done = len(ase.io.read(options.out, ":")) if options.out.exists() else 0
    for index in track(range(done, options.frames), description="frames"):
        atoms = labelled(frame(index), options.pseudo)
        ase.io.write(options.out, atoms, append=True)


def frame(index: int) -> Atoms:
    """A hot crystal or a melt; the index is the seed of all that is drawn."""
    rng = np.random.default_rng(index)
    atoms = bulk("Al", "fcc", a=rng.uniform(*CONSTANTS), cubic=True).repeat(2)
    deformation = np.eye(3) + STRAIN * rng.normal(size=(3, 3))
    atoms.set_cell(atoms.cell @ deformation, scale_atoms=True)
    temperature = rng.uniform(*TEMPERATURES)
    atoms.calc = EMT()
    bath = {"temperature_K": temperature, "friction": 0.01 / units.fs, "fixcm": False}
    dynamics = Langevin(atoms, 4 * units.fs, rng=rng, **bath)
    dynamics.run(250)
    return Atoms("Al32", positions=atoms.positions, cell=atoms.cell, pbc=True)


def labelled(atoms: Atoms, pseudo: Path) -> Atoms:
    """With energy, forces and stress by pw.x."""
    with tempfile.TemporaryDirectory() as folder:
        atoms.calc = Espresso(
            profile=EspressoProfile(command="pw.x", pseudo_dir=pseudo),
            pseudopotentials={"Al": "Al.pz-vbc.UPF"},
            input_data=INPUT,
            kpts=(2, 2, 2),
            koffset=(1, 1, 1),
            directory=folder,
        )
        forces = atoms.get_forces()
        found = {"energy": atoms.get_potential_energy(), "stress": atoms.get_stress()}
    atoms.calc = SinglePointCalculator(atoms, forces=forces, **found)
    return atoms


if __name__ == "__main__":
    main()
