"""Cells and elastic constants of crystals as differentiable functions of a potential.

A crystal is strained by x -> x (1 + e), cell -> cell (1 + e) with e symmetric, and its atoms moved
by u. Its enthalpy at no pressure is E(e, u); at the minimum over both lies the relaxed crystal, and

    C_ab = (d2E/de_a de_b - d2E/de_a du H^-1 d2E/du de_b) / V,    H = d2E/du du,

are its elastic constants with relaxed atoms; a and b run over xx, yy, zz, yz, xz, xy, and shears
are gamma = 2 e. Neighbors must be those of one list throughout: make it with a skin.

References:
    Nye, Physical Properties of Crystals, Oxford (1957), chapter VIII.
    Lutsko, J. Appl. Phys. 65, 2991 (1989), internal relaxation.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.core
import jax.numpy as jnp
from jaxtyping import Array, Float

from jmlip.core.errors import ConfigError
from jmlip.core.types import AtomVectors
from jmlip.graphs.device_neighbors import Cell
from jmlip.md.minimum import Minimum, minimize, solve

CrystalEnergy = Callable[[AtomVectors, Cell], Float[Array, ""]]
"""From positions and cell to eV."""


class RelaxedCrystal(NamedTuple):
    """A crystal without forces and stress."""

    positions: AtomVectors
    cell: Cell
    minimum: Minimum  # over strain and displacements from the start: for `require_minimum`


def relax_crystal(
    energy: CrystalEnergy, positions: AtomVectors, cell: Cell, *, tolerance: float = 1e-8
) -> RelaxedCrystal:
    """The nearest crystal without forces and stress, differentiable in what `energy` closes over.

    Args:
        energy: with a list of neighbors that serves the start and the end.
        positions: of the start, angstrom.
        cell: of the start, angstrom; three periodic directions.
        tolerance: of forces, eV / angstrom, and of the derivatives to strain, eV.

    Raises:
        ConfigError: the cell has no volume.
    """
    _check_volume(cell)
    start = (jnp.zeros(6, positions.dtype), jnp.zeros_like(positions))
    strained = lambda variables: _strained_energy(energy, positions, cell, *variables)
    minimum = minimize(strained, start, tolerance=tolerance)
    strain, displacement = minimum.position
    return RelaxedCrystal(*_strained(positions, cell, strain, displacement), minimum)


def elastic_constants(
    energy: CrystalEnergy, positions: AtomVectors, cell: Cell
) -> Float[Array, "6 6"]:
    """Elastic constants, eV / angstrom^3, of a relaxed crystal, differentiable in everything.

    Args:
        energy: as for `relax_crystal`.
        positions: without forces, angstrom.
        cell: without stress, angstrom.

    Raises:
        ConfigError: the cell has no volume.
    """
    _check_volume(cell)
    rest = jnp.zeros(positions.size, positions.dtype)

    def slope(strain, moved):
        total = lambda u: _strained_energy(
            energy, positions, cell, strain, u.reshape(positions.shape)
        )
        return jax.grad(total)(moved)

    none = jnp.zeros(6, positions.dtype)
    clamped = jax.hessian(lambda e: _strained_energy(energy, positions, cell, e, 0.0 * positions))
    coupling = jax.jacfwd(lambda strain: slope(strain, rest))(none).T  # strain, displacement
    product = lambda v: jax.jvp(lambda u: slope(none, u), (rest,), (v,))[1]
    response = jax.vmap(lambda right_side: solve(product, right_side))(coupling)
    volume = jnp.abs(jnp.linalg.det(cell))
    return (clamped(none) - jnp.matmul(coupling, response.T, precision="highest")) / volume


class CubicConstants(NamedTuple):
    """Elastic constants of a cubic crystal, eV / angstrom^3."""

    C11: Float[Array, ""]
    C12: Float[Array, ""]
    C44: Float[Array, ""]


def cubic(constants: Float[Array, "6 6"]) -> CubicConstants:
    """The three constants of a cubic crystal whose axes are those of the frame, by averages."""
    C11 = jnp.trace(constants[:3, :3]) / 3.0
    C12 = (constants[:3, :3].sum() - 3.0 * C11) / 6.0
    return CubicConstants(C11, C12, jnp.trace(constants[3:, 3:]) / 3.0)


def _strained_energy(energy, positions, cell, strain, displacement):
    return energy(*_strained(positions, cell, strain, displacement))


def _strained(positions, cell, strain, displacement):
    xx, yy, zz, yz, xz, xy = strain
    tensor = jnp.array(
        [[xx, 0.5 * xy, 0.5 * xz], [0.5 * xy, yy, 0.5 * yz], [0.5 * xz, 0.5 * yz, zz]]
    )
    follow = lambda vectors: vectors + jnp.matmul(vectors, tensor, precision="highest")
    return follow(positions + displacement), follow(cell)


def _check_volume(cell: Cell) -> None:
    if isinstance(cell, jax.core.Tracer):
        return
    if not float(jnp.abs(jnp.linalg.det(cell))) > 0.0:
        raise ConfigError(
            "a crystal must have a cell with a volume, found lattice vectors "
            f"{cell.tolist()}; give three that are independent."
        )
