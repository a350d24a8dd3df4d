"""Steps of several runs as one program: row k of every stacked array belongs to run k.

The program is `jax.vmap` of the step of one run, by `jit` of `shard_map` over a mesh: the rows are
spread over its devices, and each device computes those it holds. States stay stacked, and on their
devices, from step to step; a run takes its own out where it validates or writes a checkpoint. All
that crosses between devices are the few numbers that steps report.

As every device has as many rows as the others, the last run fills those that are left over: that
takes no time, as the devices work side by side, and nobody reads them.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jmlip.core.types import Params, PyTree
from jmlip.graphs.graph import Batch
from jmlip.training.step import Controls, Step, StepReport, TrainState

AXIS = "runs"
_SPREAD: Any = PartitionSpec(AXIS)
_WHOLE: Any = PartitionSpec()


class Row(NamedTuple):
    """The state of one run among those of all, until the next step is taken."""

    stacked: TrainState  # leaves with a first axis of runs
    number: int

    @property
    def average(self) -> Params:
        """Moving average of the parameters, on the host."""
        return self._taken(self.stacked.average)

    def on_host(self) -> TrainState:
        """A copy of it all, on the host."""
        return self._taken(self.stacked)

    def _taken(self, tree: PyTree) -> Any:
        # an array remembers its copy on the host, so that it is made once for all runs
        return jax.tree.map(lambda leaf: np.array(np.asarray(leaf)[self.number]), tree)


State = TrainState | Row


def own(state: State) -> TrainState:
    """The state of one run; where it is a row, a copy on the host."""
    return state.on_host() if isinstance(state, Row) else state


RowStep = Callable[
    [Sequence[State], Sequence[Batch], Sequence[Controls]], list[tuple[Row, StepReport]]
]
"""One step of each run from their states, which it takes over, batches of one size, and controls.

States are those it gave at the step before, in the same order, or those to begin with.
"""


def make_row_step(step: Step, n_devices: int = 1) -> RowStep:
    """One step of each run on the first devices; their number may be any.

    Args:
        step: of one run, alone on its device.
        n_devices: over how many devices runs are spread.
    """
    mesh = Mesh(np.array(jax.local_devices()[:n_devices]), (AXIS,))
    spread, whole = NamedSharding(mesh, _SPREAD), NamedSharding(mesh, _WHOLE)
    of_rows = jax.shard_map(
        jax.vmap(step),
        mesh=mesh,
        in_specs=(_SPREAD, _SPREAD, _SPREAD),
        out_specs=_SPREAD,
        check_vma=False,  # the kernels do not say how they vary
    )

    def of_all(states: TrainState, batches: Batch, controls: Controls) -> tuple:
        states, reports = of_rows(states, batches, controls)
        n_rows = len(reports.loss)
        return states, [jax.tree.map(lambda leaf, k=k: leaf[k], reports) for k in range(n_rows)]

    compiled = jax.jit(of_all, donate_argnums=0, out_shardings=(spread, whole))

    def stack(trees: Sequence[PyTree]) -> Any:
        n = len(trees)
        rows = np.minimum(np.arange(n + -n % n_devices), n - 1)
        stacked = lambda *leaves: np.stack([np.asarray(leaves[k]) for k in rows])
        return jax.device_put(jax.tree.map(stacked, *trees), spread)

    def take(states: Sequence[State], batches: Sequence[Batch], controls: Sequence[Controls]):
        first = states[0]
        held = first.stacked if isinstance(first, Row) else stack(states)
        held, reports = compiled(held, stack(batches), stack(controls))
        return [(Row(held, k), reports[k]) for k in range(len(states))]

    return take
