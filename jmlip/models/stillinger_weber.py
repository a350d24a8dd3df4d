"""Stillinger-Weber: pairs, and angles that want to be tetrahedral.

    E   = 1/2 sum_ij u(r_ij) + sum_i sum_{j < k} lambda_i h_j h_k (cos theta_jik - c)^2
    u   = A epsilon [B (sigma / r)^p - (sigma / r)^q] exp(-sigma / (r_c - r))
    h_j = sqrt(epsilon_ij) exp(-gamma sigma_ij / (r_c - r_ij))

The sum over pairs of neighbors factorizes into moments of their unit vectors u_j, so its cost grows
with the number of neighbors only:

    sum_{j < k} ... = 1/2 [T : T - 2 c v . v + c^2 s^2 - (1 - c)^2 sum_j h_j^2],
    s = sum_j h_j,    v = sum_j h_j u_j,    T = sum_j h_j u_j (x) u_j

Each element has its epsilon, sigma and lambda; pairs have sqrt(epsilon_i epsilon_j) and
(sigma_i + sigma_j) / 2. In LAMMPS this is `pair_style sw` with a = r_c / sigma_ij and epsilon_ijk =
sqrt(epsilon_ij epsilon_ik).

References: Stillinger, Weber, Phys. Rev. B 31, 5262 (1985).
"""

import dataclasses

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jmlip.core.elements import check_species
from jmlip.graphs.graph import AtomGraph, sum_over_neighbors
from jmlip.graphs.output import AtomicOutput
from jmlip.models.lennard_jones import arithmetic_mean, geometric_mean, require_positive
from jmlip.ops import safe
from jmlip.ops.cutoffs import exponential


@dataclasses.dataclass(frozen=True, kw_only=True)
class StillingerWeberConfig:
    """Stillinger-Weber; the defaults are silicon.

    Args:
        species: atomic numbers, in the order of the parameters.
        cutoff: r_c, of pairs and angles, angstrom.
        epsilon: initial unit of energy of every element, eV.
        sigma: initial unit of length of every element, angstrom.
        three_body: initial lambda of every element.
        gamma: range of the angles.
        cos_angle: c, the cosine of the angle without energy.
        pair_strength: A.
        repulsion: B.
        repulsion_power: p.
        attraction_power: q.

    Raises:
        ValueError: a value is out of range.
    """

    species: tuple[int, ...]
    cutoff: float = 3.77118
    epsilon: float = 2.1683
    sigma: float = 2.0951
    three_body: float = 21.0
    gamma: float = 1.2
    cos_angle: float = -1.0 / 3.0
    pair_strength: float = 7.049556277
    repulsion: float = 0.6022245584
    repulsion_power: float = 4.0
    attraction_power: float = 0.0

    def __post_init__(self):
        check_species(self.species)
        positive = ("cutoff", "epsilon", "sigma", "gamma", "pair_strength", "repulsion")
        require_positive(self, positive)
        if not -1.0 <= self.cos_angle <= 1.0:
            raise ValueError(f"model.cos_angle must lie in -1 ... 1, got {self.cos_angle}.")
        if not self.three_body >= 0.0:
            raise ValueError(f"model.three_body must not be negative, got {self.three_body}.")
        if not 0.0 <= self.attraction_power < self.repulsion_power:
            raise ValueError(
                "0 <= model.attraction_power < model.repulsion_power must hold, got "
                f"{self.attraction_power} and {self.repulsion_power}."
            )


class StillingerWeber(nn.Module):
    """Stillinger-Weber: `apply({"params": params}, graph) -> AtomicOutput`.

    Parameters are `epsilon`, `sigma` and `three_body`, each `(elements,)`; terms are pairs and
    angles.
    """

    config: StillingerWeberConfig

    @nn.compact
    def __call__(self, graph: AtomGraph) -> AtomicOutput:
        c, n_species = self.config, (len(self.config.species),)
        of_element = lambda name: self.param(
            name, nn.initializers.constant(getattr(c, name)), n_species
        )
        epsilon = geometric_mean(graph, of_element("epsilon"))
        sigma = arithmetic_mean(graph, of_element("sigma"))
        r = safe.norm(graph.edges.vector)
        scaled = sigma / jnp.where(r > 0.0, r, 1.0)
        powers = c.repulsion * scaled**c.repulsion_power - scaled**c.attraction_power
        pair = c.pair_strength * epsilon * powers * exponential(r, c.cutoff, sigma)
        reach = safe.sqrt(epsilon) * exponential(r, c.cutoff, c.gamma * sigma)
        angles = _angles(graph, reach, graph.edges.vector / r[:, None], c.cos_angle)
        three_body = of_element("three_body")[graph.nodes.species] * angles
        terms = jnp.stack([0.5 * sum_over_neighbors(graph, pair), three_body], axis=-1)
        return AtomicOutput(terms.sum(axis=-1), terms, terms)


def _angles(
    graph: AtomGraph, h: Float[Array, " pairs"], unit: Float[Array, "pairs 3"], c: float
) -> Float[Array, " atoms"]:
    """sum_{j < k} h_j h_k (u_j . u_k - c)^2 of every atom."""
    weighted = h[:, None] * unit
    s = sum_over_neighbors(graph, h)
    v = sum_over_neighbors(graph, weighted)
    t = sum_over_neighbors(graph, weighted[:, :, None] * unit[:, None, :])
    itself = (1.0 - c) ** 2 * sum_over_neighbors(graph, h * h)
    pairs = jnp.sum(t * t, axis=(1, 2)) - 2.0 * c * jnp.sum(v * v, axis=1) + c * c * s * s
    return 0.5 * (pairs - itself)
