"""From frames to padded batches: `pad_batch` on each draw.

Which sizes are padded to is decided in `graphs.buckets`.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jraph
import numpy as np

from jmlip.core.errors import DataError
from jmlip.graphs.frames import Frame
from jmlip.graphs.graph import AtomGraph, Batch, Edges, Globals, Labels, Nodes


class Bucket(NamedTuple):
    """Padded sizes of a batch; the last graph is padding."""

    n_atoms: int
    n_slots: int
    n_graphs: int

    @property
    def n_pairs(self) -> int:
        """Pair slots, padding included: what a batch of this size costs."""
        return self.n_atoms * self.n_slots


def fits(frames: Sequence[Frame], bucket: Bucket) -> bool:
    """Whether the frames have room in the bucket."""
    needed = exact_bucket(frames)
    return all(need <= have for need, have in zip(needed, bucket, strict=True))


def exact_bucket(frames: Sequence[Frame]) -> Bucket:
    """The smallest bucket that takes the frames."""
    return Bucket(
        n_atoms=sum(len(frame.species) for frame in frames),
        n_slots=max([1, *(frame.mask.shape[1] for frame in frames)]),
        n_graphs=len(frames) + 1,
    )


def pad_batch(
    frames: Sequence[Frame],
    bucket: Bucket,
    *,
    cutoff: float,
    dtype: type = np.float32,
    like: Sequence[Frame] = (),
) -> Batch:
    """Put frames into one padded graph with its labels; leaves are NumPy arrays.

    Args:
        frames: what the batch holds, in order; without any, all is padding.
        bucket: padded sizes, see `graphs.buckets`.
        cutoff: angstrom; padding vectors have twice its length.
        dtype: precision of all floats.
        like: further frames that are not in the batch; it has an array for whatever they have, so
            that batches of equal shape can be stacked.

    Raises:
        ValueError: the frames do not fit.
    """
    if not fits(frames, bucket):
        raise ValueError(
            f"a bucket must have room for its frames, found {len(frames)} frames that need "
            f"{exact_bucket(frames)} and {bucket}; split the batch or take a larger bucket."
        )
    starts = np.cumsum([0, *(len(frame.species) for frame in frames)])
    return Batch(
        _pad_graph(frames, starts, bucket, cutoff, dtype, like),
        _pad_labels(frames, starts, bucket, dtype, like),
    )


def _pad_graph(frames, starts, bucket, cutoff, dtype, like) -> AtomGraph:
    n_node = np.zeros(bucket.n_graphs, np.int32)
    n_node[: len(frames)] = np.diff(starts)
    n_node[-1] = bucket.n_atoms - starts[-1]
    senders, edges = _pad_edges(frames, starts, bucket, cutoff, dtype)
    beyond = np.zeros(bucket.n_atoms - starts[-1], np.int32)
    species = np.concatenate([*(frame.species for frame in frames), beyond])
    volume, state = np.zeros(bucket.n_graphs, dtype), np.zeros(bucket.n_graphs, np.int32)
    volume[: len(frames)] = [frame.volume for frame in frames]
    state[: len(frames)] = [frame.state for frame in frames]
    head = None
    if any(frame.head is not None for frame in (*frames[:1], *like)):
        head = np.zeros(bucket.n_graphs, np.int32)
        head[: len(frames)] = [frame.head or 0 for frame in frames]
    # NumPy arrays stand where the fields declare device arrays: hence Any
    nodes: dict[str, Any] = {
        "species": species,
        "mask": np.arange(bucket.n_atoms) < starts[-1],
        "graph": np.repeat(np.arange(bucket.n_graphs, dtype=np.int32), n_node),
    }
    globals_: dict[str, Any] = {
        "mask": np.arange(bucket.n_graphs) < len(frames),
        "volume": volume,
        "state": state,
        "head": head,
    }
    receivers: Any = np.repeat(np.arange(bucket.n_atoms, dtype=np.int32), bucket.n_slots)
    return jraph.GraphsTuple(
        nodes=Nodes(**nodes),
        edges=edges,
        globals=Globals(**globals_),  # type: ignore[arg-type]
        senders=senders,
        receivers=receivers,
        n_node=n_node,  # type: ignore[arg-type]
        n_edge=n_node * np.int32(bucket.n_slots),  # type: ignore[arg-type]
    )


def _pad_edges(frames, starts, bucket, cutoff, dtype) -> tuple[Any, Edges]:
    shape, k_padded = (bucket.n_atoms, bucket.n_slots), bucket.n_slots
    own = np.arange(bucket.n_atoms, dtype=np.int32)[:, None]
    senders = np.repeat(own, k_padded, axis=1)
    reverse = np.arange(bucket.n_pairs, dtype=np.int32).reshape(shape)
    vector = np.zeros((*shape, 3), dtype)
    vector[..., 0] = 2.0 * cutoff
    mask = np.zeros(shape, bool)
    for frame, start in zip(frames, starts.tolist(), strict=False):
        n, k = frame.mask.shape
        atoms = slice(start, start + n)
        sender = senders[atoms, :k]
        np.add(frame.senders, start, out=sender)
        np.add(sender * k_padded, frame.reverse_slot, out=reverse[atoms, :k])
        vector[atoms, :k] = frame.vectors
        mask[atoms, :k] = frame.mask
    edges: dict[str, Any] = {
        "vector": vector.reshape(-1, 3),
        "reverse": reverse.reshape(-1),
        "mask": mask.reshape(-1),
    }
    return senders.reshape(-1), Edges(**edges)


def _n_orders(frames) -> int:
    """How many orders the labels have, 0 without any."""
    found = {f.energy_orders.shape[1] for f in frames if f.energy_orders is not None}
    if len(found) > 1:
        raise DataError(f"all energy_orders must have equally many, found {sorted(found)}.")
    return found.pop() if found else 0


def _pad_labels(frames, starts, bucket, dtype, like) -> Labels:
    n_graphs, n_atoms = bucket.n_graphs, bucket.n_atoms
    shapes = {
        "energy": (n_graphs,),
        "forces": (n_atoms, 3),
        "stress": (n_graphs, 3, 3),
        "atomic_energies": (n_atoms,),
        "energy_orders": (n_atoms, _n_orders([*frames, *like])),
    }
    arrays: dict[str, Any] = {name: np.zeros(shape, dtype) for name, shape in shapes.items()}
    masks: dict[str, Any] = {
        f"{name}_mask": np.zeros(shape[0], bool) for name, shape in shapes.items()
    }
    weights: dict[str, Any] = {
        f"{name}_weight": np.ones(shapes[name][0], dtype) for name in ("energy", "forces")
    }
    labels = Labels(**arrays, **masks, **weights)
    for graph, (frame, start) in enumerate(zip(frames, starts.tolist(), strict=False)):
        atoms = slice(start, start + len(frame.species))
        if frame.energy_orders is not None:
            labels.energy_orders[atoms] = frame.energy_orders
            labels.energy_orders_mask[atoms] = True
        labels.energy_weight[graph] = frame.energy_weight
        if frame.forces_weight is not None:
            labels.forces_weight[atoms] = frame.forces_weight
        if frame.energy is not None:
            labels.energy[graph], labels.energy_mask[graph] = frame.energy, True
        if frame.forces is not None:
            labels.forces[atoms], labels.forces_mask[atoms] = frame.forces, True
        if frame.stress is not None:
            labels.stress[graph], labels.stress_mask[graph] = frame.stress, True
        if frame.atomic_energies is not None:
            labels.atomic_energies[atoms] = frame.atomic_energies
            labels.atomic_energies_mask[atoms] = True
    return labels
