"""`simulate_batch`: many systems or replicas in one compiled program, a trajectory for each."""

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jmlip.core import units
from jmlip.core.errors import ConfigError
from jmlip.core.structure import Structure
from jmlip.data.ase_bridge import fixed_atoms
from jmlip.md.approach import Approach
from jmlip.md.batch_run import BatchRun, trajectory_paths
from jmlip.md.config import MDConfig
from jmlip.md.limits import NO_LIMITS, Limits
from jmlip.md.progress import make_console
from jmlip.md.simulate import carry_out, require_unused
from jmlip.md.trajectory import require_known_suffix
from jmlip.potentials.potential import Potential

_OWN = ("temperature_K", "seed")
"""Fields in which the configurations of a batch may differ."""
_SCHEDULES = (
    "temperature_ramp",
    "temperature_swing",
    "pressure_ramp",
    "density_ramp",
    "density_swing",
)


class BatchResult(NamedTuple):
    """How a batch ended. Steps, times and `closest` are of this call, means of all frames."""

    trajectories: tuple[Path, ...]
    n_atoms: int  # of all systems together
    drift_meV_per_atom_ps: float  # of the conserved energy of all; NaN of fewer than two frames
    mean_temperature_K: tuple[float, ...]  # of each trajectory
    acceptance: tuple[float, ...] | None  # of exchanges of each rung with the next; NaN: none tried
    closest: Approach | None
    n_steps: int
    seconds: float  # wall time, writing included, compiling not
    n_compilations: int
    timestep_fs: float

    @property
    def us_per_atom_step(self) -> float:
        """Microseconds per atom and step; NaN where no step was left to make."""
        n = self.n_steps * self.n_atoms
        return 1.0e6 * self.seconds / n if n else float("nan")

    @property
    def ns_per_day(self) -> float:
        """Nanoseconds of dynamics of all systems together per day of wall time."""
        total = 1.0e-6 * len(self.trajectories) * self.n_steps * self.timestep_fs
        return total / (self.seconds / 86400.0) if self.seconds else float("nan")

    def summary(self) -> str:
        """The figures in a few lines."""
        low, high = min(self.mean_temperature_K), max(self.mean_temperature_K)
        lines = [
            f"{self.n_steps} steps of {len(self.trajectories)} systems in {self.seconds:.1f} s: "
            f"{self.ns_per_day:.3g} ns/day together, {self.us_per_atom_step:.3g} "
            f"\N{MICRO SIGN}s/atom/step, {self.n_compilations} "
            f"compilation{'s' * (self.n_compilations != 1)}",
            f"mean temperatures from {low:.1f} to {high:.1f} K over all frames"
            if len(self.mean_temperature_K) > 1
            else f"mean temperature {low:.1f} K over all frames",
        ]
        if not self.n_steps:
            lines[0] = "0 steps made"
        if math.isfinite(self.drift_meV_per_atom_ps):
            drift = f"{self.drift_meV_per_atom_ps:.3g} meV/atom/ps"
            lines[1] += f", drift of the conserved energy {drift}"
        if self.acceptance is not None:
            shares = ", ".join(f"{a:.2f}" for a in self.acceptance if math.isfinite(a))
            lines.append(
                f"exchanges accepted, from the lowest temperature: {shares or 'none tried'}"
            )
        return "\n".join([*lines, *([str(self.closest)] if self.closest else [])])


