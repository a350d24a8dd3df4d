"""Where a step runs: on one device, or data-parallel on several, of one process or of more.

The state of training is the same everywhere; a batch is divided in shares of one shape, stacked
along a first axis that is spread over the devices, and each device takes its shares in turns. All
that crosses between devices are the sums of the loss and the gradient, once a step
(`jmlip.training.shares`); every device then takes the same step of the optimizer.

"sharding" places the arrays by `NamedSharding` on a mesh and runs `jit` of `shard_map` over it. It
is not left to `jit` alone to divide the work: it would have to look into the models' kernels, which
are custom calls, and into sums that scatter. "pmap" hands the same function to `jax.pmap`.
"""

import contextlib
import inspect
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jmlip.core.errors import ConfigError
from jmlip.core.types import PyTree
from jmlip.graphs.graph import Batch
from jmlip.training.shares import Shares

Parallel = Literal["sharding", "pmap"]
MatmulPrecision = Literal["float32", "tf32", "bf16"]
_JAX_PRECISION = {"float32": "float32", "tf32": "tensorfloat32", "bf16": "BF16_BF16_F32"}
AXIS = "shares"
_SPREAD: Any = PartitionSpec(AXIS)
_WHOLE: Any = PartitionSpec()


class OneDevice:
    """Batches are not divided."""

    shares: Shares | None = None
    n_shares: int | None = None
    mine = slice(None)

    def compile(self, function: Callable, *, donate: bool = False) -> Callable:
        """A program of a function of a state, a batch and, perhaps, more."""
        return jax.jit(function, donate_argnums=0 if donate else ())

    def place(self, batch: Batch) -> Batch:
        """Put a batch on the device."""
        return jax.tree.map(jnp.asarray, batch)

    def everywhere(self, tree: PyTree) -> PyTree:
        """Put on the device what does not belong to a batch."""
        return jax.tree.map(jnp.asarray, tree)


class SeveralShares:
    """Batches are divided among the devices of a mesh, and on each of them in turns.

    Args:
        mesh: devices in a row along `AXIS`; as many of each process, those of one side by side.
        turns: shares of a device.
        parallel: the way, see the module.
    """

    def __init__(self, mesh: Mesh, *, turns: int = 1, parallel: Parallel = "sharding"):
        self.shares: Shares | None = Shares(AXIS, turns)
        self.n_shares: int | None = mesh.size * turns
        self._mesh, self._turns, self._parallel = mesh, turns, parallel
        here = [d.process_index == jax.process_index() for d in mesh.devices.flat]
        first = here.index(True)
        self.mine = slice(first * turns, (first + sum(here)) * turns)
        """The shares that the devices of this process take."""

    def compile(self, function: Callable, *, donate: bool = False) -> Callable:
        """A program of a function of a state, the shares of one device and, perhaps, more.

        What the function returns must be the same on all devices.
        """
        n = len(inspect.signature(function).parameters)
        donated = 0 if donate else ()
        if self._parallel == "pmap":
            return jax.pmap(
                function,
                AXIS,
                in_axes=tuple(0 if k == 1 else None for k in range(n)),
                out_axes=None,  # type: ignore[arg-type]
                devices=self._mesh.devices.flatten().tolist(),
                donate_argnums=donated,
            )
        shared = jax.shard_map(
            function,
            mesh=self._mesh,
            in_specs=tuple(_SPREAD if k == 1 else _WHOLE for k in range(n)),
            out_specs=_WHOLE,
            check_vma=False,  # the kernels do not say how they vary
        )
        return jax.jit(shared, donate_argnums=donated)

    def place(self, batch: Batch) -> Batch:
        """Put the shares of this process on its devices."""
        if self._parallel == "pmap":  # it places them itself
            by_device = lambda x: x.reshape(len(x) // self._turns, self._turns, *x.shape[1:])
            return jax.tree.map(by_device, batch)
        spread = NamedSharding(self._mesh, _SPREAD)
        put = lambda leaf: jax.make_array_from_process_local_data(spread, leaf)
        return jax.tree.map(put, batch)

    def everywhere(self, tree: PyTree) -> PyTree:
        """Put the same on all devices, where it is not there already."""
        whole = NamedSharding(self._mesh, _WHOLE)

        def put(leaf: Any) -> Any:
            if isinstance(leaf, jax.Array) and leaf.sharding == whole:
                return leaf
            # from the host: an array of this process alone is no array of all
            return jax.device_put(np.asarray(leaf), whole)

        return jax.tree.map(put, tree)


class OnHost:
    """Batches and states stay in the memory of the host, until those of several runs are stacked.

    See `jmlip.training.rows`, which also decides where the steps run.
    """

    shares: Shares | None = None
    n_shares: int | None = None
    mine = slice(None)

    def compile(self, function: Callable, *, donate: bool = False) -> Callable:
        """A function that becomes a part of a program; that one takes over memory, or does not."""
        del donate
        return jax.jit(function)

    def place(self, batch: Batch) -> Batch:
        """Leave a batch where it is."""
        return batch

    def everywhere(self, tree: PyTree) -> PyTree:
        """Take to the host what does not belong to a batch."""
        return jax.tree.map(np.asarray, tree)


Devices = OneDevice | SeveralShares | OnHost
ONE_DEVICE = OneDevice()


def make_devices(devices: int, *, accumulate: int = 1, parallel: Parallel = "sharding") -> Devices:
    """The first devices of each process, as many of each.

    Args:
        devices: their number, all processes together.
        accumulate: turns of each device in a step.
        parallel: "sharding" or "pmap".

    Raises:
        ConfigError: there are not so many.
    """
    require_devices(devices)
    if devices == accumulate == 1:
        return ONE_DEVICE
    n_processes = jax.process_count()
    first = [d for p in range(n_processes) for d in _devices_of(p)[: devices // n_processes]]
    return SeveralShares(Mesh(np.array(first), (AXIS,)), turns=accumulate, parallel=parallel)


def require_devices(devices: int) -> None:
    """Refuse more devices than there are, all processes together.

    Raises:
        ConfigError: there are not so many, or not as many for each process.
    """
    n_processes = jax.process_count()
    if devices % n_processes:
        raise ConfigError(
            f"training.devices must be a multiple of the number of processes, found {devices} and "
            f"{n_processes} processes; all processes take as many."
        )
    each = devices // n_processes
    if each > jax.local_device_count():
        raise ConfigError(
            f"training.devices must not be more than there are, found {devices} and "
            f"{jax.local_device_count()} in each of {n_processes} processes; lower it (on a CPU, "
            "XLA_FLAGS=--xla_force_host_platform_device_count=8 in the environment makes eight)."
        )


def has_precisions() -> bool:
    """Whether there is a choice of how exactly products of matrices are taken."""
    return jax.default_backend() != "cpu"


def matmul_precision(precision: MatmulPrecision | None) -> AbstractContextManager[None]:
    """Products of matrices that are traced within the block are taken so; `None`: as ever.

    Not on a CPU, whose compiler refuses "bf16" for some shapes; see `has_precisions`.
    """
    if precision is None:
        return contextlib.nullcontext()
    return jax.default_matmul_precision(_JAX_PRECISION[precision])


def _devices_of(process: int) -> list[Any]:
    return [device for device in jax.devices() if device.process_index == process]
