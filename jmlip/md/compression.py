"""A cell that becomes denser or wider as prescribed, and the atoms with it.

At the beginning of a step the cell is scaled to what it shall be at the end; positions r, cell and
momenta p become

    s r,    s cell,    p / s,        s = (density before / density after)^(1/3)

which leaves the volume in phase space as it is. The work, ln s tr(virial) + (1 / s^2 - 1) sum_i
p_i^2 / 2 m_i, is booked as heat, so that the conserved energy stays conserved. Forces of the first
kick are those before the scaling: s differs from 1 by 1e-6 or so.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from jmlip.graphs.device_neighbors import Cell
from jmlip.md.schedule import Course
from jmlip.md.state import Count, MDState, kinetic_energy


class Compression(NamedTuple):
    """How dense a run is to be.

    Args:
        cell: that of the start, rows are lattice vectors, angstrom.
        density: over that of the start, as a function of the number of steps made; 1 at 0.
    """

    cell: Cell
    density: Course

    def scale(self, step: Count) -> Float[Array, ""]:
        """Length of the cell over that of the start."""
        return jnp.asarray(self.density(step), self.cell.dtype) ** (-1.0 / 3.0)


def compress(state: MDState, compression: Compression) -> MDState:
    """The state in the cell of the end of its next step."""
    after = compression.scale(state.step + 1)
    # the quotient of what the cells are, roundings included: errors do not add up
    growth = after / compression.scale(state.step)
    now = state.dynamics
    scaled = now.set(position=growth * now.position, momentum=now.momentum / growth)
    work = jnp.log(growth) * jnp.trace(state.virial)
    work += kinetic_energy(scaled) - kinetic_energy(now)
    return state._replace(dynamics=scaled, cell=after * compression.cell, heat=state.heat + work)
