"""Several runs at once: their steps are one compiled program (`jmlip.training.rows`).

With `training.devices` the runs are spread over devices: each device takes the steps of its runs,
on whole batches. Validation sets are compared one after the other, each divided among all devices.

Every run stays what it is alone: a directory, an order of its data, a course, checkpoints, an end.
Its driver asks for steps (`Trainer.steps`); here one step of each is taken together, and each run
is sent its own. What a run computes does not depend on the others but for rounding: batches are
padded to one size, and sums over padded arrays may be taken in another order.

A run that has ended leaves its place to the batches of another, whose result nobody reads, so that
nothing is compiled anew.
"""

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax

from jmlip.core.checkpoint import remove_partial
from jmlip.core.config import to_dict
from jmlip.core.errors import ConfigError, JmlipError
from jmlip.core.interrupts import deferred_interrupts
from jmlip.core.lock import only_writer
from jmlip.core.structure import Structure
from jmlip.graphs.batching import Bucket
from jmlip.graphs.graph import AtomGraph, Batch
from jmlip.models.ani import ANI
from jmlip.models.hipnn import HIPNN
from jmlip.potentials.potential import Potential
from jmlip.training.checkpoints import DIRECTORY, FREE_TO_CHANGE
from jmlip.training.config import LoopConfig, TrainingConfig
from jmlip.training.devices import OnHost, make_devices, require_devices
from jmlip.training.feed import Feed
from jmlip.training.loop import begin, finish, make_trainer
from jmlip.training.progress import make_display
from jmlip.training.requirements import require_groups, require_orders
from jmlip.training.rows import Row, make_row_step
from jmlip.training.step import Step, StepReport
from jmlip.training.trainer import Asked, Trainer
from jmlip.training.validation import require_labels

INITIAL = {ANI: ("energy_shift",), HIPNN: ("r_low", "r_high", "energy_shift")}
"""Fields that only decide where parameters begin, by class of the model."""
LARGEST_WASTE = 1.2
"""How much larger than needed a batch may be, so that nothing is compiled anew."""
JointStep = Callable[[Sequence[Asked], Sequence[Feed]], list[tuple[Row, StepReport]]]
"""One step of each run, from what each asks for and the feed that its batch comes from."""


class Run(NamedTuple):
    """What one of the runs is made of, as `fit` takes it."""

    potential: Potential
    train: Sequence[Structure]
    validation: Sequence[Structure]
    config: TrainingConfig
    run_dir: Path


def fit_together(
    runs: Sequence[Run], *, progress: bool = True, told: set[str] | None = None
) -> list[Potential]:
    """Fit several potentials at once, each as `fit` would with `resume`.

    Args:
        runs: of one model, loss and precision; data, seeds and first parameters may differ. They
            are spread over `training.devices` devices, or as many as there are runs.
        progress: show the progress of the first run on standard error.
        told: notices that were given before and are not repeated; those of the first are added.

    Returns:
        The potential of each run that was best on its validation set.

    Raises:
        ConfigError: the runs cannot share a program; or as in `fit`.
        JmlipError: they do not fit into the memory of the devices.
        DivergenceError: a run has left the finite numbers; the others keep their checkpoints.
        KeyboardInterrupt: the runs were interrupted; each has written a checkpoint.
    """
    require_shared(runs)
    begun, loop = time.monotonic(), runs[0].config.training
    n_devices = min(loop.devices, len(runs))
    with contextlib.ExitStack() as stack:
        stack.enter_context(_memory_in_words(len(runs), n_devices))
        stack.enter_context(jax.enable_x64(loop.dtype == "float64"))
        interrupt = stack.enter_context(deferred_interrupts())
        trainers = []
        for number, (potential, train, validation, own, run_dir) in enumerate(runs):
            require_labels(own, train, validation)
            require_groups(potential, own)
            require_orders(potential, (*train, *validation), own)
            run_dir.mkdir(parents=True, exist_ok=True)
            stack.enter_context(only_writer(run_dir))
            display = stack.enter_context(make_display(progress and number == 0))
            remove_partial(run_dir, run_dir / DIRECTORY)
            trainer = make_trainer(
                *(potential, train, validation, own, run_dir, begun, display, interrupt),
                devices=OnHost(),
                compared_on=make_devices(n_devices),
            )
            trainer.compare = trainers[0].compare if trainers else trainer.compare
            trainers.append(trainer)
        for number, (trainer, run) in enumerate(zip(trainers, runs, strict=True)):
            own = told if number == 0 and told is not None else set[str]()
            begin(trainer, run.train, resume=True, told=own)
        reasons = take_turns(trainers, make_joint_step(trainers[0].step, n_devices))
        return [
            finish(trainer, run.potential, reason)
            for trainer, run, reason in zip(trainers, runs, reasons, strict=True)
        ]


