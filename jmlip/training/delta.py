"""Structures as a model itself sees them: what a given potential leaves of their labels.

    E = E_baseline + E_correction,    Delta E = E_label - E_baseline

The sum is a pair (`jmlip.models.pair`) whose small part is the baseline and stays as it is. The
correction is smaller and smoother than the energy itself, so it needs fewer data. Its reference
energies, and the scales that it begins with, are those of the differences:

    e_z = e_z^baseline + Delta e_z,    sum_i Delta e_(z_i) ~ Delta E.

References: Ramakrishnan, Dral, Rupp, von Lilienfeld, J. Chem. Theory Comput. 11, 2087 (2015).
"""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from jmlip.core.structure import Structure
from jmlip.graphs.frames import Heads, head_name
from jmlip.potentials.potential import Potential


def differences(
    structures: Sequence[Structure],
    baseline: Potential,
    *,
    dtype: Literal["float32", "float64"] = "float32",
) -> list[Structure]:
    """The structures with labels less what the baseline says; absent labels stay absent.

    Args:
        structures: with labels of the level that shall be learned.
        baseline: a potential that knows their elements.
        dtype: precision of the baseline.

    Raises:
        PotentialError: the baseline does not know an element.
    """
    said = baseline.predict(structures, dtype=dtype)
    found = []
    for structure, prediction in zip(structures, said, strict=True):
        left: dict[str, Any] = {}
        for name in ("energy", "forces", "stress", "atomic_energies"):
            label, base = getattr(structure, name), getattr(prediction, name)
            left[name] = None if label is None or base is None else label - base
        found.append(structure.replace(**left))
    return found


def aligned(
    structures: Sequence[Structure], heads: Heads, species: Sequence[int]
) -> list[Structure]:
    """The structures of several heads with energies as if all had the first one's references.

    Args:
        structures: each names its head.
        heads: names and reference energies, eV, in the order of `species`.
        species: atomic numbers.
    """
    first, found = np.asarray(next(iter(heads.values()))), []
    for structure in structures:
        own = np.asarray(heads[head_name(structure, heads)])
        shift = dict(zip(species, first - own, strict=True))
        move = np.array([shift[z] for z in structure.species.tolist()])
        energy, atomic = structure.energy, structure.atomic_energies
        moved = structure.replace(
            energy=None if energy is None else energy + float(move.sum()),
            atomic_energies=None if atomic is None else atomic + move,
        )
        found.append(moved)
    return found
