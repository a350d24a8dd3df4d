"""Errors of a potential on labelled structures."""

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from ase.data import chemical_symbols
from jaxtyping import Float, Int

from jmlip.core.errors import DataError
from jmlip.core.structure import Structure
from jmlip.potentials.potential import Potential
from jmlip.potentials.predict import Prediction
from jmlip.training.metrics import error_metrics, rmse_by_group

Alignment = Literal["none", "constant", "composition"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluationResult:
    """Errors of one data set; `None` where no structure has the label.

    Energies, forces and stresses are those of the labelled structures in their order, predicted
    ones after alignment.
    """

    n_structures: int
    energy_mae_meV: float | None = None
    energy_rmse_meV: float | None = None
    energy_per_atom_mae_meV: float | None = None
    energy_per_atom_rmse_meV: float | None = None
    forces_mae_meV_A: float | None = None
    forces_rmse_meV_A: float | None = None
    stress_mae_meV_A3: float | None = None
    stress_rmse_meV_A3: float | None = None
    forces_rmse_by_element: dict[str, float]  # meV / angstrom
    energy_per_atom_rmse_by_size: dict[int, float]  # meV, by number of atoms

    n_atoms: Int[np.ndarray, " energies"]  # of the structures with an energy
    energy: Float[np.ndarray, " energies"]  # predicted, eV
    energy_label: Float[np.ndarray, " energies"]
    species: Int[np.ndarray, " atoms"]  # of the atoms with forces
    forces: Float[np.ndarray, "atoms 3"]  # predicted, eV / angstrom
    forces_label: Float[np.ndarray, "atoms 3"]
    stress: Float[np.ndarray, "cells 3 3"]  # predicted, eV / angstrom^3
    stress_label: Float[np.ndarray, "cells 3 3"]

    @property
    def metrics(self) -> dict[str, float | int]:
        """The numbers alone, by name, those that exist."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {name: value for name, value in values.items() if isinstance(value, int | float)}


def evaluate_set(
    potential: Potential,
    structures: Sequence[Structure],
    *,
    dtype: Literal["float32", "float64"] = "float32",
    batch_size: int = 32,
    align: Alignment = "none",
) -> EvaluationResult:
    """Compare a potential with the labels of structures.

    Args:
        potential: what is evaluated.
        structures: any labels; those missing count nowhere.
        dtype: precision of the evaluation.
        batch_size: structures evaluated at once.
        align: what is taken off the energy errors first, for labels with another zero of energy:
            nothing, their mean, or a least-squares fit linear in the numbers of atoms of each
            element.

    Raises:
        DataError: no structures, or none has a label.
        PotentialError: an element is not known, or a prediction is not finite.
    """
    if not structures:
        raise DataError("a data set to evaluate must have structures, found none.")
    predictions = potential.predict(structures, dtype=dtype, batch_size=batch_size)
    return evaluate_predictions(predictions, structures, species=potential.species, align=align)


def evaluate_predictions(
    predictions: Sequence[Prediction],
    structures: Sequence[Structure],
    *,
    species: tuple[int, ...],
    align: Alignment = "none",
) -> EvaluationResult:
    """Compare predictions with the labels of the structures they are for.

    Args:
        predictions: in the order of the structures.
        structures: any labels; those missing count nowhere.
        species: atomic numbers among which an offset of the energies may be shared.
        align: as in `evaluate_set`.

    Raises:
        DataError: no structure has a label.
    """
    pairs = list(zip(structures, predictions, strict=True))
    labels = {**_energies(pairs, species, align), **_forces(pairs), **_stresses(pairs)}
    if not any(labels[name].size for name in ("energy", "forces", "stress")):
        raise DataError(
            "a data set to evaluate must have labels, found no energy, forces or stress in any "
            "structure; check the names of the labels in the file."
        )
    return _result(len(structures), labels)


def _result(n_structures: int, labels: dict[str, np.ndarray]) -> EvaluationResult:
    energy_error = labels["energy"] - labels["energy_label"]
    forces_error = labels["forces"] - labels["forces_label"]
    per_atom = energy_error / labels["n_atoms"]
    by_element = rmse_by_group(forces_error, labels["species"])
    by_size = rmse_by_group(per_atom, labels["n_atoms"])
    arrays: dict[str, Any] = labels
    return EvaluationResult(
        n_structures=n_structures,
        **error_metrics(
            energy=energy_error,
            energy_per_atom=per_atom,
            forces=forces_error,
            stress=labels["stress"] - labels["stress_label"],
        ),
        forces_rmse_by_element={chemical_symbols[z]: 1e3 * e for z, e in by_element.items()},
        energy_per_atom_rmse_by_size={n: 1e3 * e for n, e in by_size.items()},
        **arrays,
    )


Pairs = list[tuple[Structure, Prediction]]


def _energies(pairs: Pairs, species: tuple[int, ...], align: Alignment) -> dict[str, np.ndarray]:
    pairs = [(s, p) for s, p in pairs if s.energy is not None]
    energy = np.array([p.energy for _, p in pairs], np.float64)
    label = np.array([s.energy for s, _ in pairs], np.float64)
    composition = np.array([[np.sum(s.species == z) for z in species] for s, _ in pairs], float)
    return {
        "n_atoms": np.array([s.n_atoms for s, _ in pairs], int),
        "energy": energy - _offset(energy - label, composition, align),
        "energy_label": label,
    }


def _offset(error: np.ndarray, composition: np.ndarray, align: Alignment) -> np.ndarray | float:
    if align == "none" or not error.size:
        return 0.0
    if align == "constant":
        return error.mean()
    # compositions are often collinear; the pseudo-inverse takes the smallest of all solutions
    return composition @ (np.linalg.pinv(composition) @ error)


def _forces(pairs: Pairs) -> dict[str, np.ndarray]:
    found = [(s.species, p.forces, s.forces) for s, p in pairs if s.forces is not None]
    return {
        "species": np.concatenate([np.zeros(0, int), *(species for species, _, _ in found)]),
        "forces": np.concatenate([np.zeros((0, 3)), *(forces for _, forces, _ in found)]),
        "forces_label": np.concatenate([np.zeros((0, 3)), *(label for _, _, label in found)]),
    }


def _stresses(pairs: Pairs) -> dict[str, np.ndarray]:
    pairs = [(s, p) for s, p in pairs if s.stress is not None and p.stress is not None]
    return {
        "stress": np.array([p.stress for _, p in pairs], float).reshape(-1, 3, 3),
        "stress_label": np.array([s.stress for s, _ in pairs], float).reshape(-1, 3, 3),
    }
