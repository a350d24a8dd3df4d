"""From structures to padded batches of few shapes: `make_frame`, `choose_buckets`, `pad_batch`."""

from collections.abc import Sequence
from typing import NamedTuple

import jraph
import numpy as np

from jmlip.core.errors import DataError
from jmlip.core.structure import Structure
from jmlip.graphs.graph import Batch, Edges, Globals, Labels, Nodes
from jmlip.ops.neighbors import Neighbors, neighbors


class Frame(NamedTuple):
    """One structure with its neighbors in slots, on the host in float64.

    With k the largest number of neighbors of its atoms; slots without neighbor have mask `False`.
    """

    species: np.ndarray  # (n,) position in the list of elements
    senders: np.ndarray  # (n, k)
    reverse_slot: np.ndarray  # (n, k): the opposite pair stands in this slot of the sender
    vectors: np.ndarray  # (n, k, 3), angstrom
    mask: np.ndarray  # (n, k)
    volume: float  # angstrom^3, 0 where not periodic in three directions
    energy: float | None  # without the reference energies, eV
    forces: np.ndarray | None
    stress: np.ndarray | None
    atomic_energies: np.ndarray | None  # without the reference energies, eV


class Bucket(NamedTuple):
    """Padded sizes of a batch; the last graph is padding."""

    n_atoms: int
    n_slots: int
    n_graphs: int


def make_frame(
    structure: Structure,
    *,
    species: tuple[int, ...],
    cutoff: float,
    reference_energies: tuple[float, ...],
) -> Frame:
    """Neighbors and labels of one structure.

    Args:
        structure: the configuration.
        species: atomic numbers the potential knows, in its order.
        cutoff: angstrom.
        reference_energies: energy of each element, eV; subtracted from the labels in float64.

    Raises:
        DataError: an element is not among `species`.
    """
    index = species_index(structure, species)
    pairs = neighbors(structure.positions, structure.cell, structure.pbc, cutoff)
    count = np.bincount(pairs.receivers, minlength=structure.n_atoms)
    slot = np.arange(len(pairs.receivers)) - np.repeat(np.cumsum(count) - count, count)
    shape = (structure.n_atoms, int(count.max()))
    place = (pairs.receivers, slot)
    senders, reverse_slot = np.zeros(shape, np.int32), np.zeros(shape, np.int32)
    vectors, mask = np.zeros((*shape, 3)), np.zeros(shape, bool)
    senders[place], vectors[place], mask[place] = pairs.senders, pairs.vectors, True
    reverse_slot[place] = slot[reverse_pairs(pairs)]
    reference = np.asarray(reference_energies, np.float64)[index]
    return Frame(
        index,
        senders,
        reverse_slot,
        vectors,
        mask,
        volume=structure.volume if structure.is_periodic else 0.0,
        energy=None if structure.energy is None else structure.energy - float(reference.sum()),
        forces=structure.forces,
        stress=structure.stress,
        atomic_energies=_subtract(structure.atomic_energies, reference),
    )


def reverse_pairs(pairs: Neighbors) -> np.ndarray:
    """For each pair (i, j, S) the position of (j, i, -S) in the list."""
    forward = np.lexsort((*pairs.shifts.T[::-1], pairs.senders, pairs.receivers))
    backward = np.lexsort((*-pairs.shifts.T[::-1], pairs.receivers, pairs.senders))
    reverse = np.empty(len(forward), np.int64)
    reverse[backward] = forward
    return reverse


def species_index(structure: Structure, species: tuple[int, ...]) -> np.ndarray:
    """Position of each atom's element in `species`.

    Raises:
        DataError: an element is not among `species`.
    """
    order = np.argsort(species)
    known = np.asarray(species)[order]
    place = np.searchsorted(known, structure.species).clip(max=len(known) - 1)
    strange = known[place] != structure.species
    if strange.any():
        raise DataError(
            f"elements must be among {_symbols(species)}, found "
            f"{_symbols(sorted(set(structure.species[strange].tolist())))} in {structure.formula}."
        )
    return order[place].astype(np.int32)


def choose_buckets(
    frames: Sequence[Frame], *, batch_size: int, max_buckets: int = 3
) -> tuple[Bucket, ...]:
    """Few padded sizes that serve every batch of `batch_size` frames, smallest first.

    Frames of one size give one bucket without waste. Otherwise the largest bucket takes any batch,
    and smaller ones those that random batches need at equal quantiles.
    """
    atoms = np.array([len(frame.species) for frame in frames])
    slots = np.array([max(frame.mask.shape[1], 1) for frame in frames])
    largest = _bucket(np.sort(atoms)[-batch_size:].sum(), slots.max(), batch_size, atoms)
    if np.ptp(atoms) == 0 and np.ptp(slots) == 0:
        return (largest,)
    generator = np.random.default_rng(0)
    draws = [
        generator.choice(len(frames), min(batch_size, len(frames)), replace=False)
        for _ in range(200)
    ]
    quantiles = np.linspace(0.0, 1.0, max_buckets + 1)[1:-1]
    sizes = {
        _bucket(
            np.quantile([atoms[d].sum() for d in draws], q),
            np.quantile([slots[d].max() for d in draws], q),
            batch_size,
            atoms,
        )
        for q in quantiles
    }
    return tuple(sorted(sizes | {largest}))


def fits(frames: Sequence[Frame], bucket: Bucket) -> bool:
    """Whether the frames have room in the bucket."""
    return (
        sum(len(frame.species) for frame in frames) <= bucket.n_atoms
        and max(frame.mask.shape[1] for frame in frames) <= bucket.n_slots
        and len(frames) < bucket.n_graphs
    )


