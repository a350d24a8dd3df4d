"""Allegro: a strictly local equivariant model. Features belong to ordered pairs and stay there.

    x_ij^0 = MLP(z_i, z_j, r_ij),      V_ij^0 = w(x_ij) Y(r_ij)
    Gamma_i = sum_k w(x_ik) Y(r_ik) / sqrt(N)       environment of the center
    V_ij   <- V_ij (x) Gamma_i                     tensor product, `jmlip.ops.pair_product`
    x_ij   <- MLP(x_ij, scalars of the product)
    E_i     = scale * sum_j MLP(x_ij) / sqrt(N) + shift

Nothing of a pair ever leaves its center, so an atom's energy depends on neighbors within one cutoff
only, whatever the number of layers. No network has a bias, and the radial functions vanish at the
cutoff: so does every feature of a pair.

Both forms are here: "latents = residual" is that of 2023, where all scalars pass through the
envelope again, "dense" that of the current program. `jmlip.models.allegro_config` has the switches.

References: Musaelian, Batzner et al., Nat. Commun. 14, 579 (2023); Tan et al., arXiv:2504.16068.
"""

import functools
from typing import Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jmlip.graphs.graph import AtomGraph, n_slots, sum_over_neighbors
from jmlip.graphs.output import AtomicOutput
from jmlip.models.allegro_config import AllegroConfig
from jmlip.models.equivariant import NORMAL, silu
from jmlip.models.pair_basis import pair_lengths, repulsion_energy
from jmlip.ops.cutoffs import polynomial
from jmlip.ops.irreps import SCALAR
from jmlip.ops.pair_product import Table, pair_product
from jmlip.ops.radial import bessel, bessel_prefactor, cosine_splines
from jmlip.ops.spherical import spherical_harmonics

MIX_OLD, MIX_NEW = 0.8**0.5, 0.2**0.5
"""Of the residual latents: 1 and 1/2 over the root of the sum of their squares."""


def uniform(key: Array, shape: tuple[int, ...], dtype=jnp.float32) -> Array:
    """Uniform numbers of mean 0 and variance 1."""
    return jax.random.uniform(key, shape, dtype, -(3.0**0.5), 3.0**0.5)


class Allegro(nn.Module):
    """`apply({"params": params}, graph) -> AtomicOutput`."""

    config: AllegroConfig

    @nn.compact
    def __call__(self, graph: AtomGraph) -> AtomicOutput:
        config, pairs = self.config, _pairs(graph, self.config)
        n_weights, dense = config.n_channels * (config.harmonics + 1), config.latents == "dense"
        scalars = Embedding(config, name="embedding")(pairs)
        if dense:
            initial = _linear(n_weights, "tensors")(scalars)
            projected = _linear(config.n_scalars + n_weights, "first")(scalars)
            scalars, outer = jnp.split(projected, [config.n_scalars], axis=-1)
        else:
            initial, outer = jnp.split(_linear(2 * n_weights, "tensors")(scalars), 2, axis=-1)
        tensors, latents = _tensors(pairs, initial), [scalars]
        for n in range(config.n_layers):
            scalars, tensors, outer = Layer(config, n, name=f"layer_{n + 1}")(
                pairs, latents, tensors, outer
            )
            latents = [*latents, scalars] if dense else [scalars]
        final = jnp.concatenate(latents, axis=-1)
        scaling = _scaling(config, config.readout_activation)
        readout = Network((*config.readout_hidden, 1), scaling, name="readout")
        # each sum over neighbors adds numbers of variance one, and "dense" counts pairs, not halves
        factor = pairs.factor * (0.5**0.5 if dense else 1.0)
        energy = sum_over_neighbors(graph, readout(final)[:, 0]) * factor
        terms = [energy * _per_atom(pairs, config.energy_scale)]
        if config.repulsion != "none":
            terms.append(repulsion_energy(config, graph))
        atomic_terms = jnp.stack(terms, axis=-1)
        energy = atomic_terms.sum(axis=-1) + config.energy_shift
        return AtomicOutput(energy, atomic_terms, sum_over_neighbors(graph, final))


class Pairs(NamedTuple):
    """What every layer knows of the pairs; the envelope is zero in padding."""

    center: Float[Array, "atoms species"]
    neighbor: Float[Array, "pairs species"]
    distance: Float[Array, " pairs"]  # over the cutoff
    envelope: Float[Array, " pairs"]
    angular: Float[Array, "atoms slots harmonics"]
    factor: Float[Array, " atoms"]  # 1 / sqrt(N)


