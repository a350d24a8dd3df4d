"""`Structure` to `ase.Atoms` and back, labels included."""

from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import all_properties
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms, FixCartesian
from ase.stress import full_3x3_to_voigt_6_stress
from jaxtyping import Bool

from jmlip.core.errors import ConfigError
from jmlip.core.structure import STATE, Structure
from jmlip.data.labels import PER_ATOM_RESULTS, LabelOptions, LabelReader, RawFrame
from jmlip.data.units import Units

_LASTING = ("masses", "tags", "initial_magmoms", "initial_charges", "move_mask")
_OTHERS = "ase_constraints"  # in `info`, of those that no `move_mask` can tell


def from_atoms(atoms: Atoms) -> Structure:
    """The structure of an `ase.Atoms`, with the results that its calculator already holds.

    Nothing is computed; results that belong to other positions are left out. Per-atom arrays come
    under `info["arrays"]`, momenta become velocities.

    Raises:
        DataError: no atoms, an unknown element (X), or a number that is not finite.

    Example:
        >>> atoms = Atoms("H2", positions=[[0, 0, 0], [0, 0, 0.74]], info={"name": "hydrogen"})
        >>> from_atoms(atoms).info
        {'name': 'hydrogen'}
    """
    raw = raw_frame(atoms)
    changed = getattr(atoms.calc, "check_state", lambda atoms: [])
    if changed(atoms):
        raw = raw._replace(results={})
    return LabelReader(LabelOptions(), Units()).structure(raw)


def to_atoms(structure: Structure) -> Atoms:
    """The `ase.Atoms` of a structure; labels stand in a `SinglePointCalculator`.

    Example:
        >>> atoms = to_atoms(Structure(species=[2], positions=[[0, 0, 0]], energy=-0.1))
        >>> atoms.get_potential_energy()
        -0.1
    """
    info = {key: value for key, value in structure.info.items() if key != "arrays"}
    arrays = dict(structure.info.get("arrays", {}))
    results = {key: info.pop(key) for key in list(info) if key in all_properties}
    results |= {key: arrays.pop(key) for key in list(arrays) if key in PER_ATOM_RESULTS}
    labels = {
        "energy": structure.energy,
        "forces": structure.forces,
        "energies": structure.atomic_energies,
        "stress": None
        if structure.stress is None
        else full_3x3_to_voigt_6_stress(structure.stress),
    }
    results |= {key: value for key, value in labels.items() if value is not None}
    atoms = Atoms(
        numbers=structure.species,
        positions=structure.positions,
        cell=structure.cell,
        pbc=structure.pbc,
        info=info,
    )
    for key, value in arrays.items():
        atoms.set_array(key, np.asarray(value))
    if structure.velocities is not None:
        atoms.set_velocities(structure.velocities)
    if results:
        atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms


def fixed_atoms(structure: Structure) -> Bool[np.ndarray, " n"]:
    """Which atoms a structure fixes: those whose `move_mask`, ASE's column for it, is false."""
    return np.logical_not(np.any(_move_mask(structure), axis=1))


def require_whole_atoms_fixed(structure: Structure, what: str) -> None:
    """Refuse constraints other than those that fix an atom in all directions.

    Raises:
        ConfigError: naming them.
    """
    mask, others = _move_mask(structure), structure.info.get(_OTHERS)
    if (mask != mask[:, :1]).any():
        others = "atoms fixed along some directions"
    if others:
        raise ConfigError(
            f"{what} holds atoms as a whole or lets them free, and the start structure has "
            f"constraints of another kind ({others}); remove them, or use ASE with "
            "jmlip.Calculator."
        )


def lasting(structure: Structure) -> dict[str, Any]:
    """The `info` that stays true when atoms move: charge, spin, per-atom arrays but results."""
    arrays = structure.info.get("arrays", {})
    kept = {name: arrays[name] for name in _LASTING if name in arrays}
    state = {key: structure.info[key] for key in STATE if key in structure.info}
    return {**state, **({"arrays": kept} if kept else {})}


def raw_frame(atoms: Atoms) -> RawFrame:
    """What an `ase.Atoms` holds, its calculator's results taken as they are."""
    arrays = {k: v for k, v in atoms.arrays.items() if k not in ("numbers", "positions")}
    free, others = _constraints(atoms)
    if not free.all():
        arrays["move_mask"] = free[:, 0] if (free == free[:, :1]).all() else free
    return RawFrame(
        species=atoms.numbers,
        positions=atoms.positions,
        cell=atoms.cell.array,
        pbc=atoms.pbc,
        results={} if atoms.calc is None else dict(getattr(atoms.calc, "results", {})),
        arrays=arrays,
        info={**atoms.info, **({_OTHERS: others} if others else {})},
    )


def _move_mask(structure: Structure) -> Bool[np.ndarray, "n directions"]:
    mask = structure.info.get("arrays", {}).get("move_mask", np.ones(structure.n_atoms, bool))
    return np.asarray(mask, bool).reshape(structure.n_atoms, -1)


def _constraints(atoms: Atoms) -> tuple[Bool[np.ndarray, "n 3"], str]:
    """Directions in which atoms may move, as ASE writes them, and names of other constraints."""
    free, others = np.ones((len(atoms), 3), bool), []
    for each in atoms.constraints:
        if isinstance(each, FixAtoms):
            free[each.index] = False
        elif isinstance(each, FixCartesian):
            free[each.index] &= ~each.mask
        else:
            others.append(type(each).__name__)
    return free, ", ".join(others)
