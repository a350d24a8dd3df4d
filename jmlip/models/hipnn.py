"""HIP-NN, the hierarchically interacting particle neural network, with tensor sensitivities.

    E = sum_i sum_n E_i^n,     E_i^n = w^n . z_i^n + b^n,     n = 0 ... N_int

z^0 is the one-hot species; E^0, the energy of the isolated or dressed atom, is the potential's
reference energy and not part of this module. Block n is one interaction layer and N_onsite on-site
layers, each with a residual exit:

    interaction:  u = f( t0 + c1 sqrt(|t1|^2 + eps) + c2 sqrt(|t2|^2 + eps) + W z_i + B )
                  tl_i = sum_j sum_nu s_nu(r_ij) Tl(r_ij / |r_ij|) V_nu z_j    (one V for all l)
    on-site:      u = f( W z_i + B )
    exit:         z' = W' u + B' + M' z      (M' only where the sizes differ, else the identity)

The interaction is computed sender first: y_j = V z_j once per atom, then
m_ij = sum_nu s_nu(r_ij) y_j,nu, one batched matrix product over the neighbor slots of the sender,
then one permutation to the receiver and the sum with Tl. V is shared by the ranks, so ranks 1 and
2 cost only that last sum, and nothing of size pairs x sensitivities x features exists.

References: Lubbers, Smith, Barros, J. Chem. Phys. 148, 241715 (2018); tensor sensitivities:
Chigaev et al., J. Chem. Phys. 158, 184108 (2023).
"""

import dataclasses
from collections.abc import Callable
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.nn import initializers
from jaxtyping import Array, Float

from jmlip.core.elements import check_species
from jmlip.graphs.graph import AtomGraph, from_senders, n_slots
from jmlip.graphs.output import AtomicOutput
from jmlip.ops import safe
from jmlip.ops.cutoffs import CUTOFFS, CutoffName
from jmlip.ops.radial import inverse_distance_gaussians
from jmlip.ops.tensors import direction_tensors, squared_norms

