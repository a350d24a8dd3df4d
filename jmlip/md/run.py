"""One run in the making: its state, its files, and what happens between two chunks."""

import warnings
from pathlib import Path
from time import perf_counter

import jax
import jax.numpy as jnp
import numpy as np

from jmlip.analysis.lines import RunningLine
from jmlip.core.errors import DivergenceError
from jmlip.core.structure import Structure
from jmlip.core.types import AtomVectors
from jmlip.data.ase_bridge import fixed_atoms
from jmlip.graphs.device_neighbors import Cell, DeviceNeighbors
from jmlip.md import forces
from jmlip.md.approach import Approach, closest_approach
from jmlip.md.chunk import AdvanceFn, Record, make_advance, make_record
from jmlip.md.config import MDConfig
from jmlip.md.ensembles import make_integrator
from jmlip.md.frames import make_frames
from jmlip.md.limits import NO_LIMITS, Limits, first_passed, require_known, up_to
from jmlip.md.propagator import Level
from jmlip.md.rescaling import STEPS_BETWEEN
from jmlip.md.restart import Checkpoint, identify, load_checkpoint, save_checkpoint
from jmlip.md.run_common import FIRST_CHUNK, explain, frames_per_chunk, require_not_passed
from jmlip.md.start import require_startable
from jmlip.md.state import OVERFLOW, with_neighbors
from jmlip.md.trajectory import open_trajectory
from jmlip.md.velocities import inertia, initial_momenta
from jmlip.potentials.potential import Potential