def replicate(
    structures: Sequence[Structure],
    config: MDConfig,
    *,
    n_replicas: int | None = None,
    temperatures_K: Sequence[float] | None = None,
) -> tuple[list[Structure], list[MDConfig]]:
    """Systems of a batch: replicas of each structure, at temperatures in turn, each with its seed.

    Replica k runs at temperature k modulo their number; system k has the seed `config.seed + k`.

    Args:
        structures: where to start.
        config: of all.
        n_replicas: of each structure, a multiple of the temperatures; one for each if None.
        temperatures_K: None if all have that of `config`.

    Raises:
        ConfigError: a number is impossible.
    """
    given = [config.temperature_K] if temperatures_K is None else list(temperatures_K)
    n = len(given) if n_replicas is None else n_replicas
    if n < 1 or not given or n % len(given):
        raise ConfigError(
            f"the number of replicas must be a multiple of the {len(given)} temperatures and at "
            f"least 1, found {n}; give as many replicas as temperatures, or several times as many."
        )
    if n > len(given) and any(_is_repeated(structure, config) for structure in structures):
        raise ConfigError(
            f"replicas in ensemble {config.ensemble!r} from a structure that brings its velocities "
            "would all be the same; take them out of it, give --temperature-K (nve), or choose "
            "langevin or csvr."
        )
    starts = [structure for structure in structures for _ in range(n)]
    configs = [
        dataclasses.replace(config, temperature_K=given[k % len(given)], seed=config.seed + k)
        for k in range(len(starts))
    ]
    return starts, configs


def _is_repeated(structure: Structure, config: MDConfig) -> bool:
    """Whether nothing is drawn at random, so that the seed makes no difference."""
    if structure.velocities is None:
        return False
    chains = config.ensemble == "nose-hoover" or (
        config.ensemble == "npt" and config.barostat != "rescaling"
    )
    return chains or (config.ensemble == "nve" and config.temperature_K is None)


def simulate_batch(
    potential: Potential,
    structures: Sequence[Structure],
    configs: Sequence[MDConfig],
    out: str | Path,
    *,
    inner: Potential | None = None,
    exchange_every: int | None = None,
    limits: Limits = NO_LIMITS,
    restart: bool = False,
    progress: bool = True,
) -> BatchResult:
    """Run molecular dynamics of many systems at once, spread over all devices of this process.

    System k goes as `simulate` lets it go alone with `configs[k]`, up to the rounding of sums.
    Systems may differ in size, elements and cell.

    Args:
        potential: gives energy and forces.
        structures: where each system starts; all periodic along the same directions.
        configs: of each system, alike but for temperature and seed.
        out: `run.xyz` gives the trajectories `run.0.xyz`, `run.1.xyz` and so on, in any format of
            `simulate`, and the checkpoint `run.xyz.restart`.
        inner: a cheaper potential for multiple time steps, as in `simulate`.
        exchange_every: steps between exchanges of replicas: systems that follow one another, have
            the same atoms and cell, and rising temperatures, form a ladder. Trajectory k is then
            that of temperature k, and `replica` in its frames says who stood there.
        limits: what ends the run of all, as in `simulate`.
        restart: take up the run at its last checkpoint.
        progress: show a bar, or a line each minute where there is no terminal, and the figures at
            the end, on standard error.

    Raises:
        ConfigError: the systems do not go together, or as in `simulate`.
        PotentialError: an element is unknown to the potential.
        DivergenceError: one of the systems could not make a step; all end with the step before.
            Or a frame of one passed a limit; all end with it.
        JmlipError: a file cannot be written.
        KeyboardInterrupt: SIGINT or SIGTERM came; trajectories and checkpoint were written first.
    """
    out = Path(out)
    require_known_suffix(out)
    _require_alike(structures, configs)
    linked = _links(structures, configs)
    if exchange_every is not None:
        _require_exchangeable(configs[0], linked, exchange_every)
    require_unused(out, trajectory_paths(out, len(structures)), restart=restart)
    make_run = lambda: BatchRun(
        potential,
        structures,
        configs,
        out,
        linked=linked,
        inner=inner,
        exchange_every=exchange_every,
        limits=limits,
    )
    result = carry_out(make_run, _result, configs[0], out, restart=restart, progress=progress)
    if progress:
        make_console().print(result.summary())
    return result


