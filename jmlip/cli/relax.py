"""`jmlip relax`: the nearest minimum of the energy, of positions or of positions and cell."""

import argparse
from pathlib import Path
from typing import Any

from jmlip.cli import options as kinds


def add_parser(subparsers) -> None:
    parser = subparsers.add_parser(
        "relax",
        help="relax a structure to the nearest minimum",
        description="Relax positions (and the cell) until no force exceeds a bound, in float64.",
    )
    kinds.add_potential(parser)
    parser.add_argument("start", type=Path, metavar="START", help="structure to start from")
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="FILE",
        help="relaxed structure, a format of ASE by its ending",
    )
    parser.add_argument("--cell", action="store_true", help="relax the cell too, at zero pressure")
    parser.add_argument(
        "--fmax-eV-A",
        type=kinds.positive(float),
        default=0.01,
        metavar="F",
        help="largest force that may remain, eV/angstrom (default: %(default)s)",
    )
    parser.add_argument(
        "--steps",
        type=kinds.positive(int),
        default=1000,
        metavar="N",
        help="give up after N steps (default: %(default)s)",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    from ase.filters import FrechetCellFilter
    from ase.optimize import BFGSLineSearch

    from jmlip.cli.cache import use_compilation_cache
    from jmlip.core.errors import ConfigError, JmlipError
    from jmlip.data import from_atoms, read, to_atoms, write
    from jmlip.factory import load_potential
    from jmlip.interop.ase import Calculator

    if options.out.suffix not in (".xyz", ".extxyz"):
        raise ConfigError(f"--out must end in .xyz or .extxyz, found {options.out.name!r}.")
    use_compilation_cache()
    potential = load_potential(options.potential)
    (start,) = read(options.start, index=-1)
    if options.cell and not start.is_periodic:
        raise ConfigError(
            f"--cell needs a structure periodic in three directions, found pbc "
            f"{start.pbc.tolist()} in {options.start}; leave it out."
        )
    atoms = to_atoms(start)
    atoms.calc = Calculator(potential, dtype="float64")
    energy = atoms.get_potential_energy()
    target: Any = FrechetCellFilter(atoms) if options.cell else atoms
    silent: Any = None
    with BFGSLineSearch(target, logfile=silent) as optimizer:
        converged = optimizer.run(fmax=options.fmax_eV_A, steps=options.steps)
    if not converged:
        raise JmlipError(
            f"the largest force must fall below {options.fmax_eV_A} eV/angstrom, but did not in "
            f"{options.steps} steps; allow more with --steps, or check the start structure."
        )
    write(options.out, [from_atoms(atoms)])
    gain = energy - atoms.get_potential_energy()
    print(f"relaxed in {optimizer.nsteps} steps, energy lowered by {gain:.6f} eV: {options.out}")
