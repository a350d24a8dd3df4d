"""`simulate`: molecular dynamics from a structure to a trajectory on disk.

The run goes in chunks, each one compiled program. Between chunks the host writes frames and a
checkpoint, grows the neighbor list where it has overflowed, and stops where numbers went wrong.
Where chunks begin and end has no influence on the numbers, so a run that was killed and taken up
again, at any moment, gives the trajectory of one that was not.
"""

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax

from jmlip.core import units
from jmlip.core.errors import ConfigError, JmlipError
from jmlip.core.interrupts import deferred_interrupts
from jmlip.core.lock import only_writer
from jmlip.core.structure import Structure
from jmlip.data.ase_bridge import fixed_atoms
from jmlip.md.approach import Approach
from jmlip.md.config import MDConfig
from jmlip.md.frames import structure_of
from jmlip.md.limits import NO_LIMITS, Limits
from jmlip.md.progress import make_console, progress_bar
from jmlip.md.restart import has_checkpoint, restart_directory
from jmlip.md.run import Run
from jmlip.md.trajectory import require_known_suffix
from jmlip.potentials.potential import Potential

FEW_MOVES = 0.2
"""A smaller share of the moves of the cell taken is worth a remedy: the volume hardly changes."""


class MDResult(NamedTuple):
    """How a run ended. Times, steps, `closest` are of this call, means of the whole trajectory."""

    structure: Structure  # the last step, with energy, forces, velocities; not wrapped
    trajectory: Path
    drift_meV_per_atom_ps: float  # of the conserved energy; NaN of fewer than two frames
    mean_temperature_K: float  # of all frames, those of equilibration among them
    closest: (
        Approach | None
    )  # atoms closer than any in the training data; None where there were none
    n_steps: int
    seconds: float  # wall time, writing included, compiling not
    seconds_writing: float  # of these, for frames and checkpoints
    n_compilations: int
    timestep_fs: float
    moves_taken: float | None = None  # share of the moves of a stochastic barostat, of the whole

    @property
    def us_per_atom_step(self) -> float:
        """Microseconds per atom and step; NaN where no step was left to make."""
        n = self.n_steps * self.structure.n_atoms
        return 1.0e6 * self.seconds / n if n else float("nan")

    @property
    def ns_per_day(self) -> float:
        """Nanoseconds of dynamics per day of wall time; NaN where no step was left to make."""
        days = self.seconds / 86400.0
        return 1.0e-6 * self.n_steps * self.timestep_fs / days if days else float("nan")

    def summary(self) -> str:
        """The figures in two lines, and more of atoms held, moves of the cell, and closeness."""
        temperature = f"mean temperature {self.mean_temperature_K:.1f} K over all frames"
        lines = ["0 steps made"]
        if self.n_steps:
            lines = [
                f"{self.n_steps} steps in {self.seconds:.1f} s: {self.ns_per_day:.3g} ns/day, "
                f"{self.us_per_atom_step:.3g} \N{MICRO SIGN}s/atom/step, "
                f"{self.n_compilations} compilation{'s' * (self.n_compilations != 1)}"
            ]
        if math.isfinite(self.drift_meV_per_atom_ps):
            drift = f"{self.drift_meV_per_atom_ps:.3g} meV/atom/ps"
            lines.append(f"{temperature}, drift of the conserved energy {drift}")
        else:
            lines.append(f"{temperature}; one frame tells no drift")
        n_fixed = int(fixed_atoms(self.structure).sum())
        if n_fixed:
            lines.append(f"{n_fixed} of {self.structure.n_atoms} atoms held where they are")
        if self.moves_taken is not None:
            lines.append(_moves(self.moves_taken))
        return "\n".join([*lines, *([str(self.closest)] if self.closest else [])])


def _moves(taken: float) -> str:
    remedy = "; lower compressibility_per_GPa, or raise tau_barostat_fs"
    return f"{taken:.0%} of the moves of the cell taken{remedy if taken < FEW_MOVES else ''}"


