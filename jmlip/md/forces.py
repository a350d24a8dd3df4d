"""The potential as dynamics sees it: positions, cell, neighbor list in, forces and energy out."""

import jax
import jax.numpy as jnp
import numpy as np

from jmlip.core.structure import Structure
from jmlip.core.types import AtomVectors
from jmlip.graphs import device_neighbors
from jmlip.graphs.device_neighbors import Cell, DeviceNeighbors
from jmlip.md.state import Evaluation, ForceFn
from jmlip.potentials.evaluate import evaluate
from jmlip.potentials.potential import Potential


def make_force_fn(
    potential: Potential, structure: Structure, *, dtype: str, skin: float | None
) -> ForceFn:
    """Energy, forces and virial of a structure's atoms, as a function of positions and cell.

    The neighbor list is renewed inside, before the forces are evaluated, whenever an atom has moved
    more than half the skin; so no pair within the cutoff is ever missed. One evaluation gives
    energy, forces and virial. The function is pure and differentiable.

    Args:
        potential: its parameters are cast to `dtype`.
        structure: species and periodicity; its positions and cell do not matter.
        dtype: "float32" or "float64" (under `jax.enable_x64`).
        skin: angstrom; None where lists are always fresh, which saves compiling their renewal.

    Raises:
        PotentialError: the structure holds an element that the potential does not know.
    """
    species = jnp.asarray(potential.species_index(structure))
    pbc = _pbc(structure)
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), potential.params)
    n_atoms, state = structure.n_atoms, potential.state_index(structure)

    def force_fn(positions, cell, neighbors):
        if skin is not None:
            neighbors = device_neighbors.update(
                positions, cell, neighbors, pbc=pbc, cutoff=potential.cutoff, skin=skin
            )
        graph = device_neighbors.graph_from_positions(
            species, positions, cell, neighbors, cutoff=potential.cutoff, state=state
        )
        result = evaluate(potential.apply, params, graph)
        return Evaluation(result.energy[0], result.forces[:n_atoms], result.virial[0], neighbors)

    return force_fn


def allocate_neighbors(
    potential: Potential, structure: Structure, positions: AtomVectors, cell: Cell, *, skin: float
) -> DeviceNeighbors:
    """A neighbor list for these positions and cell, with a quarter more slots than they need."""
    return device_neighbors.allocate(
        positions,
        cell,
        _pbc(structure),
        cutoff=potential.cutoff,
        skin=skin,
    )


def reference_energy(potential: Potential, structure: Structure) -> float:
    """Sum of the reference energies of the atoms, eV."""
    return float(
        np.sum(np.asarray(potential.reference_energies)[potential.species_index(structure)])
    )


def _pbc(structure: Structure) -> tuple[bool, bool, bool]:
    return tuple(structure.pbc.tolist())
