"""`Structure`: one atomic configuration on the host, with whatever labels it has.

Everything is in internal units (eV, angstrom, u). A missing label is `None`; it is masked in
losses, never filled.
"""

import dataclasses
import typing
from collections.abc import Mapping
from typing import Any

import numpy as np
from ase.symbols import Symbols

from jmlip.core.errors import DataError

LARGEST = 1.0e15
"""Of any number, in eV and angstrom: the square of a larger one is lost in single precision."""
LARGEST_WEIGHT = 1.0e6
"""Of a label: beside a larger one, all others are lost in single precision."""
STATE = {"charge": 0, "spin": 1}
"""Keys of `info` that hold total charge (e) and spin multiplicity, and what they are if absent."""


@typing.no_type_check  # lists are welcome: they are converted, and checked, below
@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Structure:
    """One configuration of atoms.

    Args:
        species: atomic numbers, `(atoms,)` integers from 1 to 118.
        positions: `(atoms, 3)`, angstrom; atoms may lie outside the cell.
        cell: `(3, 3)`, rows are lattice vectors, angstrom; zero rows where there is no lattice.
        pbc: `(3,)` booleans, periodic along each lattice vector.
        energy: total energy, eV.
        forces: `(atoms, 3)`, -dE/dR, eV / angstrom.
        stress: `(3, 3)`, (1/V) dE/d(strain), tension positive, eV / angstrom^3.
        atomic_energies: `(atoms,)`, eV.
        velocities: `(atoms, 3)`, angstrom / (internal time unit).
        info: anything else that came with the frame (name, group, dipole ...). Models with states
            read `charge` and `spin`, see `state`; training reads weights of labels, see
            `energy_weight` and `forces_weight`.

    Raises:
        DataError: shapes disagree, an input is not finite, or an atomic number is impossible.

    Example:
        >>> positions = [[0, 0, 0], [0.76, 0.59, 0], [-0.76, 0.59, 0]]
        >>> water = Structure(species=[8, 1, 1], positions=positions)
        >>> water.formula, water.n_atoms, water.is_periodic
        ('H2O', 3, False)
    """

    species: np.ndarray
    positions: np.ndarray
    cell: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros((3, 3)))
    pbc: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(3, bool))
    energy: float | None = None
    forces: np.ndarray | None = None
    stress: np.ndarray | None = None
    atomic_energies: np.ndarray | None = None
    velocities: np.ndarray | None = None
    info: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        n = _freeze(self, "species", np.int64, (None,)).shape[0]
        if n == 0:
            raise DataError(
                "a structure must have at least one atom, found none; drop the empty frame."
            )
        if self.species.min() < 1 or self.species.max() > 118:
            raise DataError(
                f"atomic numbers must lie in 1..118, found {sorted(set(self.species.tolist()))}."
            )
        for name, shape in (("positions", (n, 3)), ("cell", (3, 3))):
            _freeze(self, name, np.float64, shape)
        _freeze(self, "pbc", np.bool_, (3,))
        for name, shape in _OPTIONAL_SHAPES.items():
            if getattr(self, name) is not None:
                _freeze(self, name, np.float64, tuple(n if s == "n" else s for s in shape))
        if self.energy is not None:
            object.__setattr__(self, "energy", float(_freeze(self, "energy", np.float64, ())))
        _require_lattice(self)

    @property
    def n_atoms(self) -> int:
        return len(self.species)

    @property
    def is_periodic(self) -> bool:
        """Periodic along all three lattice vectors, so that volume and stress are defined."""
        return bool(self.pbc.all())

    @property
    def state(self) -> tuple[int, int]:
        """Total charge (e) and spin multiplicity: `charge` and `spin` of `info`, else 0 and 1.

        Raises:
            DataError: they are not whole numbers.
        """
        charge, spin = found = tuple(self.info.get(key, other) for key, other in STATE.items())
        try:
            state = int(charge), int(spin)
        except (TypeError, ValueError, OverflowError):
            state = None
        if state is None or state != found:
            raise DataError(
                "total charge and spin multiplicity (charge and spin in info) must be whole "
                f"numbers, found {found[0]!r} and {found[1]!r}."
            )
        return state

    @property
    def energy_weight(self) -> float:
        """What the energy counts in a loss: `energy_weight` of `info`, else 1.

        Raises:
            DataError: it is not a number from 0 to 1e6, or it is a column.
        """
        if "energy_weight" in self.info.get("arrays", {}):
            raise DataError(
                "energy_weight must be one number for the structure (in extended XYZ on the "
                "comment line), found a column; move it, or name it forces_weight."
            )
        return float(_weights("energy_weight", self.info.get("energy_weight", 1.0), ()))

    @property
    def forces_weight(self) -> np.ndarray | None:
        """What the force on each atom counts in a loss: `forces_weight` of `info["arrays"]`.

        Returns:
            `(atoms,)`; `None` where there is none, and all count 1.

        Raises:
            DataError: they are not numbers from 0 to 1e6, one for each atom, or stand
                elsewhere in `info`.
        """
        if "forces_weight" in self.info:
            raise DataError(
                "forces_weight must be a number for each atom (in extended XYZ a column), found it "
                "among the properties of the structure; make it a column."
            )
        found = self.info.get("arrays", {}).get("forces_weight")
        return None if found is None else _weights("forces_weight", found, (self.n_atoms,))

    @property
    def energy_orders(self) -> np.ndarray | None:
        """Atomic energies order by order, eV: `energy_orders` of `info["arrays"]`, if any.

        Returns:
            `(atoms, orders)`; the sum over orders is the atomic energy, and what an isolated atom
            has is in the first one.

        Raises:
            DataError: they are not finite numbers, or not some for each atom.
        """
        found = self.info.get("arrays", {}).get("energy_orders")
        if found is None:
            return None
        array = np.asarray(found, np.float64)
        if array.ndim != 2 or len(array) != self.n_atoms or not array.shape[1]:
            raise DataError(
                f"energy_orders must have shape ({self.n_atoms}, orders), found {array.shape}."
            )
        _require_finite("energy_orders", array)
        return array

    @property
    def volume(self) -> float:
        """Cell volume, angstrom^3."""
        return float(abs(np.linalg.det(self.cell)))

    @property
    def formula(self) -> str:
        """Hill formula."""
        return Symbols(self.species).get_chemical_formula("hill")

    def replace(self, **changes) -> "Structure":
        """A copy with some fields changed."""
        return dataclasses.replace(self, **changes)


