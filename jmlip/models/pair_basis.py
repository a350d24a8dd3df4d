"""What a pair of atoms gives to an equivariant model, apart from the atoms' features."""

import functools
from typing import NamedTuple

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
from jmlip.ops.contraction import UnorderedPairs, unordered_pairs
from jmlip.ops.cutoffs import polynomial
from jmlip.ops.radial import agnesi, bessel, bessel_prefactor
from jmlip.ops.spherical import spherical_harmonics

Lengths = Float[Array, " pairs"]
PairConfig = MultiACEConfig | AllegroConfig
Elements = tuple[Int[Array, " pairs"], Int[Array, " pairs"]]
"""Species of the receiver and of the sender of each pair slot."""


class PairFeatures(NamedTuple):
    """What pairs give, zero in padding.

    Args:
        distance: stretched such that the cutoff of every pair is `cutoff`, of each slot, or of each
            of `unordered`; beyond the cutoff in padding.
        radial: radial functions of these distances times envelope.
        angular: spherical harmonics, of each slot.
        unordered: both directions of a pair as one, where they have the same radial weights.
    """

    distance: Float[Array, " weights"]
    radial: Float[Array, "weights radial"]
    angular: Float[Array, "pairs harmonics"]
    unordered: UnorderedPairs | None


class PairBasis(nn.Module):
    """Radial functions and spherical harmonics of the pairs of a graph."""

    config: MultiACEConfig

    @nn.compact
    def __call__(self, graph: AtomGraph) -> PairFeatures:
        config, mask = self.config, graph.edges.mask
        length, stretched = pair_lengths(config, graph)
        angular = spherical_harmonics(graph.edges.vector / length[:, None], config.harmonics)
        shared = not config.radial_species and _symmetric(config.pair_cutoffs)
        unordered = unordered_pairs(graph.edges.reverse) if shared else None
        of_rows = lambda x: x
        if unordered is not None:
            # rows without a pair repeat the first one's, and nobody reads what comes of them
            of_rows = lambda x: x.at[unordered.first].get(mode="promise_in_bounds")
        distance = argument = of_rows(stretched)
        if config.distance_transform == "agnesi":
            radii = _radii(config, _elements(graph), length)
            argument = agnesi(of_rows(length), 0.5 * of_rows(radii))
        frequencies = None
        if config.trainable_frequencies:
            frequencies = self.param("frequencies", lambda _: bessel_frequencies(config, length))
        radial = radial_basis(config, argument, distance, frequencies)
        radial = jnp.where(of_rows(mask)[:, None], radial, 0.0)
        angular = jnp.where(mask[:, None], angular, 0.0)
        return PairFeatures(distance, radial, angular, unordered)


def bessel_frequencies(config: MultiACEConfig, like: Array) -> Float[Array, " radial"]:
    """Those that make the Bessel functions orthogonal."""
    return jnp.pi * jnp.arange(1, config.radial + 1, dtype=like.dtype)


def radial_basis(
    config: MultiACEConfig,
    argument: Float[Array, " rows"],
    distance: Float[Array, " rows"],
    frequencies: Float[Array, " radial"] | None = None,
) -> Float[Array, "rows radial"]:
    """Bessel functions of the argument times the envelope of the distance, 0 beyond the cutoff."""
    if frequencies is None:
        frequencies = bessel_frequencies(config, distance)
    prefactor = bessel_prefactor(config.radial_normalization, config.cutoff)
    radial = bessel(argument, frequencies, config.cutoff, prefactor)
    return radial * polynomial(distance, config.cutoff, config.envelope)[:, None]


def _symmetric(pair_cutoffs: tuple[tuple[float, ...], ...]) -> bool:
    return tuple(zip(*pair_cutoffs, strict=True)) == tuple(pair_cutoffs)


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
