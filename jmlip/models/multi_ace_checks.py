"""What a configuration of the multi-ACE family may be, said in one place and refused early."""

from typing import Any

import ase.data

from jmlip.core.elements import check_species
from jmlip.ops.irreps import dim

_BOUNDS = {
    "n_layers": (1, 16),
    "n_channels": (1, 4096),
    "embedding": (1, 4096),
    "max_degree": (0, 6),
    "harmonics": (0, 6),
    "correlation": (1, 4),
    "radial": (1, 128),
    "envelope": (2, 64),
    "radial_table": (0, 100_000),
}

LARGEST_PRODUCT = 200_000
"""Products of rows, in all orders of factors, times rows of the result: up to here their basis is
found within half a minute."""


def _each(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


def check(config: Any) -> None:
    """Raise where values of a `MultiACEConfig` are out of range or contradict each other.

    Args:
        config: a `MultiACEConfig`, which calls this when it is made.

    Raises:
        ValueError: the field, what it may be, and what it is.
    """
    check_species(config.species)
    for name, (low, high) in _BOUNDS.items():
        for value in _each(getattr(config, name)):
            if value is not None and not low <= value <= high:
                raise ValueError(f"model.{name} must lie between {low} and {high}, got {value}.")
    for name in ("cutoff", "mean_neighbors", "energy_scale"):
        if not all(value > 0.0 for value in _each(getattr(config, name))):
            raise ValueError(f"model.{name} must be positive, got {getattr(config, name)}.")
    for name in ("radial_hidden", "last_readout"):
        widths = getattr(config, name)
        if len(widths) > 8 or any(not 1 <= width <= 4096 for width in widths):
            raise ValueError(
                f"model.{name} must be at most 8 widths between 1 and 4096, got {widths}."
            )
    if config.radial_species and config.radial_hidden:
        raise ValueError("model.radial_species needs model.radial_hidden = [].")
    if config.radial_table and (config.radial_species or config.distance_transform != "none"):
        raise ValueError(
            "model.radial_table is for functions of the distance alone: it needs "
            "model.radial_species = false and model.distance_transform = 'none'."
        )
    if len(set(config.states)) != len(config.states) or any(spin < 1 for _, spin in config.states):
        raise ValueError(
            "model.states must be different pairs of total charge and spin multiplicity, "
            f"which is 1 or more, got {config.states}."
        )
    _check_lengths(config)
    _check_pair_cutoffs(config)
    _check_degrees(config)
    _check_products(config)
    _check_repulsion(config)


def _check_degrees(config: Any) -> None:
    passed_on = config.n_layers > 1 or config.last_layer == "all"
    highest = max(ir.l for irreps in config.layer_irreps() for ir in irreps)
    if passed_on and highest < config.max_degree:
        raise ValueError(
            f"model.max_degree = {config.max_degree} is more than {config.n_layers} layers with "
            f"model.harmonics = {config.harmonics} and model.correlation = {config.correlation} "
            f"reach, which is {highest}; lower it, or raise these."
        )


def _check_repulsion(config: Any) -> None:
    reach = 2.0 * max(ase.data.covalent_radii[z] for z in config.species)
    if config.repulsion == "mace" and reach > config.cutoff:
        raise ValueError(
            f"model.repulsion = 'mace' ends at the sum of covalent radii, up to {reach:.2f} "
            f"angstrom, which must not exceed model.cutoff = {config.cutoff}."
        )


def _check_lengths(config: Any) -> None:
    if isinstance(config.n_channels, tuple) and len(config.n_channels) != config.max_degree + 1:
        raise ValueError(
            "model.n_channels must be one number, or one for each degree up to "
            f"model.max_degree = {config.max_degree}, got {config.n_channels}."
        )
    if config.correlation > 1 and len({*_each(config.n_channels)}) > 1:
        raise ValueError(
            "model.correlation > 1 multiplies channel by channel and needs one "
            f"model.n_channels, got {config.n_channels}."
        )
    for name in ("mean_neighbors", "energy_scale"):
        value = getattr(config, name)
        if isinstance(value, tuple) and len(value) != len(config.species):
            raise ValueError(
                f"model.{name} must be one number, or one for each of {len(config.species)} "
                f"elements, got {value}."
            )


def _check_pair_cutoffs(config: Any) -> None:
    rows, n = config.pair_cutoffs, len(config.species)
    if rows and [len(row) for row in rows] != [n] * n:
        raise ValueError(f"model.pair_cutoffs must be {n} rows of {n} distances, got {rows}.")
    if any(not 0.0 < value <= config.cutoff for row in rows for value in row):
        raise ValueError(
            f"model.pair_cutoffs must be positive and at most model.cutoff = {config.cutoff}, "
            f"got {rows}."
        )


def _check_products(config: Any) -> None:
    if config.correlation == 1:
        return
    made = config.layer_irreps()[1:]
    for n in range(config.n_layers):
        rows = dim(config.message_irreps(n))
        if (size := rows**config.correlation * dim(made[n])) > LARGEST_PRODUCT:
            raise ValueError(
                f"model.correlation = {config.correlation} multiplies {rows} rows of messages "
                f"to {dim(made[n])} rows of features in {size:,} ways, more than "
                f"{LARGEST_PRODUCT:,}: lower it, model.harmonics = {config.harmonics}, or "
                f"model.max_degree = {config.max_degree}."
            )
