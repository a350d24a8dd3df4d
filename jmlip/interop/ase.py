"""Potentials in ASE: `Calculator` gives energy, forces and stress to everything that speaks ASE.

Neighbor lists reach a skin beyond the cutoff and serve until atoms have moved half of it; between,
only pair vectors are computed anew, in float64. They are padded to sizes that grow in coarse steps
and stay, so that a relaxation or a trajectory compiles a few programs, the same that
`Potential.predict` uses.
"""

import math
from collections.abc import Sequence
from numbers import Real
from typing import Literal, NamedTuple

import jax
import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator as AseCalculator
from ase.calculators.calculator import PropertyNotImplementedError, all_changes
from ase.stress import full_3x3_to_voigt_6_stress

from jmlip.core.errors import ConfigError
from jmlip.core.structure import STATE, Structure
from jmlip.graphs.batching import Bucket, exact_bucket, fits, pad_batch
from jmlip.graphs.frames import Frame
from jmlip.potentials.potential import Potential
from jmlip.potentials.predict import Prediction, require_apart, rounded, run, unpack

_LARGEST_WASTE = 3.0  # of pair slots, before a smaller program is worth its compilation
_GROWTH = 1.25  # more slots than needed, where there were too few


class Calculator(AseCalculator):
    """ASE calculator of a potential: energy, energies, forces, and stress of periodic systems.

    Args:
        potential: from `jmlip.load_potential`.
        dtype: precision of the model, "float32" or "float64".
        skin: neighbor lists reach so much beyond the cutoff, angstrom.

    Raises:
        ConfigError: an option is out of range.
        PotentialError: the potential has several heads; on use: an element is not known, or atoms
            lie on top of each other.
        PropertyNotImplementedError: on use: stress of a system not periodic in three directions.

    Example:
        >>> from ase.build import molecule
        >>> from jmlip.factory import make_model
        >>> from jmlip.potentials.potential import initial_potential
        >>> model = make_model("hipnn", {"species": [1, 8], "n_features": 4, "n_onsite": 0})
        >>> potential = initial_potential(  # or jmlip.load_potential("my_potential")
        ...     "hipnn", model, key=jax.random.key(0), reference_energies=(-13.6, -2041.8)
        ... )
        >>> atoms = molecule("H2O")
        >>> atoms.calc = Calculator(potential)
        >>> round(atoms.get_potential_energy()), atoms.get_forces().shape
        (-2069, (3, 3))
    """

    implemented_properties = ["energy", "free_energy", "energies", "forces", "stress"]  # noqa: RUF012

    def __init__(
        self,
        potential: Potential,
        dtype: Literal["float32", "float64"] = "float32",
        *,
        skin: float = 0.5,
    ):
        if not isinstance(potential, Potential):
            raise TypeError(
                f"Calculator takes a Potential, found {type(potential).__name__}; load it with "
                "jmlip.load_potential."
            )
        if dtype not in ("float32", "float64"):
            raise ConfigError(f"dtype must be 'float32' or 'float64', found {dtype!r}.")
        if isinstance(skin, bool) or not isinstance(skin, Real) or not 0.0 <= skin < math.inf:
            raise ConfigError(f"skin must be a number of at least 0 (angstrom), found {skin!r}.")
        potential.require_one_head()
        super().__init__()
        self.potential = potential.astype(dtype)
        self.dtype: Literal["float32", "float64"] = dtype
        self.skin = float(skin)
        self._neighbors: _SkinList | None = None
        self._bucket: Bucket | None = None
        self._buckets: set[Bucket] = set()

    @property
    def n_compilations(self) -> int:
        """Programs this calculator has asked for: the padded sizes it has met."""
        return len(self._buckets)

    def check_state(self, atoms: Atoms, tol: float = 1e-15) -> list[str]:
        """What has changed; ASE does not look into `info`, where charge and spin stand."""
        changes = super().check_state(atoms, tol)
        before = self.atoms.info if self.atoms is not None else {}
        same = lambda key: np.array_equal(before.get(key, 0), atoms.info.get(key, 0))
        if self.potential.states and not all(map(same, STATE)):
            changes.append("info")
        return changes

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = all_changes,
    ) -> None:
        """Fill `results`; called by ASE."""
        super().calculate(atoms, properties, system_changes)
        structure = _structure(self.atoms)  # type: ignore[arg-type]
        if "stress" in properties and not structure.is_periodic:
            raise PropertyNotImplementedError(
                "stress needs a cell that is periodic in three directions, found pbc "
                f"{structure.pbc.tolist()}; ask for energy and forces only, or set cell and pbc."
            )
        prediction = self._predict(structure)
        self.results = {
            "energy": prediction.energy,
            "free_energy": prediction.energy,
            "energies": prediction.atomic_energies,
            "forces": prediction.forces,
        }
        if prediction.stress is not None:
            self.results["stress"] = full_3x3_to_voigt_6_stress(prediction.stress)

    def _get_name(self) -> str:
        return "jmlip"

    def _predict(self, structure: Structure) -> Prediction:
        potential = self.potential
        frame = self._frame(structure)
        require_apart(frame, "the system")
        bucket = self._choose(frame)
        with jax.enable_x64(self.dtype == "float64"):
            dtype = np.dtype(self.dtype).type
            batch = pad_batch([frame], bucket, cutoff=potential.cutoff, dtype=dtype)
            arrays = run(potential.model, potential.params, batch.graph)
        references = np.array([potential.reference_energies])
        return next(unpack(arrays, [frame], references, ["the system"]))

    def _frame(self, structure: Structure) -> Frame:
        if self._neighbors is None or not self._neighbors.serves(structure, self.skin):
            self.potential.species_index(structure)
            self._neighbors = _SkinList.build(structure, self.potential, self.skin)
        state = self.potential.state_index(structure)
        return self._neighbors.frame_at(structure.positions)._replace(state=state)

    def _choose(self, frame: Frame) -> Bucket:
        needed = exact_bucket([frame])
        bucket = self._bucket
        if bucket is None or bucket.n_pairs > _LARGEST_WASTE * rounded(needed).n_pairs:
            bucket = rounded(needed)
        elif not fits([frame], bucket):
            if needed.n_slots > bucket.n_slots:  # what has grown once will grow again
                needed = needed._replace(n_slots=int(_GROWTH * needed.n_slots))
            bucket = rounded(needed)
        self._bucket = bucket
        self._buckets.add(bucket)
        return bucket


