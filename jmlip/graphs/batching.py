"""From structures to padded batches: `make_frame` on each structure once, `pad_batch` on each draw.

A `Frame` already has the layout of a batch (K slots for each atom, padding filled in), so that
packing is one copy of contiguous arrays for each frame. Which sizes are padded to is decided in
`graphs.buckets`.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jraph
import numpy as np
from ase.data import chemical_symbols
from jaxtyping import Bool, Float, Int

from jmlip.core.errors import DataError
from jmlip.core.structure import Structure
from jmlip.graphs.graph import AtomGraph, Batch, Edges, Globals, Labels, Nodes
from jmlip.ops.neighbors import neighbors

States = tuple[tuple[int, int], ...]
"""Pairs of total charge (e) and spin multiplicity."""
Heads = Mapping[str, tuple[float, ...]]
"""Names of the heads of a potential, in order, and their reference energies, eV."""
HEAD = "head"
"""Key of `info` under which a structure names the head that it belongs to."""


class Frame(NamedTuple):
    """One structure with its neighbors in slots, on the host; k is the most neighbors of any atom.

    Slots without a neighbor have mask `False`, the atom itself as sender, their own place as
    `reverse_slot`, and a vector of length twice the cutoff.
    """

    species: Int[np.ndarray, " n"]  # position in the list of elements
    senders: Int[np.ndarray, "n k"]
    reverse_slot: Int[np.ndarray, "n k"]  # the opposite pair stands in this slot of the sender
    vectors: Float[np.ndarray, "n k 3"]  # angstrom
    mask: Bool[np.ndarray, "n k"]
    state: int  # position in the list of charges and spins
    head: int | None  # position in the list of heads
    volume: float  # angstrom^3, 0 where not periodic in three directions
    energy: float | None  # without the reference energies, eV
    forces: Float[np.ndarray, "n 3"] | None  # eV / angstrom
    stress: Float[np.ndarray, "3 3"] | None  # eV / angstrom^3; None where there is no volume
    atomic_energies: Float[np.ndarray, " n"] | None  # without the reference energies, eV
    energy_orders: Float[np.ndarray, "n orders"] | None  # without the reference energies, eV
    energy_weight: float  # in a loss
    forces_weight: Float[np.ndarray, " n"] | None


class Bucket(NamedTuple):
    """Padded sizes of a batch; the last graph is padding."""

    n_atoms: int
    n_slots: int
    n_graphs: int

    @property
    def n_pairs(self) -> int:
        """Pair slots, padding included: what a batch of this size costs."""
        return self.n_atoms * self.n_slots


def make_frame(
    structure: Structure,
    *,
    species: tuple[int, ...],
    cutoff: float,
    reference_energies: tuple[float, ...],
    states: States = (),
    heads: Heads | None = None,
    dtype: type = np.float64,
) -> Frame:
    """Neighbors and labels of one structure.

    Args:
        structure: the configuration.
        species: atomic numbers the potential knows, in its order.
        cutoff: angstrom.
        reference_energies: energy of each element, eV; subtracted from the labels in float64.
        states: total charges and spin multiplicities that the potential tells apart; none if empty.
        heads: of the potential, if it has several; then the reference energies are those of the
            structure's own.
        dtype: precision in which the vectors are kept.

    Raises:
        DataError: an element is not among `species`, charge and spin not among `states`, or the
            head not among `heads`.
    """
    index, head = species_index(structure, species), None
    if heads:
        name = head_name(structure, heads)
        head, reference_energies = [*heads].index(name), heads[name]
    senders, reverse_slot, vectors, mask = _slots(structure, cutoff, dtype)
    reference = np.asarray(reference_energies, np.float64)[index]
    energy, atomic = structure.energy, structure.atomic_energies
    has_volume = structure.is_periodic
    return Frame(
        species=index,
        senders=senders,
        reverse_slot=reverse_slot,
        vectors=vectors,
        mask=mask,
        state=state_index(structure, states),
        head=head,
        volume=structure.volume if has_volume else 0.0,
        energy=None if energy is None else energy - float(reference.sum()),
        forces=structure.forces,
        stress=structure.stress if has_volume else None,
        atomic_energies=None if atomic is None else atomic - reference,
        energy_orders=_orders(structure, reference),
        energy_weight=structure.energy_weight,
        forces_weight=structure.forces_weight,
    )


def _orders(structure, reference):
    """Energies of each order; that of the isolated atom is taken off the first."""
    orders = structure.energy_orders
    if orders is None:
        return None
    return np.concatenate([orders[:, :1] - reference[:, None], orders[:, 1:]], axis=1)


def _slots(structure, cutoff, dtype):
    """Neighbors as (n, k) arrays: senders, slots of the opposite pairs, vectors and mask."""
    pairs = neighbors(structure.positions, structure.cell, structure.pbc, cutoff)
    n = structure.n_atoms
    count = np.bincount(pairs.receivers, minlength=n)
    k = int(count.max())
    slot = np.arange(len(pairs.receivers)) - np.repeat(np.cumsum(count) - count, count)
    place = pairs.receivers * k + slot
    senders = np.repeat(np.arange(n, dtype=np.int32), k)
    senders[place] = pairs.senders
    reverse_slot = np.tile(np.arange(k, dtype=np.int32), n)
    reverse_slot[place] = slot[pairs.reverse]
    vectors = np.tile(np.array([2.0 * cutoff, 0.0, 0.0], dtype), (n * k, 1))
    vectors[place] = pairs.vectors
    mask = np.arange(k) < count[:, None]
    shape = (n, k)
    return senders.reshape(shape), reverse_slot.reshape(shape), vectors.reshape(n, k, 3), mask


def species_index(structure: Structure, species: tuple[int, ...]) -> Int[np.ndarray, " n"]:
    """Position of each atom's element in `species`.

    Raises:
        DataError: an element is not among `species`.
    """
    table = np.full(len(chemical_symbols), -1, np.int32)
    table[list(species)] = np.arange(len(species))
    index = table[structure.species]
    if index.min() < 0:
        strange = ", ".join(chemical_symbols[z] for z in np.unique(structure.species[index < 0]))
        known = ", ".join(chemical_symbols[z] for z in species)
        raise DataError(
            f"every element must be among {known}, found {strange} in {structure.formula}; "
            "leave the structure out, or train a potential that knows the element."
        )
    return index


def state_index(structure: Structure, states: States) -> int:
    """Position of total charge and spin multiplicity in `states`; 0 where there are none.

    Raises:
        DataError: they are not among `states`.
    """
    if not states:
        return 0
    if structure.state not in states:
        raise DataError(
            f"total charge and spin multiplicity must be among {[*states]}, found "
            f"{structure.state} in {structure.formula}; set charge and spin of the structure, or "
            "train a potential that knows the state."
        )
    return states.index(structure.state)


def named_head(structure: Structure) -> str | None:
    """The head that a structure names, if any: `head` of its `info`, which may be a number."""
    found = structure.info.get(HEAD)
    return None if found is None else str(found)


def head_name(structure: Structure, heads: Iterable[str]) -> str:
    """The head of several that a structure belongs to.

    Raises:
        DataError: it names none, or one that is not among `heads`.
    """
    found, known = named_head(structure), [*heads]
    if found is None or found not in known:
        raise DataError(
            f"every structure must name its head, one of {', '.join(known)}, found {found!r} in "
            f"{structure.formula}; set head in the info of the structure, in extended XYZ on the "
            "comment line."
        )
    return found


def which_head(heads: Iterable[str]) -> str:
    """What to say where several heads are there and nothing tells which is meant."""
    return (
        f"a potential with several heads must be told which, found none; take one of "
        f"{', '.join(heads)}: the directory heads/NAME that jmlip train leaves beside it, or "
        "jmlip.factory.one_head in Python."
    )


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
