"""From a configuration to its integrator."""

from jmlip.core import units
from jmlip.graphs.device_neighbors import Cell
from jmlip.md.compression import Compression
from jmlip.md.config import MDConfig
from jmlip.md.integrators import Integrator, make_csvr, make_langevin, make_nose_hoover, make_nve
from jmlip.md.npt import make_npt
from jmlip.md.propagator import Level, Scalar
from jmlip.md.rescaling import make_rescaled
from jmlip.md.schedule import Control, Points, ramp, swing
from jmlip.md.state import Count


def make_integrator(
    config: MDConfig,
    levels: tuple[Level, ...],
    *,
    kT: Control | None = None,
    n_atoms: Count | None = None,
    n_held: int = 0,
    cell: Cell | None = None,
) -> Integrator:
    """The integrator of a configuration.

    Args:
        config: ensemble and its constants.
        levels: the forces.
        kT: eV; that of the configuration, ramped where it says so, if None.
        n_atoms: how many atoms, the first, are there; all if None. Langevin and CSVR can leave
            some out, and NVE does so by itself.
        n_held: how many atoms are held.
        cell: of the start, where the density changes.
    """
    dt, tau = config.dt, config.tau
    kT = _temperature(config) if kT is None else kT
    length = 3 if config.chain_length is None else config.chain_length
    match config.ensemble:
        case "nve":
            return make_nve(levels, dt=dt)
        case "langevin":
            return make_langevin(
                levels,
                dt=dt,
                kT=kT,
                friction=config.friction,
                n_atoms=n_atoms,
                compression=_compression(config, cell),
            )
        case "nose-hoover":
            return make_nose_hoover(
                levels, dt=dt, kT=_constant(kT), tau=tau, chain_length=length, n_held=n_held
            )
        case "csvr":
            return make_csvr(levels, dt=dt, kT=kT, tau=tau, n_atoms=n_atoms)
        case "npt":
            return _at_constant_pressure(config, levels, kT)


def _at_constant_pressure(config: MDConfig, levels: tuple[Level, ...], kT: Control) -> Integrator:
    shared = {
        "dt": config.dt,
        "tau": config.tau,
        "tau_barostat": config.tau_barostat,
        "motion": config.cell_motion or "isotropic",
    }
    if config.barostat == "rescaling":
        return make_rescaled(
            levels,
            kT=kT,
            pressure=_pressure(config),
            compressibility=config.compressibility,
            **shared,
        )
    return make_npt(
        levels[0].force_fn,
        kT=_constant(kT),
        pressure=config.pressure,
        chain_length=config.chain_length or 3,
        **shared,
    )


def _temperature(config: MDConfig) -> Control:
    return _course(
        config, config.kT, config.temperature_ramp, config.temperature_swing, unit=units.KELVIN
    )


def _pressure(config: MDConfig) -> Control:
    return _course(config, config.pressure, config.pressure_ramp, None, unit=units.GPA)


def _compression(config: MDConfig, cell: Cell | None) -> Compression | None:
    density = _course(config, 1.0, config.density_ramp, config.density_swing)
    if not callable(density):
        return None
    assert cell is not None  # batches refuse schedules
    return Compression(cell, density)


def _course(
    config: MDConfig,
    start: float,
    points: Points | None,
    wave: tuple[float, float] | None,
    *,
    unit: float = 1.0,
) -> Control:
    """What begins with `start` and changes as the configuration says, in units of dynamics."""
    timestep_ps = 1.0e-3 * config.timestep_fs
    course: Control = start
    if points is not None:
        scaled = [(time, unit * value) for time, value in points]
        course = ramp(start, scaled, timestep_ps=timestep_ps)
    if wave is not None:
        amplitude, period_ps = wave
        course = swing(
            course, amplitude=unit * amplitude, period_ps=period_ps, timestep_ps=timestep_ps
        )
    return course


def _constant(control: Control) -> Scalar:
    assert not callable(control)  # the configuration refuses ramps with chains
    return control