def _pairs(graph: AtomGraph, config: AllegroConfig) -> Pairs:
    length, stretched = pair_lengths(config, graph)
    one_hot = functools.partial(jax.nn.one_hot, num_classes=len(config.species), dtype=length.dtype)
    center = one_hot(graph.nodes.species)
    neighbor = one_hot(graph.nodes.species[graph.senders])
    distance = stretched / config.cutoff
    envelope = jnp.where(graph.edges.mask, polynomial(distance, 1.0, config.envelope), 0.0)
    angular = spherical_harmonics(graph.edges.vector / length[:, None], config.harmonics)
    angular = angular.reshape(len(center), n_slots(graph), -1)
    pairs = Pairs(center, neighbor, distance, envelope, angular, center[:, 0])
    return pairs._replace(factor=_per_atom(pairs, config.mean_neighbors) ** -0.5)


def _per_atom(pairs: Pairs, value: float | tuple[float, ...]) -> Float[Array, " atoms"]:
    """A number of each element, for each atom."""
    values = value if isinstance(value, tuple) else (value,) * pairs.center.shape[1]
    return pairs.center @ jnp.asarray(values, pairs.center.dtype)


def _slots(values: Float[Array, "atoms n"], slots: int) -> Float[Array, "pairs n"]:
    """What a center knows, in each of its pair slots."""
    shape = (len(values), slots, values.shape[1])
    return jnp.broadcast_to(values[:, None], shape).reshape(-1, values.shape[1])


class Network(nn.Module):
    """Layers without biases, so that zero stays zero; weights start uniform with variance one.

    Args:
        widths: outputs of each layer.
        scaling: "gain", "moment" (see `AllegroConfig`), or "linear": no activation at all.
    """

    widths: tuple[int, ...]
    scaling: Literal["gain", "moment", "linear"] = "linear"

    @nn.compact
    def __call__(self, x: Float[Array, "rows inputs"]) -> Float[Array, "rows outputs"]:
        for i, width in enumerate(self.widths):
            n, gain = x.shape[-1], 1.0
            if i > 0 and self.scaling != "linear":
                x = silu(x) if self.scaling == "moment" else jax.nn.silu(x)
                gain = 2.0**0.5 if self.scaling == "gain" else 1.0
            x = x @ (self.param(f"weight_{i}", uniform, (n, width)) * (gain * n**-0.5))
        return x


def _linear(width: int, name: str) -> Network:
    return Network((width,), name=name)


def _scaling(config: AllegroConfig, activation: bool) -> Literal["gain", "moment", "linear"]:
    return config.mlp_scaling if activation else "linear"


