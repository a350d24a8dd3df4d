"""A model with known answers: Lennard-Jones with the smooth cutoff of `ase.calculators.lj`."""

import dataclasses

import flax.linen as nn
import jax.numpy as jnp

from jmlip.graphs.graph import AtomGraph, from_senders, n_slots, sum_over_neighbors
from jmlip.graphs.output import AtomicOutput


@dataclasses.dataclass(frozen=True, kw_only=True)
class LennardJonesConfig:
    species: tuple[int, ...]
    cutoff: float = 4.5
    onset: float = 3.0
    epsilon: float = 0.05
    sigma: float = 1.4


class LennardJones(nn.Module):
    """u_ij = 4 epsilon [(sigma_ij / r)^12 - (sigma_ij / r)^6] phi(r), sigma_ij the mean of two."""

    config: LennardJonesConfig

    @nn.compact
    def __call__(self, graph: AtomGraph) -> AtomicOutput:
        c, n_species = self.config, len(self.config.species)
        # elements differ a little, so that mixing them up is noticed
        spread = lambda key, shape: c.sigma * (1.0 + 0.1 * jnp.arange(shape[0]))
        sigma = self.param("sigma", spread, (n_species,))[graph.nodes.species]
        epsilon = self.param("epsilon", nn.initializers.constant(c.epsilon), ())
        received = jnp.repeat(sigma, n_slots(graph))
        pair_sigma = 0.5 * (received + from_senders(graph, received))
        r2 = jnp.sum(graph.edges.vector**2, axis=-1)
        c6 = (pair_sigma**2 / r2) ** 3
        u = 4.0 * epsilon * (c6 * c6 - c6) * _cutoff(r2, c.cutoff**2, c.onset**2)
        energy = 0.5 * sum_over_neighbors(graph, u)
        return AtomicOutput(energy, energy[:, None], sigma[:, None])


def _cutoff(r, rc, ro):
    inside = (rc - r) ** 2 * (rc + 2.0 * r - 3.0 * ro) / (rc - ro) ** 3
    return jnp.where(r < ro, 1.0, jnp.where(r < rc, inside, 0.0))
