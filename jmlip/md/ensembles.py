"""From a configuration to its integrator."""

from jmlip.md.config import MDConfig
from jmlip.md.integrators import Integrator, make_csvr, make_langevin, make_nose_hoover, make_nve
from jmlip.md.npt import make_npt
from jmlip.md.propagator import Level, Scalar
from jmlip.md.rescaling import make_rescaled
from jmlip.md.state import Count


def make_integrator(
    config: MDConfig,
    levels: tuple[Level, ...],
    *,
    kT: Scalar | None = None,
    n_atoms: Count | None = None,
) -> Integrator:
    """The integrator of a configuration.

    Args:
        config: ensemble and its constants.
        levels: the forces.
        kT: eV; that of the configuration if None.
        n_atoms: how many atoms, the first, are there; all if None. Langevin and CSVR can leave
            some out, and NVE does so by itself.
    """
    dt, tau = config.dt, config.tau
    kT = config.kT if kT is None else kT
    length = 3 if config.chain_length is None else config.chain_length
    match config.ensemble:
        case "nve":
            return make_nve(levels, dt=dt)
        case "langevin":
            return make_langevin(levels, dt=dt, kT=kT, friction=config.friction, n_atoms=n_atoms)
        case "nose-hoover":
            return make_nose_hoover(levels, dt=dt, kT=kT, tau=tau, chain_length=length)
        case "csvr":
            return make_csvr(levels, dt=dt, kT=kT, tau=tau, n_atoms=n_atoms)
        case "npt":
            return _at_constant_pressure(config, levels, kT)


def _at_constant_pressure(config: MDConfig, levels: tuple[Level, ...], kT: Scalar) -> Integrator:
    shared = {
        "dt": config.dt,
        "kT": kT,
        "pressure": config.pressure,
        "tau": config.tau,
        "tau_barostat": config.tau_barostat,
        "motion": config.cell_motion or "isotropic",
    }
    if config.barostat == "rescaling":
        return make_rescaled(levels, **shared, compressibility=config.compressibility)
    return make_npt(levels[0].force_fn, **shared, chain_length=config.chain_length or 3)
