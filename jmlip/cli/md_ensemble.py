"""Options of `jmlip md` for thermostat and barostat, and for what changes in time."""

import argparse
from typing import Any

from jmlip.cli import options as kinds


def add_ensemble(parser: argparse.ArgumentParser) -> None:
    _add_thermostat(parser)
    _add_pressure(parser)
    _add_schedules(parser)


def _add_thermostat(parser: argparse.ArgumentParser) -> None:
    temperature = parser.add_mutually_exclusive_group()
    temperature.add_argument(
        "--temperatures-K",
        type=_temperatures,
        metavar="K,K,...",
        help="of the replicas, in turn; one replica for each unless --replicas says how many",
    )
    temperature.add_argument(
        "--temperature-K",
        type=kinds.not_negative(float),
        metavar="K",
        help="of the thermostat; in nve, of the initial velocities (left out: those of START)",
    )
    parser.add_argument(
        "--friction-per-ps",
        type=kinds.positive(float),
        metavar="X",
        help="langevin only (default: 10)",
    )
    parser.add_argument(
        "--tau-fs",
        type=kinds.positive(float),
        metavar="FS",
        help="relaxation time, nose-hoover, csvr and npt only (default: 100)",
    )


def _add_pressure(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("constant pressure (npt only)")
    group.add_argument(
        "--pressure-GPa", type=kinds.finite, metavar="P", help="external pressure; required"
    )
    group.add_argument(
        "--barostat",
        choices=("mtk", "rescaling"),
        help="Martyna-Tobias-Klein, or stochastic rescaling of the cell (default: mtk)",
    )
    group.add_argument(
        "--tau-barostat-fs",
        type=kinds.positive(float),
        metavar="FS",
        help="period of the cell, or relaxation time of its volume (default: 1000)",
    )
    group.add_argument(
        "--compressibility-per-GPa",
        type=kinds.positive(float),
        metavar="X",
        help="rescaling only, roughly that of the system (default: 0.1)",
    )
    group.add_argument(
        "--cell-motion",
        choices=("isotropic", "anisotropic", "full"),
        help="the cell scales, stretches along x, y, z, or takes any shape (default: isotropic)",
    )


def _add_schedules(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what changes in time")
    group.add_argument(
        "--temperature-ramp",
        type=_points,
        metavar="PS:K,...",
        help="from --temperature-K in straight lines to these points (langevin, csvr, rescaling)",
    )
    group.add_argument(
        "--temperature-swing",
        type=_swing,
        metavar="K:PS",
        help="A:PERIOD, and A sin^2(pi t / PERIOD) is added to the temperature",
    )
    group.add_argument(
        "--pressure-ramp",
        type=_points,
        metavar="PS:GPa,...",
        help="from --pressure-GPa in straight lines to these points (rescaling)",
    )
    group.add_argument(
        "--density-ramp",
        type=_points,
        metavar="PS:X,...",
        help="over that of START, from 1 in straight lines to these points (langevin)",
    )
    group.add_argument(
        "--density-swing",
        type=_swing,
        metavar="X:PS",
        help="A:PERIOD, added to the density over that of START in the same way (langevin)",
    )


def fields_of(options: argparse.Namespace) -> dict[str, Any]:
    """Fields of `MDConfig` that these options give."""
    names = (
        "temperature_ramp",
        "temperature_swing",
        "friction_per_ps",
        "tau_fs",
        "pressure_GPa",
        "pressure_ramp",
        "density_ramp",
        "density_swing",
        "barostat",
        "tau_barostat_fs",
        "compressibility_per_GPa",
        "cell_motion",
    )
    return {name: getattr(options, name) for name in names}


def _temperatures(text: str) -> list[float]:
    return [kinds.not_negative(float)(part.strip()) for part in text.split(",")]


def _swing(text: str) -> tuple[float, float]:
    (found, *others) = _points(text)
    if others:
        raise argparse.ArgumentTypeError(f"must be one amplitude and period, found {text!r}")
    return found


def _points(text: str) -> tuple[tuple[float, float], ...]:
    parts = [part.split(":") for part in text.split(",")]
    try:
        return tuple((float(time), float(value)) for time, value in parts)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"must be points like 10:600,20:300, found {text!r}"
        ) from None