_OPTIONAL_SHAPES = {
    "forces": ("n", 3),
    "stress": (3, 3),
    "atomic_energies": ("n",),
    "velocities": ("n", 3),
}


def _freeze(structure: Structure, name: str, dtype: type, shape: tuple) -> np.ndarray:
    given = getattr(structure, name)
    try:
        array = np.array(given, dtype=dtype)
    except (TypeError, ValueError, OverflowError) as error:
        raise DataError(f"{name} must be an array of numbers, found {given!r}.") from error
    if dtype is np.int64 and not np.array_equal(array, given):
        raise DataError(f"{name} must be whole numbers, found {given!r}.")
    if len(array.shape) != len(shape) or any(
        s is not None and s != a for s, a in zip(shape, array.shape, strict=True)
    ):
        raise DataError(f"{name} must have shape {shape}, found {array.shape}.")
    if dtype is np.float64:
        _require_finite(name, array)
    array.setflags(write=False)
    object.__setattr__(structure, name, array)
    return array


def _weights(name: str, given, shape: tuple[int, ...]) -> np.ndarray:
    try:
        array = np.asarray(given, np.float64)
    except (TypeError, ValueError):
        array = np.full(shape, np.nan)
    if array.shape != shape or not ((array >= 0.0) & (array <= LARGEST_WEIGHT)).all():
        wanted = "one for each atom" if shape else "one for the structure"
        raise DataError(
            f"{name} must be numbers from 0 to {LARGEST_WEIGHT:g}, {wanted}, found {given!r}."
        )
    return array


def _require_finite(name: str, value) -> None:
    remedy = "drop the frame"
    if name not in ("positions", "cell"):
        remedy += ", or read the label as missing"
    if not np.isfinite(value).all():
        raise DataError(f"{name} must be finite, found NaN or infinity; {remedy}.")
    if (largest := np.abs(value).max(initial=0.0)) > LARGEST:
        raise DataError(f"{name} must be numbers up to {LARGEST:g}, found {largest:g}; {remedy}.")


def _require_lattice(structure: Structure) -> None:
    periodic = structure.cell[structure.pbc]
    if len(periodic) and np.linalg.matrix_rank(periodic, tol=1e-6) < len(periodic):
        raise DataError(
            "periodic directions need independent lattice vectors, found cell "
            f"{structure.cell.tolist()} with pbc {structure.pbc.tolist()}; set the cell or clear "
            "pbc."
        )
