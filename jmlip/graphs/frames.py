"""From structures to frames: neighbors in slots and labels, on the host, once for each structure.

A `Frame` already has the layout of a batch (K slots for each atom, padding filled in), so that
packing (`graphs.batching`) is one copy of contiguous arrays for each frame.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
from ase.data import chemical_symbols
from jaxtyping import Bool, Float, Int

from jmlip.core.errors import DataError
from jmlip.core.structure import Structure
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
