"""A batch in the making: the state of all systems, their files, what happens between two chunks.

As `run.Run`, for many systems at once. File k is that of system k; where replicas are exchanged,
that of rung k of the temperatures, and every frame names the replica that stood there.
"""

import functools
import warnings
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jmlip.analysis.lines import RunningLine
from jmlip.core.errors import DivergenceError
from jmlip.core.structure import Structure
from jmlip.md.approach import MOST_FRAMES, Approach, closest_approach
from jmlip.md.batch_layout import allocate, make_layout, pbc_of
from jmlip.md.batched import (
    BatchAdvanceFn,
    BatchRecord,
    Exchange,
    make_batch_advance,
    make_batch_record,
    place_state,
    place_systems,
)
from jmlip.md.chunk import Record
from jmlip.md.config import MDConfig
from jmlip.md.forces import by_level, reference_energy
from jmlip.md.frames import make_frames
from jmlip.md.limits import NO_LIMITS, Limits, Passed, first_passed, require_known, up_to
from jmlip.md.restart import Checkpoint, identify, load_checkpoint, save_checkpoint
from jmlip.md.run_common import FIRST_CHUNK, explain, frames_per_chunk, require_not_passed
from jmlip.md.start import require_startable
from jmlip.md.state import NOT_FINITE, OVERFLOW, with_neighbors
from jmlip.md.trajectory import Frames, open_trajectory
from jmlip.potentials.potential import Potential

_LINE = len(RunningLine())


