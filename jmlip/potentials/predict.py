"""Predictions for lists of structures: few programs, compiled once, used again by every later call.

Batches are padded to a few sizes on a coarse geometric grid, so that later calls with similar
structures meet programs that exist. The programs belong to the model and its configuration, not to
one potential: other parameters use the same.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Literal, NamedTuple

import flax.linen as nn
import jax
import numpy as np
from jaxtyping import Float

from jmlip.core.errors import ConfigError, PotentialError
from jmlip.core.structure import Structure
from jmlip.core.types import AtomVectors, GraphTensors, Params, PerAtom
from jmlip.graphs.batching import Bucket, exact_bucket, pad_batch
from jmlip.graphs.buckets import choose_buckets, plan_batches, round_up, sizes_of, smallest_bucket
from jmlip.graphs.frames import Frame
from jmlip.graphs.graph import AtomGraph
from jmlip.potentials.evaluate import evaluate

CLOSEST_APPROACH = 0.05
"""Angstrom; atoms nearer than this lie on top of each other, and no model means anything there."""

_WINDOW = 4096  # structures whose neighbor lists are in memory at once


class Prediction(NamedTuple):
    """What a potential says of one structure, in float64, reference energies included."""

    energy: float  # eV
    forces: Float[np.ndarray, "n 3"]  # eV / angstrom
    stress: Float[np.ndarray, "3 3"] | None  # eV / angstrom^3; None where there is no volume
    atomic_energies: Float[np.ndarray, " n"]  # eV; their sum is the energy


class Arrays(NamedTuple):
    """What the compiled program gives back."""

    atomic_energies: PerAtom  # eV, without the reference energies
    forces: AtomVectors
    stress: GraphTensors


@functools.partial(jax.jit, static_argnums=0)
def run(model: nn.Module, params: Params, graph: AtomGraph) -> Arrays:
    """The compiled program: one for each model configuration, padded size and precision."""
    apply = lambda params, graph: model.apply({"params": params}, graph)
    result = evaluate(apply, params, graph)  # type: ignore[arg-type]
    return Arrays(result.output.energy, result.forces, result.stress)


def predict(
    model: nn.Module,
    params: Params,
    structures: Sequence[Structure],
    *,
    make: Callable[[Structure], Frame],
    cutoff: float,
    references: np.ndarray,
    dtype: Literal["float32", "float64"],
    batch_size: int,
) -> list[Prediction]:
    """See `Potential.predict`, which binds what belongs to the potential."""
    if batch_size < 1:
        raise ConfigError(f"batch_size must be 1 or more, found {batch_size}.")
    predictions: list[Prediction] = []
    for start in range(0, len(structures), _WINDOW):
        window = structures[start : start + _WINDOW]
        predictions += _predict_window(
            model,
            params,
            [make(structure) for structure in window],
            [f"structure {index}" for index in range(start, start + len(window))],
            cutoff=cutoff,
            references=references,
            dtype=dtype,
            batch_size=batch_size,
        )
    return predictions


def unpack(
    arrays: Arrays, frames: Sequence[Frame], references: np.ndarray, names: Sequence[str]
) -> Iterator[Prediction]:
    """Results of the frames of one batch, on the host.

    Args:
        arrays: from `run`.
        frames: what the batch held, in order.
        references: energy of each element, eV, one row for each head.
        names: of the frames, for messages.

    Raises:
        PotentialError: a result is not finite.
    """
    atomic, forces, stress = (np.asarray(array, np.float64) for array in arrays)
    start = 0
    for graph, (frame, name) in enumerate(zip(frames, names, strict=True)):
        part = slice(start, start + len(frame.species))
        start = part.stop
        # summed here in float64: in float32 the sum of many atoms would lose digits
        energies = atomic[part] + references[frame.head or 0, frame.species]
        prediction = Prediction(
            energy=float(energies.sum()),
            forces=forces[part],
            stress=stress[graph] if frame.volume > 0.0 else None,
            atomic_energies=energies,
        )
        if not all(np.isfinite(value).all() for value in prediction if value is not None):
            raise PotentialError(
                f"predictions must be finite, found NaN or infinity for {name}; look for atoms "
                "far too close, or for parameters that diverged in training."
            )
        yield prediction


def require_apart(frame: Frame, name: str) -> None:
    """Refuse atoms on top of each other.

    Raises:
        PotentialError: naming the two atoms.
    """
    squared = np.where(frame.mask, np.sum(frame.vectors**2, axis=-1), np.inf)
    if squared.size and squared.min() < CLOSEST_APPROACH**2:
        atom, slot = np.unravel_index(squared.argmin(), squared.shape)
        raise PotentialError(
            f"atoms must be at least {CLOSEST_APPROACH} angstrom apart, found atoms {atom} and "
            f"{frame.senders[atom, slot]} of {name} {squared.min() ** 0.5:.3g} angstrom apart; "
            "correct the positions or the cell."
        )


def rounded(bucket: Bucket) -> Bucket:
    """Sizes that later calls with similar structures will meet again."""
    graphs = round_up(bucket.n_graphs - 1) + 1
    return Bucket(round_up(bucket.n_atoms), round_up(bucket.n_slots), graphs)


def _predict_window(
    model: nn.Module,
    params: Params,
    frames: Sequence[Frame],
    names: Sequence[str],
    *,
    cutoff: float,
    references: np.ndarray,
    dtype: Literal["float32", "float64"],
    batch_size: int,
) -> list[Prediction]:
    for frame, name in zip(frames, names, strict=True):
        require_apart(frame, name)
    # each bucket is a program to compile: few structures are not worth more than one
    n_buckets = min(3, 1 + len(frames) // (4 * batch_size))
    sizes = sizes_of(frames)
    chosen = choose_buckets(sizes, batch_size=batch_size, max_buckets=n_buckets)
    buckets = sorted({rounded(bucket) for bucket in chosen})
    pending = []
    for members in plan_batches(sizes, buckets, batch_size=batch_size):
        indices: list[int] = members.tolist()
        batch = [frames[index] for index in indices]
        bucket = smallest_bucket(exact_bucket(batch), buckets)
        with jax.enable_x64(dtype == "float64"):
            graph = pad_batch(batch, bucket, cutoff=cutoff, dtype=np.dtype(dtype).type).graph
            # not waited for: the next batch is padded while this one is computed
            pending.append((indices, batch, run(model, params, graph)))
    found: dict[int, Prediction] = {}
    for indices, batch, arrays in pending:
        results = unpack(arrays, batch, references, [names[index] for index in indices])
        found.update(zip(indices, results, strict=True))
    return [found[index] for index in range(len(frames))]
