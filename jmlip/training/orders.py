"""Energies by the layers of HIP-NN as labels of a student.

A HIP-NN says the energy of an atom layer by layer, E_i = sum_n E_i^n, and so may the labels of a
student that is one. With fewer layers than its teacher, its last one learns the sum of what
remains. Constants of the elements, and the gauge, belong to the first order.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import jax
import numpy as np
from jaxtyping import Array, Float

from jmlip.core.errors import PotentialError
from jmlip.core.structure import Structure
from jmlip.core.types import Params
from jmlip.graphs.graph import AtomGraph
from jmlip.models.hipnn import HIPNN
from jmlip.potentials.potential import Potential
from jmlip.training.feed import Feed

ORDERS = "energy_orders"
"""Key of `info["arrays"]` with energies by order."""


@functools.partial(jax.jit, static_argnums=0)
def _terms(model: Any, params: Params, graph: AtomGraph) -> Float[Array, "atoms orders"]:
    return model.apply({"params": params}, graph).terms


def with_orders(
    teachers: Sequence[Potential],
    structures: Sequence[Structure],
    *,
    n_orders: int,
    dtype: Literal["float32", "float64"] = "float32",
) -> list[Structure]:
    """Structures with the mean of the teachers' energies by order, in `info["arrays"]`.

    Args:
        teachers: HIP-NNs with at least as many interaction layers.
        structures: whatever labels they have.
        n_orders: how many; the last one holds the sum of all further ones.
        dtype: precision of the teachers.

    Raises:
        PotentialError: a teacher has other layers.
    """
    total = [np.zeros((s.n_atoms, n_orders)) for s in structures]
    for teacher in teachers:
        _require_orders(teacher, n_orders)
        feed, table = Feed(structures, teacher, dtype=dtype), np.asarray(teacher.reference_energies)
        with jax.enable_x64(dtype == "float64"):
            params = teacher.astype(dtype).params
            for batch, indices in feed.epoch(0, 32):
                terms = np.asarray(_terms(teacher.model, params, batch.graph), np.float64)
                starts = np.cumsum(batch.graph.n_node)[: len(indices)]
                for place, own in zip(indices, np.split(terms, starts), strict=False):
                    first, rest = own[:, : n_orders - 1], own[:, n_orders - 1 :].sum(axis=1)
                    orders = np.concatenate([first, rest[:, None]], axis=1)
                    orders[:, 0] += table[teacher.species_index(structures[place])]
                    total[place] += orders / len(teachers)
    return [with_array(s, ORDERS, o) for s, o in zip(structures, total, strict=True)]


def _require_orders(teacher: Potential, n_orders: int) -> None:
    found = teacher.model.config.n_interactions if isinstance(teacher.model, HIPNN) else 0
    if found < n_orders:
        raise PotentialError(
            f"energy_orders need teachers that are HIP-NNs of at least {n_orders} interaction "
            f"layers, as the student has, found {teacher.kind!r} with {found}."
        )


def with_array(structure: Structure, name: str, array: np.ndarray) -> Structure:
    """The structure with a further array of its atoms."""
    arrays = {**structure.info.get("arrays", {}), name: array}
    return structure.replace(info={**structure.info, "arrays": arrays})


def summed(structure: Structure) -> Structure:
    """The structure with atomic energies that are the sums of its orders."""
    orders: Any = structure.energy_orders
    return structure.replace(atomic_energies=orders.sum(axis=1))


def shifted_orders(structure: Structure, shift: Mapping[int, float]) -> Structure:
    """The structure whose first order is less by the shift of each element."""
    orders: Any = structure.energy_orders
    moved = orders[:, 0] - np.array([shift[z] for z in structure.species.tolist()])
    columns = np.concatenate([moved[:, None], orders[:, 1:]], axis=1)
    return with_array(structure, ORDERS, columns)