def _result(run: BatchRun) -> BatchResult:
    n_atoms = sum(each.n_atoms for each in run.structures)
    tried, accepted = (np.asarray(each) for each in run.state.places[1:])
    shares = np.where(tried, accepted / np.maximum(tried, 1), np.nan)[: len(run.structures) - 1]
    return BatchResult(
        trajectories=tuple(run.paths),
        n_atoms=n_atoms,
        drift_meV_per_atom_ps=run.energy_line.slope / n_atoms / units.MEV,
        mean_temperature_K=tuple(line.mean for line in run.temperature_lines),
        acceptance=None if run.exchange_every is None else tuple(shares.tolist()),
        closest=run.closest,
        n_steps=run.n_steps_made,
        seconds=run.seconds,
        n_compilations=run.n_compilations,
        timestep_fs=run.config.timestep_fs,
    )


def _require_alike(structures: Sequence[Structure], configs: Sequence[MDConfig]) -> None:
    if not structures or len(structures) != len(configs):
        raise ConfigError(
            "a batch needs at least one structure and a configuration for each, found "
            f"{len(structures)} and {len(configs)}."
        )
    first = configs[0]
    for config in configs:
        own = {name: getattr(config, name) for name in _OWN}
        if dataclasses.replace(first, **own) != config:
            raise ConfigError(
                f"configurations of a batch may differ in {' and '.join(_OWN)} only, found {first} "
                f"and {config}; run the others apart."
            )
    if any(getattr(first, name) is not None for name in _SCHEDULES):
        raise ConfigError(
            f"schedules ({', '.join(_SCHEDULES)}) are for single runs, and a batch was asked for; "
            "run each apart."
        )
    sizes = {structure.n_atoms for structure in structures}
    if len(sizes) > 1 and first.ensemble in ("nose-hoover", "npt"):
        raise ConfigError(
            f"in ensemble {first.ensemble!r} all systems of a batch must have as many atoms, found "
            f"{min(sizes)} to {max(sizes)}; choose langevin or csvr, or run each size apart."
        )
    held = {int(fixed_atoms(structure).sum()) for structure in structures}
    if len(held) > 1 and first.ensemble == "nose-hoover":
        raise ConfigError(
            "in ensemble 'nose-hoover' all systems of a batch must fix as many atoms, found "
            f"{min(held)} to {max(held)}; choose langevin or csvr, or run them apart."
        )
    for structure in structures:
        if structure.pbc.tolist() != structures[0].pbc.tolist():
            raise ConfigError(
                "all systems of a batch must be periodic along the same directions, found pbc "
                f"{structures[0].pbc.tolist()} and {structure.pbc.tolist()}; run them apart."
            )


def _links(structures: Sequence[Structure], configs: Sequence[MDConfig]) -> list[bool]:
    """Whether each system may trade temperatures with the next: the same atoms, a higher one."""

    def link(k):
        if k + 1 == len(structures):
            return False
        one, two = structures[k], structures[k + 1]
        same = np.array_equal(one.species, two.species) and np.array_equal(one.cell, two.cell)
        held = [np.where(fixed_atoms(each)[:, None], each.positions, np.inf) for each in (one, two)]
        return bool(
            same
            and np.array_equal(held[0], held[1])
            and one.state == two.state
            and (configs[k].temperature_K or 0.0) < (configs[k + 1].temperature_K or 0.0)
        )

    return [link(k) for k in range(len(structures))]


def _require_exchangeable(config: MDConfig, linked: list[bool], every: int) -> None:
    if config.ensemble not in ("langevin", "csvr"):
        raise ConfigError(
            "replicas are exchanged in ensembles langevin and csvr, found "
            f"{config.ensemble!r}; choose one of them, or leave exchange_every out."
        )
    if every < 1:
        raise ConfigError(f"exchange_every must be at least 1, found {every}.")
    if not any(linked):
        raise ConfigError(
            "replica exchange needs the same system at two or more rising temperatures, found no "
            "such pair; give --temperatures-K in ascending order, or leave exchange_every out."
        )