def simulate(
    potential: Potential,
    structure: Structure,
    config: MDConfig,
    out: str | Path,
    *,
    inner: Potential | None = None,
    limits: Limits = NO_LIMITS,
    restart: bool = False,
    progress: bool = True,
) -> MDResult:
    """Run molecular dynamics and write a trajectory.

    Args:
        potential: gives energy and forces.
        structure: where to start; its velocities, if it has any, are used as `MDConfig` says.
        config: ensemble, time step, length, precision.
        out: trajectory, extended XYZ (.xyz, .extxyz) or H5MD (.h5md, .h5). Checkpoints go to the
            directory of this name with `.restart` appended.
        inner: a cheaper potential for multiple time steps (r-RESPA): it makes `config.n_inner`
            steps in each time step, the rest, `potential` less `inner`, acts once. A pair of models
            needs none: its small part is the inner one, its large part the rest. Energies, forces
            and pressures reported are those of `potential`.
        limits: temperature, force, distance, spread of an ensemble that end the run, looked at in
            every frame.
        restart: take up the run of this trajectory at its last checkpoint; the numbers are those of
            a run without interruption. Where nothing was begun, begin.
        progress: show a bar, or a line each minute where there is no terminal, and the figures at
            the end, on standard error.

    Raises:
        ConfigError: the output is in the way, the options contradict each other, or the restart
            belongs to another run.
        PotentialError: an element is unknown to the potential.
        DivergenceError: numbers are not finite, or atoms fly apart; the message names the step, and
            trajectory and checkpoint end with the last good one. Or a frame passed one of `limits`;
            the trajectory ends with it, and the checkpoint stands before it.
        JmlipError: a file cannot be written.
        KeyboardInterrupt: SIGINT or SIGTERM came; trajectory and checkpoint were written first.
    """
    out = Path(out)
    require_known_suffix(out)
    require_unused(out, [out], restart=restart)
    make_run = lambda: Run(potential, structure, config, out, inner, limits)
    result = carry_out(make_run, _result, config, out, restart=restart, progress=progress)
    if progress:
        make_console().print(result.summary())
    return result


def carry_out(
    make_run: Callable[[], Any],
    conclude: Callable[[Any], Any],
    config: MDConfig,
    out: Path,
    *,
    restart: bool,
    progress: bool,
) -> Any:
    """Begin or take up a run, advance it to its end, and say how it ended.

    Args:
        make_run: makes what has the methods of `run.Run`.
        conclude: makes the result of it.
        config: number of steps and precision.
        out: the trajectory, beside which the checkpoint stands.
        restart: take the run up where there is a checkpoint.
        progress: show a bar, or lines.
    """
    with (
        _only_run(restart_directory(out)),
        jax.enable_x64(config.dtype == "float64"),
        deferred_interrupts() as interrupt,
        progress_bar(config.n_steps, enabled=progress) as show,
    ):
        run = make_run()
        run.take_up() if restart and has_checkpoint(out) else run.begin()
        while run.step < config.n_steps:
            show(run.step)
            run.advance()
            if interrupt.requested and run.step < config.n_steps:
                raise KeyboardInterrupt
        show(run.step)
        return conclude(run)


@contextlib.contextmanager
def _only_run(directory: Path) -> Iterator[None]:
    """Hold the directory of the checkpoint; leave none where nothing was begun."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise JmlipError(
            f"cannot write {directory}: {error.strerror or error}; choose another place."
        ) from error
    try:
        with only_writer(directory):
            yield
    finally:
        with contextlib.suppress(OSError):
            directory.rmdir()  # only if empty


def _result(run: Run) -> MDResult:
    n_atoms = run.structure.n_atoms
    return MDResult(
        structure=structure_of(
            run.state,
            run.structure,
            config=run.config,
            reference_energy=run.reference_energy,
        ),
        trajectory=run.out,
        drift_meV_per_atom_ps=run.energy_line.slope / n_atoms / units.MEV,
        mean_temperature_K=run.temperature_line.mean,
        closest=run.closest,
        n_steps=run.n_steps_made,
        seconds=run.seconds,
        seconds_writing=run.seconds_writing,
        n_compilations=run.n_compilations,
        timestep_fs=run.config.timestep_fs,
        moves_taken=run.moves_taken,
    )


def require_unused(out: Path, files: Sequence[Path], *, restart: bool) -> None:
    """Refuse to write over what is there, or to go on without a checkpoint."""
    there = any(file.exists() for file in files)
    if restart and (has_checkpoint(out) or not there):
        return
    if restart:
        raise ConfigError(f"{out} has no checkpoint to restart from; choose another name.")
    if there or restart_directory(out).exists():
        raise ConfigError(
            f"{out} must not exist yet, and it or its checkpoint does; go on with it "
            "(--restart), or choose another name."
        )
