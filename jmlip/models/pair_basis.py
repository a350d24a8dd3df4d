"""What a pair of atoms gives to an equivariant model, apart from the atoms' features."""

import functools

import ase.data
import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jmlip.core.types import PerAtom
from jmlip.graphs.graph import AtomGraph, sum_over_neighbors
from jmlip.models.allegro_config import AllegroConfig
from jmlip.models.multi_ace_config import MultiACEConfig
from jmlip.ops import repulsion, safe
from jmlip.ops.cutoffs import polynomial
from jmlip.ops.radial import agnesi, bessel, bessel_prefactor
from jmlip.ops.spherical import spherical_harmonics

Lengths = Float[Array, " pairs"]
PairConfig = MultiACEConfig | AllegroConfig
Elements = tuple[Int[Array, " pairs"], Int[Array, " pairs"]]
"""Species of the receiver and of the sender of each pair slot."""


class PairBasis(nn.Module):
    """Radial functions times envelope, and spherical harmonics; zero in padding."""

    config: MultiACEConfig

    @nn.compact
    def __call__(
        self, graph: AtomGraph
    ) -> tuple[Float[Array, "pairs radial"], Float[Array, "pairs harmonics"]]:
        config, mask = self.config, graph.edges.mask
        length, stretched = pair_lengths(config, graph)
        unit = graph.edges.vector / length[:, None]
        frequencies = jnp.pi * jnp.arange(1, config.radial + 1, dtype=length.dtype)
        if config.trainable_frequencies:
            frequencies = self.param("frequencies", lambda _: jnp.asarray(frequencies))
        prefactor = bessel_prefactor(config.radial_normalization, config.cutoff)
        argument = stretched
        if config.distance_transform == "agnesi":
            argument = agnesi(length, 0.5 * _radii(config, _elements(graph), length))
        radial = bessel(argument, frequencies, config.cutoff, prefactor)
        envelope = jnp.where(mask, polynomial(stretched, config.cutoff, config.envelope), 0.0)
        angular = spherical_harmonics(unit, config.harmonics)
        return radial * envelope[:, None], jnp.where(mask[:, None], angular, 0.0)


def pair_lengths(config: PairConfig, graph: AtomGraph) -> tuple[Lengths, Lengths]:
    """Distances, and distances stretched such that the cutoff of every pair is `cutoff`."""
    length = safe.norm(graph.edges.vector)
    if not config.pair_cutoffs:
        return length, length
    stretch = jnp.asarray(config.cutoff / np.asarray(config.pair_cutoffs), length.dtype)
    return length, length * stretch[_elements(graph)]


def repulsion_energy(config: PairConfig, graph: AtomGraph) -> PerAtom:
    """Repulsion of nuclei, eV: each atom's half of its pairs."""
    length, stretched = pair_lengths(config, graph)
    elements = _elements(graph)
    of_mace = config.repulsion == "mace"
    if of_mace:
        envelope = polynomial(length / _radii(config, elements, length), 1.0, config.envelope)
    else:
        envelope = polynomial(stretched, config.cutoff, 6)
    z_i, z_j = (jnp.asarray(config.species)[species] for species in elements)
    screening = repulsion.MACE if of_mace else repulsion.NEQUIP
    pairs = 0.5 * envelope * repulsion.screened_repulsion(length, z_i, z_j, screening)
    inside = graph.edges.mask & (length < config.cutoff)
    return sum_over_neighbors(graph, jnp.where(inside, pairs, 0.0))


def _elements(graph: AtomGraph) -> Elements:
    species = graph.nodes.species
    return species[graph.receivers], species[graph.senders]


def _radii(config: PairConfig, elements: Elements, like: Lengths) -> Lengths:
    """Sum of the covalent radii of each pair, angstrom."""
    radii = jnp.asarray(_covalent_radii(config.species), like.dtype)
    return radii[elements[0]] + radii[elements[1]]


@functools.cache
def _covalent_radii(species: tuple[int, ...]) -> np.ndarray:
    return ase.data.covalent_radii[list(species)]
