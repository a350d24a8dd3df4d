"""From a configuration to its integrator."""

from jmlip.md.config import MDConfig
from jmlip.md.integrators import Integrator, make_csvr, make_langevin, make_nose_hoover, make_nve
from jmlip.md.npt import make_npt
from jmlip.md.propagator import Level
from jmlip.md.rescaling import make_rescaled


def make_integrator(config: MDConfig, levels: tuple[Level, ...]) -> Integrator:
    """The integrator of a configuration."""
    dt, kT, tau = config.dt, config.kT, config.tau
    length = config.chain_length or 3
    match config.ensemble:
        case "nve":
            return make_nve(levels, dt=dt)
        case "langevin":
            return make_langevin(levels, dt=dt, kT=kT, friction=config.friction)
        case "nose-hoover":
            return make_nose_hoover(levels, dt=dt, kT=kT, tau=tau, chain_length=length)
        case "csvr":
            return make_csvr(levels, dt=dt, kT=kT, tau=tau)
        case "npt":
            return _at_constant_pressure(config, levels)


def _at_constant_pressure(config: MDConfig, levels: tuple[Level, ...]) -> Integrator:
    shared = {
        "dt": config.dt,
        "kT": config.kT,
        "pressure": config.pressure,
        "tau": config.tau,
        "tau_barostat": config.tau_barostat,
        "motion": config.cell_motion or "isotropic",
    }
    if config.barostat == "rescaling":
        return make_rescaled(levels, **shared, compressibility=config.compressibility)
    return make_npt(levels[0].force_fn, **shared, chain_length=config.chain_length or 3)
