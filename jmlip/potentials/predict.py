"""Predictions for lists of structures: few programs, compiled once, used again by every later call.

Frames are sorted by size, cut into batches, and padded to sizes from a coarse geometric grid, so
that calls with similar structures meet programs that exist. The programs belong to the model and
its configuration, not to one potential: other parameters use the same.
"""

import functools
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import flax.linen as nn
import jax
import numpy as np
from jaxtyping import Float

from jmlip.core.errors import PotentialError
from jmlip.core.structure import Structure
from jmlip.core.types import AtomVectors, GraphTensors, Params, PerAtom
from jmlip.graphs.batching import Bucket, Frame, exact_bucket, make_frame, pad_batch
from jmlip.graphs.graph import AtomGraph
from jmlip.potentials.evaluate import evaluate

CLOSEST_APPROACH = 0.05
"""Angstrom; atoms nearer than this lie on top of each other, and no model means anything there."""

_WINDOW = 4096  # structures whose neighbor lists are in memory at once
_LARGEST_WASTE = 3.0  # of pair slots, before another program is worth its compilation


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
    species: tuple[int, ...],
    cutoff: float,
    reference_energies: tuple[float, ...],
    dtype: Literal["float32", "float64"],
    batch_size: int,
) -> list[Prediction]:
    """See `Potential.predict`, which binds what belongs to the potential."""
    found: dict[int, Prediction] = {}
    references = np.asarray(reference_energies, np.float64)
    for start in range(0, len(structures), _WINDOW):
        frames = {
            index: make_frame(
                structure, species=species, cutoff=cutoff, reference_energies=reference_energies
            )
            for index, structure in enumerate(structures[start : start + _WINDOW], start)
        }
        for index, frame in frames.items():
            require_apart(frame, f"structure {index}")
        pending = []
        for indices, bucket in _plan(frames, batch_size):
            batch = [frames[index] for index in indices]
            with jax.enable_x64(dtype == "float64"):
                graph = pad_batch(batch, bucket, cutoff=cutoff, dtype=np.dtype(dtype).type).graph
                # not waited for: the next batch is padded while this one is computed
                pending.append((indices, run(model, params, graph)))
        for indices, arrays in pending:
            batch = [frames[index] for index in indices]
            unpacked = unpack(arrays, batch, references, [f"structure {i}" for i in indices])
            found.update(zip(indices, unpacked, strict=True))
    return [found[index] for index in range(len(structures))]


def unpack(
    arrays: Arrays, frames: Sequence[Frame], references: np.ndarray, names: Sequence[str]
) -> Iterator[Prediction]:
    """Results of the frames of one batch, on the host.

    Args:
        arrays: from `run`.
        frames: what the batch held, in order.
        references: energy of each element, eV.
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
        energies = atomic[part] + references[frame.species]
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


def round_up(bucket: Bucket) -> Bucket:
    """Sizes from a grid of four steps per octave: at most a quarter is padding."""
    graphs = _round_up(bucket.n_graphs - 1) + 1
    return Bucket(_round_up(bucket.n_atoms), _round_up(bucket.n_slots), graphs)


def _round_up(size: int) -> int:
    step = max(1, 2 ** (max(size - 1, 1).bit_length() - 3))
    return -(-size // step) * step


def _plan(frames: dict[int, Frame], batch_size: int) -> list[tuple[list[int], Bucket]]:
    """Batches of about equal numbers of frames, and a bucket for each, shared where it is worth."""
    size = lambda index: (frames[index].mask.shape, index)
    n_batches = -(-len(frames) // batch_size)
    batches = np.array_split(np.array(sorted(frames, key=size)), n_batches)
    plan: list[tuple[list[int], Bucket]] = []
    bucket = None
    for indices in reversed([batch.tolist() for batch in batches]):
        needed = round_up(exact_bucket([frames[index] for index in indices]))
        if bucket is None or not _serves(bucket, needed):
            bucket = needed
        plan.append((indices, bucket))
    return plan


def _serves(bucket: Bucket, needed: Bucket) -> bool:
    fits = all(have >= need for have, need in zip(bucket, needed, strict=True))
    waste = bucket.n_atoms * bucket.n_slots / (needed.n_atoms * needed.n_slots)
    return fits and waste <= _LARGEST_WASTE