class BatchRun:
    """Systems at their last completed chunk: `begin` or `take_up`, then `advance` until done.

    Args:
        potential: gives energy and forces.
        structures: where each system starts.
        configs: of each system; they differ in temperature and seed.
        out: from which the names of the trajectories follow.
        linked: which rungs may trade places with the next.
        inner: a cheaper potential for multiple time steps, if any.
        exchange_every: steps between exchanges of replicas, if there are any.
        limits: what ends the run of all before its time.
    """

    def __init__(
        self,
        potential: Potential,
        structures: Sequence[Structure],
        configs: Sequence[MDConfig],
        out: Path,
        *,
        linked: Sequence[bool],
        inner: Potential | None = None,
        exchange_every: int | None = None,
        limits: Limits = NO_LIMITS,
    ):
        self.limits = limits
        self.structures, self.configs, self.out = list(structures), list(configs), out
        self.config, self.potential = configs[0], potential
        self.paths = trajectory_paths(out, len(structures))
        self._potentials = by_level(potential, inner, configs[0].n_inner)
        self.exchange_every = exchange_every
        self.references = [reference_energy(potential, each) for each in structures]
        self.energy_line = RunningLine()  # conserved energy of all against time in ps
        self.temperature_lines = [RunningLine() for _ in structures]
        self.closest: Approach | None = None
        self.n_steps_made = self.n_compilations = 0
        self.seconds = 0.0
        self._identity = identify(
            self._potentials, structures, configs, exchange_every=exchange_every
        )
        self._marks: list[int] | None = None
        self._compiled: BatchAdvanceFn | None = None
        self._pace = FIRST_CHUNK
        self._layout = make_layout(
            self._potentials, structures, configs, linked, whole=inner is not None
        )

    @property
    def step(self) -> int:
        """Steps from the start of the trajectories."""
        return int(self.state.step)

    def begin(self) -> None:
        """Make the first state and the first frames.

        Raises:
            DivergenceError: the potential gives no finite forces for a start structure.
            ConfigError: no atom can move, or some lie so far from the origin that they lose digits.
            PotentialError: atoms lie on top of each other, or a committee does not know them.
        """
        for structure, config in zip(self.structures, self.configs, strict=True):
            require_startable(self.potential, structure, config)
        require_known(self.limits, self.structures)
        state = jax.jit(self._layout.first_state)(*self._start())
        self.n_compilations += 1
        finite = np.isfinite(state.md.dynamics.force).all(axis=(1, 2))
        if not finite.all():
            raise DivergenceError(
                "the potential must give finite forces for every start structure, found NaN or "
                f"infinity in system {np.argmin(finite)}; check its geometry."
            )
        self.state = self._layout.place(state)
        # this checkpoint stands before the trajectories, so every file found later has one
        self._save()
        self._open()

    def take_up(self) -> None:
        """Go back to the last checkpoint, and cut the trajectories there.

        Raises:
            ConfigError: the run has already gone further than is asked for, or the checkpoint is
                of another run.
            JmlipError: the checkpoint is damaged.
        """
        like = jax.eval_shape(self._layout.first_state, *self._start())
        state, self._marks, sums = load_checkpoint(self.out, self._identity, like=like)
        self.state = self._layout.place(state)
        require_not_passed(self.step, self.config, self.paths[0])
        lines = [RunningLine(*sums[k : k + _LINE]) for k in range(0, len(sums), _LINE)]
        self.energy_line, *self.temperature_lines = lines
        self._open()

    def advance(self) -> None:
        """Make one chunk: steps, frames, checkpoint; then grow lists if one overflowed.

        Raises:
            DivergenceError: a step could not be made, or a frame passed a limit.
        """
        compiled = self._compiled or self._compile()
        began, start = perf_counter(), self.step
        state, records = jax.block_until_ready(
            compiled(self._layout.systems, self.state, self._stop())
        )
        computed = perf_counter()
        status = np.asarray(state.md.status)
        bits = int(np.bitwise_or.reduce(status))
        cleared = state.md._replace(status=jnp.zeros_like(state.md.status))
        # empty arrays come back without their place
        self.state = place_state(state._replace(md=cleared), self._layout.mesh)
        # what an incomplete list leads to is no explosion
        failed = bool(bits) and (not bits & OVERFLOW or bool(bits & NOT_FINITE))
        if failed:
            self._renew(self.state.md.dynamics.position, self.state.md.cell)
        every = self.config.every
        self._write(records, every * np.arange(start // every + 1, self.step // every + 1))
        self._save()
        n_steps = self.step - start
        self.n_steps_made += n_steps
        self.seconds += perf_counter() - began
        self._pace = max(1, int(self.config.chunk_seconds * n_steps / (computed - began)))
        if failed:
            raise DivergenceError(self._explain(status))
        if bits:
            full = self.state.md.neighbors[0]  # for the positions of the next step
            self._renew(full.reference_positions, full.reference_cell)

    def _start(self) -> tuple:
        lists = functools.partial(allocate, self._potentials, self.config)
        return self._layout.start(self.structures, self.configs, lists)

    def _renew(self, positions: Any, cells: Any) -> None:
        """Lists for these positions, of new shapes."""
        here = lambda leaf: jnp.asarray(np.asarray(leaf))
        n_atoms, pbc = here(self._layout.systems[0].n_atoms), pbc_of(self.structures)
        lists = allocate(self._potentials, self.config, here(positions), here(cells), n_atoms, pbc)
        md = with_neighbors(self.state.md, place_systems(lists, self._layout.mesh))
        self.state, self._compiled = self.state._replace(md=md), None

    def _open(self) -> None:
        marks = self._marks or [None] * len(self.paths)
        self._writers = [
            open_trajectory(path, structure, mark=mark)
            for path, structure, mark in zip(self.paths, self.structures, marks, strict=True)
        ]
        if self._marks is None:
            record = make_batch_record(
                self._layout.go_on_of, self._layout.systems, self.state, self._layout.ladder
            )
            self._write(jax.tree.map(lambda leaf: leaf[None], record), np.zeros(1, int))

    def _compile(self) -> BatchAdvanceFn:
        every, seed = self.exchange_every, self.config.seed
        # apart from the keys of the systems, which are those of single runs
        key = jax.random.fold_in(jax.random.key(seed), 2**31 - 1)
        advance = make_batch_advance(
            self._layout.go_on_of,
            self._layout.ladder,
            self._layout.mesh,
            every=self.config.every,
            n_slots=self._frames_per_chunk(),
            exchanges=None if every is None else Exchange(every, key),
        )
        arguments = (self._layout.systems, self.state, self._stop())
        self._compiled = jax.jit(advance).lower(*arguments).compile()
        self.n_compilations += 1
        return self._compiled

    def _stop(self) -> jax.Array:
        every, start = self.config.every, self.step
        last_slot = (start // every + self._frames_per_chunk()) * every
        return jnp.asarray(min(start + self._pace, last_slot, self.config.n_steps), jnp.int32)

    def _frames_per_chunk(self) -> int:
        return frames_per_chunk(self._layout.n_places, self.config.dtype)

    def _write(self, records: BatchRecord, steps: np.ndarray) -> None:
        if len(steps) == 0:
            return
        arrays: Any = jax.tree.map(lambda leaf: np.asarray(leaf)[: len(steps)], records)
        standing = np.argsort(arrays.rung, axis=1)  # the system on each rung
        parts = [
            self._frames(arrays.systems, steps, standing[:, k], k) for k in range(len(self.paths))
        ]
        passed, where = self._first_passed(parts)
        parts = [up_to(frames, passed) for frames in parts]
        pairs = zip(self._writers, parts, strict=True)
        self._marks = [writer.append(frames) for writer, frames in pairs]
        if passed:
            raise passed.error(f"in step {steps[passed.frame]} of {where}", "every trajectory")
        time_ps = 1.0e-3 * steps * self.config.timestep_fs
        for k, frames in enumerate(parts):
            self.temperature_lines[k] = self.temperature_lines[k].add(time_ps, frames.temperature_K)
            self._watch(frames, k)
        total = np.sum([frames.conserved_energy for frames in parts], axis=0)
        self.energy_line = self.energy_line.add(time_ps, total)

    def _first_passed(self, parts: Sequence[Frames]) -> tuple[Passed | None, Path | None]:
        """The first frame of all that passes a limit, and whose it is."""
        found = [
            (passed, path)
            for frames, structure, path in zip(parts, self.structures, self.paths, strict=True)
            if (passed := first_passed(frames, structure, self.limits))
        ]
        return min(found, key=lambda pair: pair[0].frame, default=(None, None))

    def _frames(self, records: Any, steps: np.ndarray, which: np.ndarray, k: int) -> Frames:
        n = self.structures[k].n_atoms
        chosen = [leaf[np.arange(len(steps)), which] for leaf in records]
        trimmed = [
            leaf[:, :n] if leaf.ndim == 3 and i < 3 else leaf for i, leaf in enumerate(chosen)
        ]
        frames = make_frames(
            Record(*trimmed),
            steps,
            structure=self.structures[k],
            config=self.config,
            reference_energy=self.references[k],
        )
        return frames if self.exchange_every is None else frames._replace(replica=which)

    def _watch(self, frames: Frames, k: int) -> None:
        """Look at as many frames of all systems as a single run looks at."""
        each = max(1, MOST_FRAMES // len(self.paths))
        every = 1 + (len(frames.step) - 1) // each
        some: Any = jax.tree.map(lambda leaf: leaf[::every], frames)
        found = closest_approach(some, self.structures[k], self.potential.statistics)
        if found and self.closest is None:
            warnings.warn(f"{found}.", stacklevel=2)
        if found and (self.closest is None or found.distance < self.closest.distance):
            self.closest = found

    def _save(self) -> None:
        n = len(self.structures)
        lines = (self.energy_line, *self.temperature_lines)
        kept = jax.tree.map(lambda leaf: leaf[:n], self.state)
        sums = tuple(number for line in lines for number in line)
        save_checkpoint(self.out, Checkpoint(kept, self._marks, sums), self._identity)

    def _explain(self, status: np.ndarray) -> str:
        (bad,) = np.nonzero(status[: len(self.structures)] & ~np.uint8(OVERFLOW))
        first = int(bad[0])
        path = self.paths[int(self.state.places.rung[first])]
        where = f"in step {self.step + 1} of {path}"
        return explain(int(status[first]), where, "every trajectory")


def trajectory_paths(out: Path, n_systems: int) -> list[Path]:
    """`run.xyz` of three systems: `run.0.xyz`, `run.1.xyz`, `run.2.xyz`."""
    return [out.with_name(f"{out.stem}.{k}{out.suffix}") for k in range(n_systems)]
