"""What state dicts of nequip and nequip-allegro share: elements, cutoffs, scales, repulsion."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from ase.data import atomic_numbers

from jmlip.core.errors import JmlipError
from jmlip.interop.torch_state import TorchState
from jmlip.ops.repulsion import NEQUIP


def source_of(state: Mapping[str, np.ndarray], *, carrying_nothing: Sequence[str]) -> TorchState:
    """A state dict whose names begin after `func.`, which wrappers put before them."""
    short = {re.sub(r"^.*?\bfunc\.", "", name): value for name, value in state.items()}
    return TorchState(short, carrying_nothing=carrying_nothing)


def mean_neighbors(
    given: float | Mapping[str, float] | None, names: Sequence[str]
) -> float | tuple[float, ...]:
    """`avg_num_neighbors`, for every type where they differ."""
    if isinstance(given, Mapping):
        return tuple(given[name] for name in names)
    return given or 1.0


def species_of(names: Sequence[str]) -> tuple[int, ...]:
    """Atomic numbers of types.

    Raises:
        JmlipError: a type is not named as an element.
    """
    for name in names:
        if not atomic_numbers.get(name):  # "X" has the number 0
            raise JmlipError(
                f"type_names must be chemical symbols, found {name!r}: rename the types, where "
                "each is an element."
            )
    return tuple(atomic_numbers[name] for name in names)


def cutoffs(
    source: TorchState, r_max: float | None, n_species: int
) -> tuple[float, tuple[tuple[float, ...], ...]]:
    """Largest cutoff, and those of pairs where they differ.

    Raises:
        JmlipError: it is not known, or contradicts the weights.
    """
    values = 1.0 / source.take("edge_norm._rmax_recip").reshape(-1)
    # the reciprocal is kept in float32
    if r_max is not None and not np.isclose(values.max(), r_max, rtol=1e-6):
        raise JmlipError(
            f"hyperparameters.r_max must be that of the weights, {values.max():.6g} angstrom, "
            f"found {r_max}."
        )
    if values.size == 1:
        return float(values[0] if r_max is None else r_max), ()
    if r_max is None:
        raise JmlipError("hyperparameters.r_max is required where pairs have their own cutoffs.")
    table = np.minimum(values.reshape(n_species, n_species), r_max)
    return float(r_max), tuple(map(tuple, table.tolist()))


def check_repulsion(
    source: TorchState, options: Mapping[str, Any], species: tuple[int, ...]
) -> None:
    """Check that a pair potential is that of `jmlip.ops.repulsion.NEQUIP`.

    Raises:
        JmlipError: it is another.
    """
    kind, order = str(options.get("_target_", "")), options.get("polynomial_cutoff_p", 6)
    constant = source.number("pair_potential._qqr2exesquare")
    elements = source.take("pair_potential.atomic_numbers").reshape(-1)
    same = np.isclose(constant, 0.5 * NEQUIP.coulomb, rtol=1e-6) and np.array_equal(
        elements, species
    )
    if not kind.endswith("ZBL") or order != 6 or not same:
        raise JmlipError(
            "pair_potential must be ZBL in units 'metal' with polynomial_cutoff_p = 6, for the "
            f"elements of type_names, found {dict(options)}: others cannot be converted."
        )


def of_types(source: TorchState, name: str, default: float, n_species: int) -> list[float]:
    """Scales or shifts, one for each element."""
    key = f"per_type_energy_scale_shift.{name}"
    values = source.take(key).reshape(-1) if key in source else np.zeros(0)
    return np.broadcast_to(values if values.size else default, n_species).tolist()
