"""From a configuration to its integrator."""

from jmlip.core import units
from jmlip.md.config import MDConfig
from jmlip.md.integrators import Integrator, make_csvr, make_langevin, make_nose_hoover, make_nve
from jmlip.md.npt import make_npt
from jmlip.md.propagator import Level, Scalar
from jmlip.md.rescaling import make_rescaled
from jmlip.md.schedule import Control, ramp
from jmlip.md.state import Count


def make_integrator(
    config: MDConfig,
    levels: tuple[Level, ...],
    *,
    kT: Control | None = None,
    n_atoms: Count | None = None,
    n_held: int = 0,
) -> Integrator:
    """The integrator of a configuration.

    Args:
        config: ensemble and its constants.
        levels: the forces.
        kT: eV; that of the configuration, ramped where it says so, if None.
        n_atoms: how many atoms, the first, are there; all if None. Langevin and CSVR can leave
            some out, and NVE does so by itself.
        n_held: how many atoms are held.
    """
    dt, tau = config.dt, config.tau
    kT = _temperature(config) if kT is None else kT
    length = 3 if config.chain_length is None else config.chain_length
    match config.ensemble:
        case "nve":
            return make_nve(levels, dt=dt)
        case "langevin":
            return make_langevin(levels, dt=dt, kT=kT, friction=config.friction, n_atoms=n_atoms)
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
    if config.temperature_ramp is None:
        return config.kT
    points = [(time, units.KELVIN * value) for time, value in config.temperature_ramp]
    return ramp(config.kT, points, timestep_ps=1.0e-3 * config.timestep_fs)


def _pressure(config: MDConfig) -> Control:
    if config.pressure_ramp is None:
        return config.pressure
    points = [(time, units.GPA * value) for time, value in config.pressure_ramp]
    return ramp(config.pressure, points, timestep_ps=1.0e-3 * config.timestep_fs)


def _constant(control: Control) -> Scalar:
    assert not callable(control)  # the configuration refuses ramps with chains
    return control
