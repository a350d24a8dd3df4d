"""Lennard-Jones with a shifted force: a potential with known answers, for studies of dynamics.

    u(r) = phi(r) - phi(r_c) - (r - r_c) phi'(r_c),    r < r_c
    phi(r) = 4 epsilon [(sigma / r)^12 - (sigma / r)^6]

Energy and force vanish at the cutoff. Each element has its epsilon and sigma; pairs of elements
have sqrt(epsilon_i epsilon_j) and (sigma_i + sigma_j) / 2. In LAMMPS this is `pair_style
lj/smooth/linear`, mixed arithmetically.

References: Toxvaerd, Dyre, J. Chem. Phys. 134, 081102 (2011).
"""

import dataclasses

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jmlip.core.elements import check_species
from jmlip.graphs.graph import AtomGraph, from_senders, n_slots, sum_over_neighbors
from jmlip.graphs.output import AtomicOutput
from jmlip.ops import safe


@dataclasses.dataclass(frozen=True, kw_only=True)
class LennardJonesConfig:
    """Lennard-Jones; the defaults are argon.

    Args:
        species: atomic numbers, in the order of the parameters.
        cutoff: where energy and force vanish, angstrom.
        epsilon: initial depth of the minimum without cutoff, of every element, eV.
        sigma: initial distance at which the energy without cutoff is 0, of every element, angstrom.

    Raises:
        ValueError: a value is out of range.
    """

    species: tuple[int, ...]
    cutoff: float = 8.5
    epsilon: float = 0.01032
    sigma: float = 3.405

    def __post_init__(self):
        check_species(self.species)
        require_positive(self, ("cutoff", "epsilon", "sigma"))


def require_positive(config, names: tuple[str, ...]) -> None:
    """Raise ValueError unless these fields of a configuration of a model are positive."""
    for name in names:
        if not getattr(config, name) > 0.0:
            raise ValueError(f"model.{name} must be positive, got {getattr(config, name)}.")


class LennardJones(nn.Module):
    """Lennard-Jones: `apply({"params": params}, graph) -> AtomicOutput`.

    Parameters are `epsilon` and `sigma`, each `(elements,)`; terms are repulsion, attraction and
    what the cutoff adds.
    """

    config: LennardJonesConfig

    @nn.compact
    def __call__(self, graph: AtomGraph) -> AtomicOutput:
        cutoff, n_species = self.config.cutoff, (len(self.config.species),)
        of_element = lambda name: self.param(
            name, nn.initializers.constant(getattr(self.config, name)), n_species
        )
        epsilon = geometric_mean(graph, of_element("epsilon"))
        sigma = arithmetic_mean(graph, of_element("sigma"))
        r = safe.norm(graph.edges.vector)
        inside = r < cutoff
        repulsion, attraction = _powers(sigma, jnp.where(inside, r, cutoff))
        at_end, at_end_attraction = _powers(sigma, jnp.full_like(r, cutoff))
        slope = (6.0 * at_end_attraction - 12.0 * at_end) / cutoff
        shift = at_end_attraction - at_end - (r - cutoff) * slope
        terms = jnp.stack([repulsion, -attraction, shift], axis=-1)
        weighted = jnp.where(inside, 2.0 * epsilon, 0.0)[:, None] * terms
        atoms = sum_over_neighbors(graph, weighted)
        return AtomicOutput(atoms.sum(axis=-1), atoms, atoms)


def arithmetic_mean(graph: AtomGraph, values: Float[Array, " elements"]) -> Float[Array, " pairs"]:
    """(x_i + x_j) / 2 of every pair, from the values of the elements."""
    received, sent = _at_ends(graph, values)
    return 0.5 * (received + sent)


def geometric_mean(graph: AtomGraph, values: Float[Array, " elements"]) -> Float[Array, " pairs"]:
    """sqrt(x_i x_j) of every pair, from the values of the elements."""
    received, sent = _at_ends(graph, values)
    return safe.sqrt(received * sent)


def _at_ends(graph, values):
    if len(values) == 1:  # looking it up would take a quarter of the time of the whole potential
        both = jnp.broadcast_to(values, graph.senders.shape)
        return both, both
    received = jnp.repeat(values[graph.nodes.species], n_slots(graph))
    return received, from_senders(graph, received)


def _powers(
    sigma: Float[Array, " pairs"], r: Float[Array, " pairs"]
) -> tuple[Float[Array, " pairs"], Float[Array, " pairs"]]:
    """(sigma / r)^12 and (sigma / r)^6."""
    square = (sigma / r) ** 2
    sixth = square * square * square
    return sixth * sixth, sixth