def require_shared(runs: Sequence[Run]) -> None:
    """Refuse runs whose steps are not one function.

    Raises:
        ConfigError: they differ in the model or in what else is compiled.
    """
    first = runs[0]
    if first.config.loss.hierarchy is not None:
        raise ConfigError(
            "members that are trained together cannot have loss.hierarchy, which compares with the "
            "reference energies of each; remove it, or train one after the other."
        )
    require_spread(first.config.training)
    for run in runs[1:]:
        one, other = (_compiled(r) for r in (first, run))
        if differing := [name for name in {**one, **other} if one.get(name) != other.get(name)]:
            name = differing[0]
            source = ", which follows from the data of each" if name.startswith("model.") else ""
            raise ConfigError(
                f"members that are trained together must have the same {name}{source}, found "
                f"{one.get(name)} and {other.get(name)}; give the same one to all, or train one "
                "after the other."
            )


def require_spread(loop: LoopConfig) -> None:
    """Refuse ways of dividing batches for runs that take whole ones, and devices there are not.

    Raises:
        ConfigError: naming the field.
    """
    if loop.accumulate > 1:
        raise ConfigError(
            "members that are trained together take whole batches, found training.accumulate = "
            f"{loop.accumulate}; remove it, or train one after the other."
        )
    if loop.parallel == "pmap":
        raise ConfigError(
            "members that are trained together are spread by sharding, found training.parallel = "
            "'pmap'; remove it, or train one after the other."
        )
    require_devices(loop.devices)


@contextlib.contextmanager
def _memory_in_words(n_runs: int, n_devices: int) -> Iterator[None]:
    """Say what to do where the runs do not fit."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not (isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error)):
            raise
        each = -(-n_runs // n_devices)
        raise JmlipError(
            "members that are trained together must fit into the memory of their device, found "
            f"{each} on each of {n_devices} that do not; take fewer at once (jmlip ensemble "
            "--at-once), more training.devices, or a smaller training.batch_size."
        ) from error


def _compiled(run: Run) -> dict[str, Any]:
    """Everything that the program of a step is made of, and more, by name."""
    model: Any = run.potential.model
    sections = {**to_dict(run.config), "model": to_dict(model.config)}
    fields = {
        f"{s}.{name}": value for s, table in sections.items() for name, value in table.items()
    }
    free = {f"model.{name}" for name in INITIAL.get(type(model), ())}
    free |= {"training.seed", *FREE_TO_CHANGE}
    return {name: value for name, value in fields.items() if name not in free}


def take_turns(trainers: Sequence[Trainer], step: JointStep) -> list[str]:
    """Drive all runs to their ends, a step of each at a time.

    Returns:
        The configuration keys that ended them.
    """
    courses = [trainer.steps() for trainer in trainers]
    asked: dict[int, Asked] = {}
    reasons: dict[int, str] = {}

    def resume(number: int, *sent: tuple[Row, StepReport]) -> None:
        try:
            asked[number] = courses[number].send(sent[0] if sent else None)  # type: ignore[arg-type]
        except StopIteration as ended:
            asked.pop(number, None)
            reasons[number] = ended.value

    for number in range(len(courses)):
        resume(number)
    while asked:
        # the place of a run that has ended is filled by the first that has not
        places = [number if number in asked else min(asked) for number in range(len(courses))]
        found = step([asked[n] for n in places], [trainers[n].train for n in places])
        interrupted = False
        for number in list(asked):
            try:
                resume(number, found[number])
            except KeyboardInterrupt:  # let the others write their checkpoints, too
                interrupted = True
        if interrupted:
            raise KeyboardInterrupt
    return [reasons[number] for number in range(len(courses))]


def make_joint_step(step: Step, n_devices: int = 1) -> JointStep:
    """One step of each run, as one program on so many devices."""
    take_rows, known = make_row_step(step, n_devices), list[Bucket]()

    def padded(asked: Sequence[Asked], feeds: Sequence[Feed]) -> Iterator[Batch]:
        sizes = [_bucket(each.fed.batch.graph) for each in asked]
        bucket = _common(sizes, known)
        for (_, fed, _), size, feed in zip(asked, sizes, feeds, strict=True):
            yield fed.batch if size == bucket else feed.padded(fed.indices, bucket)

    def take(asked: Sequence[Asked], feeds: Sequence[Feed]) -> list:
        states, _, controls = zip(*asked, strict=True)
        return take_rows(states, list(padded(asked, feeds)), controls)

    return take


def _common(sizes: Sequence[Bucket], known: list[Bucket]) -> Bucket:
    """A size for all, one that is compiled already where that wastes little."""
    needed = Bucket(*(max(size) for size in zip(*sizes, strict=True)))
    for bucket in known:
        room = all(need <= have for need, have in zip(needed, bucket, strict=True))
        if room and bucket.n_pairs <= LARGEST_WASTE * needed.n_pairs:
            return bucket
    known.append(needed)
    return needed


def _bucket(graph: AtomGraph) -> Bucket:
    n_atoms = len(graph.nodes.species)
    return Bucket(n_atoms, len(graph.receivers) // n_atoms, len(graph.n_node))
