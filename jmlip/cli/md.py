"""`jmlip md`: molecular dynamics from a start structure to a trajectory."""

import argparse
from pathlib import Path
from typing import Any

from jmlip.cli import md_ensemble, md_limits
from jmlip.cli import options as kinds
from jmlip.core.structure import Structure

DESCRIPTION = """\
Molecular dynamics with a trained potential. START is any file with structures; its last one is
taken unless --index names another. The trajectory carries its checkpoint: --restart continues it,
bit for bit, up to --steps. With --replicas, --temperatures-K or --all-frames many systems run at
once, as one compiled program, each to a trajectory of its own: run.0.xyz, run.1.xyz, ...
"""


def add_parser(subparsers) -> None:
    parser = subparsers.add_parser(
        "md", help="run molecular dynamics with a potential", description=DESCRIPTION
    )
    kinds.add_potential(parser)
    kinds.add_start(parser)
    _add_run(parser)
    md_ensemble.add_ensemble(parser)
    _add_time_steps(parser)
    _add_batch(parser)
    md_limits.add_limits(parser)
    kinds.add_dtype(parser, default="float32")
    parser.add_argument(
        "--restart", action="store_true", help="continue the trajectory from its checkpoint"
    )
    parser.set_defaults(run=run, resume_hint="continue with the same command and --restart")


def _add_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--ensemble",
        required=True,
        choices=("nve", "langevin", "nose-hoover", "csvr", "npt"),
        help="what is kept constant, and how",
    )
    parser.add_argument(
        "--timestep-fs",
        type=kinds.positive(float),
        required=True,
        metavar="FS",
        help="time step (with --inner: the outer one)",
    )
    parser.add_argument(
        "--steps",
        type=kinds.not_negative(int),
        required=True,
        metavar="N",
        help="steps from the start of the trajectory",
    )
    parser.add_argument(
        "--out", type=Path, required=True, metavar="TRAJ", help="trajectory to write"
    )
    parser.add_argument(
        "--seed",
        type=kinds.not_negative(int),
        metavar="N",
        help="of velocities and noise (default: 0)",
    )
    parser.add_argument(
        "--every",
        type=kinds.positive(int),
        default=100,
        metavar="N",
        help="steps between frames (default: 100)",
    )
    parser.add_argument(
        "--hydrogen-mass-u",
        type=kinds.positive(float),
        metavar="U",
        help="mass of hydrogen, taken from the atoms it is bound to: longer time steps",
    )


def _add_time_steps(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("multiple time steps (r-RESPA)")
    group.add_argument(
        "--inner",
        type=Path,
        metavar="POTENTIAL",
        help="cheaper potential for small steps; what POTENTIAL adds to it acts once a time step",
    )
    group.add_argument(
        "--n-inner",
        type=kinds.positive(int),
        metavar="N",
        help="small steps in each time step; alone, where POTENTIAL is a pair of models",
    )


def _add_batch(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("many systems at once")
    group.add_argument(
        "--replicas",
        type=kinds.positive(int),
        metavar="N",
        help="copies of START, each with its own seed (--seed, --seed + 1, ...)",
    )
    group.add_argument(
        "--all-frames",
        action="store_true",
        help="every structure of START is a system, not only that of --index",
    )
    group.add_argument(
        "--exchange-every",
        type=kinds.positive(int),
        metavar="N",
        help="steps between exchanges of replicas at neighboring --temperatures-K",
    )


def run(options: argparse.Namespace) -> None:
    from jmlip.cli.cache import use_compilation_cache
    from jmlip.cli.kernels import mention_kernels
    from jmlip.core.errors import ConfigError
    from jmlip.factory import load_potential
    from jmlip.md.config import MDConfig
    from jmlip.md.simulate import simulate

    temperature_K = options.temperature_K
    if options.temperatures_K:
        temperature_K = options.temperatures_K[0]
    if options.seed is not None and options.ensemble == "nve" and temperature_K is None:
        raise ConfigError(
            "--seed means nothing in nve without --temperature-K, where nothing is drawn; remove "
            "it, or give a temperature."
        )
    config = MDConfig(
        ensemble=options.ensemble,
        timestep_fs=options.timestep_fs,
        n_steps=options.steps,
        temperature_K=temperature_K,
        seed=options.seed or 0,
        every=options.every,
        n_inner=options.n_inner,
        dtype=options.dtype,
        **md_ensemble.fields_of(options),
    )
    use_compilation_cache()
    potential = load_potential(options.potential)
    mention_kernels(potential.model)
    inner = None if options.inner is None else load_potential(options.inner)
    limits = md_limits.limits_of(options)
    shared = {"inner": inner, "limits": limits, "restart": options.restart}
    if _is_batch(options):
        result = _run_batch(options, potential, config, shared)
        written = f"trajectories: {result.trajectories[0]} ... {result.trajectories[-1].name}"
    else:
        start = _heavier(kinds.read_start(options), options)
        result = simulate(potential, start, config, options.out, **shared)
        written = f"trajectory: {options.out}"
    print(written)


def _heavier(start: Structure, options: argparse.Namespace) -> Structure:
    from jmlip.md.hydrogen_mass import repartition_hydrogen_mass

    mass = options.hydrogen_mass_u
    return start if mass is None else repartition_hydrogen_mass(start, mass)


def _is_batch(options: argparse.Namespace) -> bool:
    asked = (options.replicas, options.temperatures_K, options.exchange_every)
    return options.all_frames or any(value is not None for value in asked)


def _run_batch(options: argparse.Namespace, potential: Any, config: Any, shared: dict) -> Any:
    from jmlip.core.errors import ConfigError
    from jmlip.data import read
    from jmlip.md.batch_simulate import replicate, simulate_batch

    temperatures = options.temperatures_K or []
    if options.exchange_every is not None and temperatures != sorted({*temperatures}):
        raise ConfigError(
            "--exchange-every needs --temperatures-K in ascending order, each once, found "
            f"{', '.join(f'{kelvin:g}' for kelvin in temperatures)}; sort them."
        )
    if options.all_frames and options.index is not None:
        raise ConfigError(
            "--all-frames takes every structure of START, and --index one; remove one of them."
        )
    starts = read(options.start) if options.all_frames else [kinds.read_start(options)]
    starts, configs = replicate(
        [_heavier(each, options) for each in starts],
        config,
        n_replicas=options.replicas,
        temperatures_K=options.temperatures_K,
    )
    return simulate_batch(
        potential, starts, configs, options.out, exchange_every=options.exchange_every, **shared
    )
