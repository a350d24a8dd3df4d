"""Structures without some of their labels: what a run must not see."""

from collections.abc import Sequence
from typing import Literal, overload

from jmlip.core.structure import Structure

LabelName = Literal["energy", "forces", "stress", "atomic_energies"]


class Hidden(Sequence[Structure]):
    """The structures of a sequence, without some of their labels; read when they are asked for.

    Args:
        structures: the whole sequence, for example a `StructureStore`.
        labels: which labels are `None` from now on.

    Example:
        >>> helium = Structure(species=[2], positions=[[0, 0, 0]], energy=-0.1, forces=[[0, 0, 0]])
        >>> (hidden,) = Hidden([helium], ["forces"])
        >>> hidden.energy, hidden.forces
        (-0.1, None)
    """

    def __init__(self, structures: Sequence[Structure], labels: Sequence[LabelName]):
        self.structures = structures
        self.labels = tuple(labels)

    def __len__(self) -> int:
        return len(self.structures)

    @overload
    def __getitem__(self, index: int) -> Structure: ...
    @overload
    def __getitem__(self, index: slice) -> "Hidden": ...

    def __getitem__(self, index):
        if isinstance(index, slice):
            return Hidden(self.structures[index], self.labels)
        return self.structures[index].replace(**dict.fromkeys(self.labels))