Initializer = Callable[..., Array]
"""`(key, shape, dtype) -> array`, as Flax wants it."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class HIPNNConfig:
    """Size and form of a HIP-NN.

    Args:
        species: atomic numbers, in the order of the one-hot input; `jmlip train` takes
            them from the data.
        cutoff: R_cut, angstrom.
        n_features: width of every layer.
        n_sensitivities: radial functions of each interaction layer.
        n_interactions: blocks N_int.
        n_onsite: on-site layers N_onsite of each block.
        max_rank: rank of the tensor sensitivities: 0 (HIP-NN), 1 or 2 (HIP-NN-TS).
        r_low: shortest distance the initial sensitivities resolve, angstrom.
        r_high: longest distance the initial sensitivities resolve, angstrom.
        cusp: eps under the roots of the tensor norms.
        cutoff_function: "cosine_squared" as published, or "smooth" (all derivatives continuous).
        initialization: "paper" (Glorot uniform; energy layers start at sigma_E 10^-2n) or "hippynn"
            (Glorot normal over whole tensors; energy layers start at 10^-2, 10^-4, 10^-8).
        energy_scale: sigma_E, eV; multiplies every energy layer.
        energy_shift: initial interaction energy of an atom, eV; what the first energy layer's bias
            starts at.

    Raises:
        ValueError: a value is out of range.
    """

    species: tuple[int, ...]
    cutoff: float = 6.5
    n_features: int = 64
    n_sensitivities: int = 8
    n_interactions: int = 2
    n_onsite: int = 3
    max_rank: int = 2
    r_low: float = 0.75
    r_high: float = 5.5
    cusp: float = 1.0e-6
    cutoff_function: CutoffName = "cosine_squared"
    initialization: Literal["paper", "hippynn"] = "paper"
    energy_scale: float = 1.0
    energy_shift: float = 0.0

    def __post_init__(self):
        check_species(self.species)
        for name in ("n_features", "n_sensitivities", "n_interactions"):
            if getattr(self, name) < 1:
                raise ValueError(f"model.{name} must be at least 1, got {getattr(self, name)}.")
        for name in ("cutoff", "r_low", "cusp", "energy_scale"):
            if not getattr(self, name) > 0.0:
                raise ValueError(f"model.{name} must be positive, got {getattr(self, name)}.")
        # every layer is traced by name, so a configuration from a stranger must not ask for many
        if self.n_interactions > 16:
            raise ValueError(f"model.n_interactions must be at most 16, got {self.n_interactions}.")
        if not 0 <= self.n_onsite <= 32:
            raise ValueError(f"model.n_onsite must lie between 0 and 32, got {self.n_onsite}.")
        if self.max_rank not in (0, 1, 2):
            raise ValueError(f"model.max_rank must be 0, 1 or 2, got {self.max_rank}.")
        if not self.r_low < self.r_high <= self.cutoff:
            raise ValueError(
                "model.r_low < model.r_high <= model.cutoff must hold, "
                f"got {self.r_low}, {self.r_high}, {self.cutoff} angstrom."
            )


class HIPNN(nn.Module):
    """HIP-NN(-TS): `apply({"params": params}, graph) -> AtomicOutput`."""

    config: HIPNNConfig

    @nn.compact
    def __call__(self, graph: AtomGraph) -> AtomicOutput:
        config = self.config
        length, tensors = _geometry(graph, config)
        features = jax.nn.one_hot(graph.nodes.species, len(config.species), dtype=length.dtype)
        terms = []
        for n in range(1, config.n_interactions + 1):
            features = Interaction(config, name=f"interaction_{n}")(
                graph, features, length, tensors
            )
            for k in range(1, config.n_onsite + 1):
                features = OnSite(config, name=f"onsite_{n}_{k}")(features)
            terms.append(_energy_layer(config, n)(features)[:, 0] * config.energy_scale)
        atomic_terms = jnp.stack(terms, axis=-1)
        return AtomicOutput(atomic_terms.sum(axis=-1), atomic_terms, features)


class Interaction(nn.Module):
    """One interaction layer with tensor sensitivities and residual exit."""

    config: HIPNNConfig

    @nn.compact
    def __call__(
        self,
        graph: AtomGraph,
        features: Float[Array, "atoms inputs"],
        length: Float[Array, " pairs"],
        tensors: Float[Array, "pairs components"],
    ) -> Float[Array, "atoms features"]:
        config = self.config
        n_atoms, n_inputs, slots = *features.shape, n_slots(graph)
        shape = (config.n_sensitivities, config.n_features, n_inputs)
        weight = self.param("weight", _interaction_initializer(config), shape)
        sensitivity = Sensitivity(config, name="sensitivity")(length, graph.edges.mask)
        sent = jnp.einsum("ai,vfi->avf", features, weight)
        # s is the same in both directions of a pair, so the receiver's slots serve the sender
        message = jnp.einsum("akv,avf->akf", sensitivity.reshape(n_atoms, slots, -1), sent).reshape(
            n_atoms * slots, -1
        )
        received = from_senders(graph, message).reshape(n_atoms, slots, -1)
        environment = jnp.einsum("akc,akf->acf", tensors.reshape(n_atoms, slots, -1), received)
        hidden = environment[:, 0] + _dense(config, "self", features.shape[-1])(features)
        for rank, squared in enumerate(squared_norms(environment, config.max_rank), start=1):
            scale = self.param(f"scale_{rank}", initializers.normal(1.0), (config.n_features,))
            hidden = hidden + scale[None] * jnp.sqrt(squared + config.cusp)
        return _residual_exit(config, hidden, features)


class Sensitivity(nn.Module):
    """s_nu(r) = exp[-sigma_nu^2 (1/r - 1/mu_nu)^2 / 2] phi(r), 0 in padding."""

    config: HIPNNConfig

    @nn.compact
    def __call__(
        self, length: Float[Array, " pairs"], mask: Array
    ) -> Float[Array, "pairs sensitivities"]:
        config, shape = self.config, (self.config.n_sensitivities,)
        mu = self.param("mu", _initial_centers(config), shape)
        sigma = self.param(
            "sigma", initializers.constant(2.0 * config.n_sensitivities * config.r_low), shape
        )
        cutoff = CUTOFFS[config.cutoff_function](length, config.cutoff)
        envelope = jnp.where(mask, cutoff, 0.0)
        return inverse_distance_gaussians(length, mu, sigma) * envelope[:, None]


class OnSite(nn.Module):
    """One atomic layer with residual exit."""

    config: HIPNNConfig

    @nn.compact
    def __call__(self, features: Float[Array, "atoms features"]) -> Float[Array, "atoms features"]:
        hidden = _dense(self.config, "self", features.shape[-1])(features)
        return _residual_exit(self.config, hidden, features)


def _geometry(graph: AtomGraph, config: HIPNNConfig) -> tuple[Array, Array]:
    length = safe.norm(graph.edges.vector)
    unit = graph.edges.vector / length[:, None]
    return length, direction_tensors(unit, config.max_rank)


def _residual_exit(config: HIPNNConfig, hidden: Array, features: Array) -> Array:
    difference = _dense(config, "exit", config.n_features)(jax.nn.softplus(hidden))
    if features.shape[-1] == config.n_features:
        return difference + features
    adjust = _dense(config, "adjust", features.shape[-1], use_bias=False)
    return difference + adjust(features)


def _dense(config: HIPNNConfig, name: str, n_inputs: int, *, use_bias: bool = True) -> nn.Dense:
    if config.initialization == "paper":
        kernel, bias = initializers.glorot_uniform(), initializers.zeros
    else:
        bias = _torch_uniform(n_inputs)
        kernel = initializers.glorot_normal() if name == "self" else bias
    return nn.Dense(
        config.n_features, use_bias=use_bias, kernel_init=kernel, bias_init=bias, name=name
    )


def _energy_layer(config: HIPNNConfig, n: int) -> nn.Dense:
    if config.initialization == "paper":
        factor = 10.0 ** (-2 * n)
        kernel, bias = initializers.glorot_uniform(), initializers.zeros
    else:
        factor = 10.0 ** -(2**n)
        kernel = bias = _torch_uniform(config.n_features)
    shift = config.energy_shift / config.energy_scale if n == 1 else 0.0
    return nn.Dense(
        1,
        kernel_init=lambda *arguments: factor * kernel(*arguments),
        bias_init=lambda *arguments: shift + factor * bias(*arguments),
        name=f"energy_{n}",
    )


def _torch_uniform(n_inputs: int) -> Initializer:
    """Torch's default for linear layers: uniform within 1 / sqrt(inputs)."""
    bound = n_inputs**-0.5
    return lambda key, shape, dtype=jnp.float32: jax.random.uniform(
        key, shape, dtype, -bound, bound
    )


def _interaction_initializer(config: HIPNNConfig) -> Initializer:
    if config.initialization == "paper":
        return initializers.glorot_uniform(in_axis=2, out_axis=1, batch_axis=0)
    # hippynn applies torch's rule to the whole tensor, so its fans mix features and sensitivities
    return lambda key, shape, dtype=jnp.float32: (
        jax.random.normal(key, shape, dtype) * (2.0 / (shape[2] * (shape[0] + shape[1]))) ** 0.5
    )


def _initial_centers(config: HIPNNConfig) -> Initializer:
    return lambda key, shape, dtype=jnp.float32: (
        1.0 / jnp.linspace(1.0 / config.r_high, 1.0 / config.r_low, shape[0], dtype=dtype)
    )