class Embedding(nn.Module):
    """Scalars of a pair from its elements and its distance; zero from the cutoff on."""

    config: AllegroConfig

    @nn.compact
    def __call__(self, pairs: Pairs) -> Float[Array, "pairs scalars"]:
        config = self.config
        widths = (*config.embedding_hidden, config.n_scalars)
        network = Network(widths, config.mlp_scaling, name="network")
        if config.embedding == "spline":
            return network(self._splines(pairs))
        basis = self._bessel(pairs) * pairs.envelope[:, None]
        slots = pairs.angular.shape[1]
        if config.embedding == "one-hot":
            inputs = [_slots(pairs.center, slots), pairs.neighbor, basis]
            # here the elements alone do not vanish at the cutoff
            return network(jnp.concatenate(inputs, axis=-1)) * pairs.envelope[:, None]
        shape = (len(config.species), config.n_scalars // 2)
        center = _slots(pairs.center @ self.param("center", NORMAL, shape), slots)
        neighbor = pairs.neighbor @ self.param("neighbor", NORMAL, shape)
        radial = _linear(config.n_scalars, "radial")(basis)
        return network(radial * jnp.concatenate([center, neighbor], axis=-1))

    def _bessel(self, pairs: Pairs) -> Float[Array, "pairs radial"]:
        config, dtype = self.config, pairs.distance.dtype
        initial = np.pi * np.arange(1, config.radial + 1)
        frequencies = jnp.asarray(initial, dtype)
        if config.trainable_frequencies:
            frequencies = self.param("frequencies", lambda _: jnp.asarray(initial, jnp.float32))
        basis = bessel(pairs.distance, frequencies, 1.0, bessel_prefactor("sinc", 1.0))
        if config.normalized_basis:
            x = np.arange(1, 4001)[:, None] / 4000
            values = np.sin(initial * x) / (np.pi * x)
            mean, deviation = values.mean(axis=0), values.std(axis=0, ddof=1)
            mean, deviation = (jnp.asarray(a, dtype)[None] for a in (mean, deviation))
            basis = (basis - mean) / deviation
        return basis

    def _splines(self, pairs: Pairs) -> Float[Array, "pairs scalars"]:
        """sum_k W[center, neighbor, k] b_k."""
        config, n = self.config, len(self.config.species)
        basis = cosine_splines(pairs.distance, config.radial, config.spline_span)
        basis = jnp.where(pairs.envelope[:, None] > 0.0, basis, 0.0)
        # at any distance as many of them as overlap are not zero
        initial = lambda *args: uniform(*args) * max(config.spline_span, 1) ** -0.5
        weight = self.param("splines", initial, (n, n, config.radial, config.n_scalars))
        center = _slots(pairs.center, pairs.angular.shape[1])
        both = center[:, :, None, None] * pairs.neighbor[:, None, :, None] * basis[:, None, None]
        return both.reshape(len(basis), -1) @ weight.reshape(-1, config.n_scalars)


class Layer(nn.Module):
    """One tensor product, and what follows: new scalars, tensors, weights of the environment."""

    config: AllegroConfig
    index: int

    @nn.compact
    def __call__(
        self,
        pairs: Pairs,
        latents: list[Float[Array, "pairs scalars"]],
        tensors: Float[Array, "atoms slots rows channels"],
        outer: Float[Array, "pairs weights"],
    ) -> tuple[Array, Array, Array]:
        config, irreps = self.config, self.config.layer_irreps()
        outputs, summed = irreps[self.index + 1], config.product != "linear"
        table = Table(irreps[self.index], config.harmonic_irreps(), outputs, summed)
        environment = _environment(pairs, outer) * pairs.factor[:, None, None]
        last, n_scalars = self.index == config.n_layers - 1, config.n_scalars
        n_weights = 0 if last else config.n_channels * (config.harmonics + 1)
        invariants, tensors = self._product(table, tensors, environment)
        inputs = jnp.concatenate([*latents, invariants.reshape(len(outer), -1)], axis=-1)
        scaling = _scaling(config, config.latent_activation)
        if config.latents == "dense":
            widths = (*config.latent_hidden, n_scalars + n_weights)
            both = Network(widths, scaling, name="latent")(inputs)
            return both[:, :n_scalars], tensors, both[:, n_scalars:]
        new = Network((*config.latent_hidden, n_scalars), scaling, name="latent")(inputs)
        scalars = MIX_OLD * latents[-1] + MIX_NEW * new * pairs.envelope[:, None]
        outer = scalars[:, :0] if last else _linear(n_weights, "environment")(scalars)
        return scalars, tensors, outer

    def _product(self, table: Table, tensors: Array, environment: Array) -> tuple[Array, Array]:
        """Invariants of the product, and the new tensors."""
        config, n, n_paths = self.config, self.config.n_channels, len(table.paths)
        scalar = table.outputs.index(SCALAR)
        if table.summed:
            shape = (n_paths, n if config.product == "channel" else 1)
            weights = jnp.broadcast_to(self.param("weights", uniform, shape), (n_paths, n))
            tensors = pair_product(tensors, environment, weights, table, backend=config.kernels)
            return tensors[:, :, scalar], tensors
        one = jnp.ones((n_paths, n), tensors.dtype)
        rows = pair_product(tensors, environment, one, table, backend=config.kernels)
        invariants, mixed, start = rows[:, :, :0], [], 0
        for ir, stride in zip(table.outputs, table.strides, strict=True):
            stop = start + stride * ir.dim
            wide = rows[:, :, start:stop].reshape(*rows.shape[:2], ir.dim, stride * n)
            if ir == SCALAR:
                invariants = wide
            # tensors of the last layer serve nothing, but the published model has weights for them
            weight = self.param(f"mix_{ir}", NORMAL, (stride * n, n))
            mixed.append(wide @ (weight * (stride * n) ** -0.5))
            start = stop
        return invariants, jnp.concatenate(mixed, axis=2)


def _by_degree(pairs: Pairs, weights: Float[Array, "pairs weights"]) -> Array:
    """Weights [atoms, slots, degrees, channels]."""
    n_degrees = round(pairs.angular.shape[2] ** 0.5)
    return weights.reshape(*pairs.angular.shape[:2], n_degrees, -1)


def _tensors(pairs: Pairs, weights: Array) -> Float[Array, "atoms slots harmonics channels"]:
    """w_lc Y_lm."""
    found, weights = [], _by_degree(pairs, weights)
    for l in range(weights.shape[2]):
        angular = pairs.angular[:, :, l * l : (l + 1) ** 2, None]
        found.append(weights[:, :, l, None] * angular)
    return jax.lax.optimization_barrier(jnp.concatenate(found, axis=2))


def _environment(pairs: Pairs, weights: Array) -> Float[Array, "atoms harmonics channels"]:
    """sum_k w_lc Y_lm over the neighbors k of each atom."""
    found, weights = [], _by_degree(pairs, weights)
    for l in range(weights.shape[2]):
        angular = pairs.angular[:, :, l * l : (l + 1) ** 2, None]
        found.append(jnp.sum(weights[:, :, l, None] * angular, axis=1))
    return jax.lax.optimization_barrier(jnp.concatenate(found, axis=1))