class _SkinList(NamedTuple):
    """A frame with the pairs within cutoff + skin of the positions it was built for."""

    structure: Structure
    frame: Frame
    translations: np.ndarray  # (n, k, 3): vectors without the difference of positions

    @classmethod
    def build(cls, structure: Structure, potential: Potential, skin: float) -> "_SkinList":
        frame = potential.frame(structure, skin=skin)
        difference = _differences(structure.positions, frame)
        return cls(structure, frame, frame.vectors - difference)

    def serves(self, structure: Structure, skin: float) -> bool:
        then = self.structure
        same = all(
            np.array_equal(getattr(then, name), getattr(structure, name))
            for name in ("species", "cell", "pbc")
        )
        if not same:
            return False
        moved = np.sum((structure.positions - then.positions) ** 2, axis=-1).max()
        return bool(2.0 * np.sqrt(moved) <= skin)

    def frame_at(self, positions: np.ndarray) -> Frame:
        return self.frame._replace(vectors=_differences(positions, self.frame) + self.translations)


def _differences(positions: np.ndarray, frame: Frame) -> np.ndarray:
    # padding slots have the atom itself as sender: their difference is zero
    return positions[frame.senders] - positions[:, None]


def _structure(atoms: Atoms) -> Structure:
    state = {key: atoms.info[key] for key in STATE if key in atoms.info}
    return Structure(
        species=atoms.numbers,
        positions=atoms.positions,
        cell=atoms.cell.array,
        pbc=atoms.pbc,
        info=state,
    )
