"""`jmlip relax`: the nearest minimum of the energy, of positions or of positions and cell."""

import argparse
from pathlib import Path

from jmlip.cli import options as kinds


def add_parser(subparsers) -> None:
    parser = subparsers.add_parser(
        "relax",
        help="relax a structure to the nearest minimum",
        description="Relax positions (and the cell) until no force exceeds a bound, in float64.",
    )
    kinds.add_potential(parser)
    kinds.add_start(parser)
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="FILE",
        help="relaxed structure, extended XYZ: must end in .xyz or .extxyz",
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
    from jmlip.cli.cache import use_compilation_cache
    from jmlip.cli.kernels import mention_kernels
    from jmlip.core.errors import ConfigError, DivergenceError
    from jmlip.data import write
    from jmlip.factory import load_potential
    from jmlip.interop.relax import NotRelaxed, relax

    if options.out.suffix not in (".xyz", ".extxyz"):
        raise ConfigError(f"--out must end in .xyz or .extxyz, found {options.out.name!r}.")
    if options.out.exists():
        raise ConfigError(f"--out must not exist yet, and {options.out} does; choose another name.")
    use_compilation_cache()
    potential = load_potential(options.potential)
    mention_kernels(potential.model)
    start = kinds.read_start(options)
    try:
        result = relax(
            potential, start, cell=options.cell, fmax=options.fmax_eV_A, max_steps=options.steps
        )
    except NotRelaxed as failure:
        write(options.out, [failure.structure])
        why = str(failure).removesuffix(".")
        raise DivergenceError(f"{why}; {options.out} holds the last one.") from failure
    write(options.out, [result.structure])
    assert result.structure.energy is not None
    gain = result.initial_energy - result.structure.energy
    print(f"relaxed in {result.n_steps} steps, energy lowered by {gain:.6f} eV: {options.out}")