def smallest_bucket(frames: Sequence[Frame], buckets: Sequence[Bucket]) -> Bucket:
    """The first of the buckets (smallest first) that takes the frames, else one made to measure."""
    for bucket in buckets:
        if fits(frames, bucket):
            return bucket
    return exact_bucket(frames)


def exact_bucket(frames: Sequence[Frame]) -> Bucket:
    """The smallest bucket that takes the frames."""
    return Bucket(
        n_atoms=sum(len(frame.species) for frame in frames),
        n_slots=max(1, *(frame.mask.shape[1] for frame in frames)),
        n_graphs=len(frames) + 1,
    )


def pad_batch(
    frames: Sequence[Frame], bucket: Bucket, *, cutoff: float, dtype: type = np.float32
) -> Batch:
    """Put frames into one padded graph with its labels; leaves are NumPy arrays.

    Args:
        frames: what the batch holds, in order.
        bucket: padded sizes, see `choose_buckets`.
        cutoff: angstrom; padding vectors have twice its length.
        dtype: precision of all floats.

    Raises:
        ValueError: the frames do not fit.
    """
    if not fits(frames, bucket):
        raise ValueError(f"{len(frames)} frames need {exact_bucket(frames)}, found {bucket}.")
    starts = np.cumsum([0, *(len(frame.species) for frame in frames)])
    n_node = np.zeros(bucket.n_graphs, np.int32)
    n_node[: len(frames)] = np.diff(starts)
    n_node[-1] = bucket.n_atoms - starts[-1]
    graph_index = np.repeat(np.arange(bucket.n_graphs, dtype=np.int32), n_node)
    graph_mask = np.arange(bucket.n_graphs) < len(frames)
    senders, edges = _pad_edges(frames, starts, bucket, cutoff, dtype)
    volume = _filled(bucket.n_graphs, [frame.volume for frame in frames], dtype)
    species = np.zeros(bucket.n_atoms, np.int32)
    species[: starts[-1]] = np.concatenate([frame.species for frame in frames])
    graph = jraph.GraphsTuple(
        nodes=Nodes(species, np.arange(bucket.n_atoms) < starts[-1], graph_index),
        edges=edges,
        globals=Globals(graph_mask, volume),
        senders=senders,
        receivers=np.repeat(np.arange(bucket.n_atoms, dtype=np.int32), bucket.n_slots),
        n_node=n_node,
        n_edge=n_node * np.int32(bucket.n_slots),
    )
    return Batch(graph, _pad_labels(frames, starts, bucket, dtype))


def _pad_edges(frames, starts, bucket, cutoff, dtype) -> tuple[np.ndarray, Edges]:
    shape = (bucket.n_atoms, bucket.n_slots)
    own = np.arange(bucket.n_atoms, dtype=np.int32)[:, None]
    senders = np.broadcast_to(own, shape).copy()
    reverse = np.arange(shape[0] * shape[1], dtype=np.int32).reshape(shape)
    vector = np.zeros((*shape, 3), dtype)
    vector[..., 0] = 2.0 * cutoff
    mask = np.zeros(shape, bool)
    for frame, start in zip(frames, starts, strict=False):
        n, k = frame.mask.shape
        part, real = (slice(start, start + n), slice(0, k)), frame.mask
        sender = frame.senders + start
        senders[part][real] = sender[real]
        reverse[part][real] = (sender * bucket.n_slots + frame.reverse_slot)[real]
        vector[part][real] = frame.vectors[real]
        mask[part] = real
    edges = Edges(vector.reshape(-1, 3), reverse.reshape(-1), mask.reshape(-1))
    return senders.reshape(-1), edges


def _pad_labels(frames, starts, bucket, dtype) -> Labels:
    n_graphs, n_atoms = bucket.n_graphs, bucket.n_atoms
    forces, atomic = np.zeros((n_atoms, 3), dtype), np.zeros(n_atoms, dtype)
    forces_mask, atomic_mask = np.zeros(n_atoms, bool), np.zeros(n_atoms, bool)
    stress = np.zeros((n_graphs, 3, 3), dtype)
    for g, (frame, start) in enumerate(zip(frames, starts, strict=False)):
        part = slice(start, start + len(frame.species))
        if frame.forces is not None:
            forces[part], forces_mask[part] = frame.forces, True
        if frame.atomic_energies is not None:
            atomic[part], atomic_mask[part] = frame.atomic_energies, True
        if frame.stress is not None:
            stress[g] = frame.stress
    labelled = lambda name: _filled(n_graphs, [getattr(f, name) is not None for f in frames], bool)
    return Labels(
        energy=_filled(n_graphs, [frame.energy or 0.0 for frame in frames], dtype),
        energy_mask=labelled("energy"),
        forces=forces,
        forces_mask=forces_mask,
        stress=stress,
        stress_mask=labelled("stress"),
        atomic_energies=atomic,
        atomic_energies_mask=atomic_mask,
    )


def _bucket(n_atoms: float, n_slots: float, batch_size: int, atoms: np.ndarray) -> Bucket:
    # sizes that vary are rounded up, so that the next data set of the kind finds the same programs
    step = 1 if np.ptp(atoms) == 0 else 8
    round_up = lambda x: int(-(-int(np.ceil(x)) // step) * step)
    return Bucket(round_up(n_atoms), int(np.ceil(n_slots)), batch_size + 1)


def _filled(length: int, values: list, dtype: type) -> np.ndarray:
    array = np.zeros(length, dtype)
    array[: len(values)] = values
    return array


def _subtract(values: np.ndarray | None, reference: np.ndarray) -> np.ndarray | None:
    return None if values is None else values - reference


def _symbols(numbers: Sequence[int]) -> str:
    from ase.data import chemical_symbols

    return ", ".join(chemical_symbols[z] for z in numbers)