class Run:
    """A run at its last completed chunk: `begin` or `take_up`, then `advance` until it is done.

    Args:
        potential: gives energy and forces.
        structure: species, cell and where to start.
        config: what to do.
        out: the trajectory.
        inner: a cheaper potential for `config.n_inner` steps in each time step; None where there
            is one time step, or where the potential is a pair and brings its own.
        limits: what ends the run before its time.
    """

    def __init__(
        self,
        potential: Potential,
        structure: Structure,
        config: MDConfig,
        out: Path,
        inner: Potential | None = None,
        limits: Limits = NO_LIMITS,
    ):
        self.potential, self.structure, self.config, self.out = potential, structure, config, out
        self.limits = limits
        self._potentials = forces.by_level(potential, inner, config.n_inner)
        self._whole = inner is not None
        first, later = (self._levels(skin) for skin in (None, config.skin))
        n_held = int(fixed_atoms(structure).sum())
        cell = jnp.asarray(structure.cell, config.dtype)
        self._init = make_integrator(config, first, n_held=n_held, cell=cell).init
        self.integrator = make_integrator(config, later, n_held=n_held, cell=cell)
        self.reference_energy = forces.reference_energy(potential, structure)
        self.energy_line = RunningLine()  # conserved energy against time in ps
        self.temperature_line = RunningLine()
        self.closest: Approach | None = None
        self.n_steps_made = 0
        self.n_compilations = 0
        self.seconds = self.seconds_writing = 0.0
        self._identity = identify(self._potentials, [structure], [config])
        self._mark: int | None = None
        self._compiled: AdvanceFn | None = None
        self._pace = FIRST_CHUNK

    @property
    def step(self) -> int:
        """Steps from the start of the trajectory."""
        return int(self.state.step)

    @property
    def moves_taken(self) -> float | None:
        """Share of the moves of a stochastic barostat that were taken; None without any."""
        n_moves = self.step // STEPS_BETWEEN
        if self.config.barostat != "rescaling" or n_moves == 0:
            return None
        return int(self.state.dynamics.n_accepted) / n_moves

    def begin(self) -> None:
        """Make the first state and the first frame.

        Raises:
            DivergenceError: the potential gives no finite forces for the start structure.
            ConfigError: no atom can move, or some lie so far from the origin that they lose digits.
            PotentialError: atoms lie on top of each other, or a committee does not know them.
        """
        require_startable(self.potential, self.structure, self.config)
        require_known(self.limits, [self.structure])
        self.state = jax.jit(self._init)(*self._start())
        self.n_compilations += 1
        if not np.isfinite(self.state.dynamics.force).all():
            raise DivergenceError(
                "the potential must give finite forces for the start structure, found NaN or "
                "infinity; check its geometry."
            )
        # this checkpoint stands before the trajectory, so every file found later has one
        self._save()
        self._open()

    def take_up(self) -> None:
        """Go back to the last checkpoint, and cut the trajectory there.

        Raises:
            ConfigError: the run has already gone further than is asked for, or the checkpoint is
                of another run.
            JmlipError: the checkpoint is damaged.
        """
        like = jax.eval_shape(self._init, *self._start())
        checkpoint = load_checkpoint(self.out, self._identity, like=like)
        self.state, self._mark, sums = checkpoint
        require_not_passed(self.step, self.config, self.out)
        half = len(sums) // 2
        self.energy_line, self.temperature_line = (
            RunningLine(*sums[:half]),
            RunningLine(*sums[half:]),
        )
        self._open()

    def advance(self) -> None:
        """Make one chunk: steps, frames, checkpoint; then grow the neighbor list if it overflowed.

        Raises:
            DivergenceError: a step could not be made, or a frame passed a limit.
        """
        compiled = self._compiled or self._compile()
        began, start = perf_counter(), self.step
        state, records = jax.block_until_ready(compiled(self.state, self._stop()))
        computed = perf_counter()
        status = int(state.status)
        self.state = state._replace(status=jnp.zeros_like(state.status))
        if status not in (0, OVERFLOW):
            self._renew_all()  # the lists may be of the failed positions
        every = self.config.every
        self._write(records, every * np.arange(start // every + 1, self.step // every + 1))
        self._save()
        n_steps = self.step - start
        self.n_steps_made += n_steps
        done = perf_counter()
        self.seconds += done - began
        self.seconds_writing += done - computed
        self._pace = max(1, int(self.config.chunk_seconds * n_steps / (computed - began)))
        if status == OVERFLOW:
            self._renew_full()
        elif status:
            raise DivergenceError(self._explain(status))

    def _start(self) -> tuple:
        velocity_key, thermostat_key = jax.random.split(jax.random.key(self.config.seed))
        momenta = initial_momenta(self.structure, self.config, key=velocity_key)
        mass = jnp.asarray(inertia(self.structure), self.config.dtype)
        positions = jnp.asarray(self.structure.positions, self.config.dtype)
        cell = jnp.asarray(self.structure.cell, self.config.dtype)
        neighbors = tuple(self._allocate(p, positions, cell) for p in self._potentials)
        return positions, momenta, mass, cell, neighbors, thermostat_key

    def _levels(self, skin: float | None) -> tuple[Level, ...]:
        """The potential, in two levels where a part of it goes on in smaller steps."""
        functions = [
            forces.make_force_fn(potential, self.structure, dtype=self.config.dtype, skin=skin)
            for potential in self._potentials
        ]
        if len(functions) == 1:
            return (Level(functions[0]),)
        outer = Level(functions[0], n=self.config.n_inner or 1, whole=self._whole)
        return outer, Level(functions[1])

    def _allocate(
        self, potential: Potential, positions: AtomVectors, cell: Cell
    ) -> DeviceNeighbors:
        return forces.allocate_neighbors(
            potential, self.structure, positions, cell, skin=self.config.skin
        )

    def _open(self) -> None:
        self._writer = open_trajectory(self.out, self.structure, mark=self._mark)
        if self._mark is None:
            record = jax.jit(lambda state: make_record(self.integrator, state))(self.state)
            self._write(jax.tree.map(lambda leaf: leaf[None], record), np.zeros(1, int))

    def _compile(self) -> AdvanceFn:
        advance = make_advance(
            self.integrator, every=self.config.every, n_slots=self._frames_per_chunk()
        )
        self._compiled = jax.jit(advance).lower(self.state, self._stop()).compile()
        self.n_compilations += 1
        return self._compiled

    def _stop(self) -> jax.Array:
        every, start = self.config.every, self.step
        last_slot = (start // every + self._frames_per_chunk()) * every
        return jnp.asarray(min(start + self._pace, last_slot, self.config.n_steps), jnp.int32)

    def _frames_per_chunk(self) -> int:
        return frames_per_chunk(self.structure.n_atoms, self.config.dtype)

    def _renew_all(self) -> None:
        state = self.state
        self._exchange([(state.dynamics.position, state.cell)] * len(self._potentials))

    def _renew_full(self) -> None:
        """Larger lists, for the positions at which one overflowed: those of the next step."""
        lists = self.state.neighbors
        self._exchange([(each.reference_positions, each.reference_cell) for each in lists])

    def _exchange(self, places: list[tuple[AtomVectors, Cell]]) -> None:
        pairs = zip(self._potentials, places, strict=True)
        lists = [self._allocate(potential, *place) for potential, place in pairs]
        self.state, self._compiled = with_neighbors(self.state, lists), None

    def _write(self, records: Record, steps: np.ndarray) -> None:
        if len(steps) == 0:
            return
        frames = make_frames(
            records,
            steps,
            structure=self.structure,
            config=self.config,
            reference_energy=self.reference_energy,
        )
        passed = first_passed(frames, self.structure, self.limits)
        frames = up_to(frames, passed)
        self._mark = self._writer.append(frames)
        if passed:
            raise passed.error(f"in step {frames.step[-1]}", str(self.out))
        self._watch(closest_approach(frames, self.structure, self.potential.statistics))
        time_ps = 1.0e-3 * frames.time_fs
        self.energy_line = self.energy_line.add(time_ps, frames.conserved_energy)
        self.temperature_line = self.temperature_line.add(time_ps, frames.temperature_K)

    def _watch(self, found: Approach | None) -> None:
        if found is None:
            return
        if self.closest is None:
            warnings.warn(f"{found}.", stacklevel=2)
        if self.closest is None or found.distance < self.closest.distance:
            self.closest = found

    def _save(self) -> None:
        sums = (*self.energy_line, *self.temperature_line)
        save_checkpoint(self.out, Checkpoint(self.state, self._mark, sums), self._identity)

    def _explain(self, status: int) -> str:
        return explain(status, f"in step {self.step + 1}", str(self.out))
