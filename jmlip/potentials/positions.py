"""The energy as a function of positions and cell: what dynamics and differentiable studies need."""

from collections.abc import Callable

from jaxtyping import Array, Float

from jmlip.core.types import AtomIndex, AtomVectors, Params
from jmlip.graphs.device_neighbors import DeviceNeighbors, graph_from_positions
from jmlip.potentials.evaluate import energies
from jmlip.potentials.potential import Potential

PositionEnergyFn = Callable[
    [Params, AtomIndex, AtomVectors, Float[Array, "3 3"], DeviceNeighbors], Float[Array, ""]
]
"""`energy(params, species_index, positions, cell, neighbors)`: interaction energy of one
configuration, eV, without the reference energies."""


def make_position_energy(potential: Potential, *, state: int = 0) -> PositionEnergyFn:
    """A pure function, differentiable in parameters, positions and cell, for `jit` and `vmap`.

    The list must serve the positions: it comes from `device_neighbors.allocate`, or later from
    `device_neighbors.update`. Where forces or stress are wanted, `evaluate` gives them at less cost
    than differentiating this.

    Args:
        potential: fixes the model and its cutoff; the parameters are an argument of the function.
        state: `potential.state_index` of the system, where the potential tells states apart.
    """

    def energy(params, species_index, positions, cell, neighbors):
        graph = graph_from_positions(
            species_index, positions, cell, neighbors, cutoff=potential.cutoff, state=state
        )
        return energies(potential.apply, params, graph)[0]

    return energy
