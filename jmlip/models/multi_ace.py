"""The multi-ACE family: NequIP, BOTNet, MACE and what lies between, as one model.

A layer makes messages from the neighbors' features, multiplies them with themselves, and updates:

    A_i = (1 / N) W sum_j R(r_ij) (Y(r_ij) x W h_j)          convolution, `jmlip.ops.contraction`
    B_i = sum_nu sum_eta w^nu_{z_i, eta} (A_i x ... x A_i)_eta   symmetric product, nu factors
    h_i <- W B_i + W_{z_i} h_i                               update, through a gate or not
    E_i = scale * sum_t readout_t(h_i^t) + shift

NequIP is nu = 1 with a gate and one readout; BOTNet nu = 1 without any nonlinearity in the trunk
and a readout after every layer; MACE nu = 3 in two layers. `jmlip.models.multi_ace_config` has the
switches of each in one table.

References: Batatia et al., Nat. Mach. Intell. 7, 56 (2025) (the design space, BOTNet); Batzner et
al., Nat. Commun. 13, 2453 (2022) (NequIP); Batatia et al., NeurIPS 35, 11423 (2022) (MACE).
"""

from collections.abc import Callable, Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jmlip.graphs.graph import AtomGraph, sum_over_neighbors
from jmlip.graphs.output import AtomicOutput
from jmlip.models.channel_blocks import convolve_in_blocks
from jmlip.models.equivariant import (
    MLP,
    NORMAL,
    Blocks,
    IrrepLinear,
    SpeciesLinear,
    SpeciesRadial,
    SymmetricProduct,
    Widths,
    add,
    gate,
    gate_widths,
    join,
    widths_of,
)
from jmlip.models.multi_ace_config import MultiACEConfig
from jmlip.models.pair_basis import PairBasis, PairFeatures, repulsion_energy
from jmlip.ops.coupling import couplings
from jmlip.ops.irreps import SCALAR, Irrep, Path, paths
from jmlip.ops.radial_table import read_table


class MultiACE(nn.Module):
    """A member of the family: `apply({"params": params}, graph) -> AtomicOutput`."""

    config: MultiACEConfig

    @nn.compact
    def __call__(self, graph: AtomGraph) -> AtomicOutput:
        config = self.config
        pairs = PairBasis(config, name="pairs")(graph)
        n_species = len(config.species)
        one_hot = jax.nn.one_hot(graph.nodes.species, n_species, dtype=pairs.radial.dtype)
        width = config.embedding or config.channels(SCALAR)
        embedding = self.param("embedding", NORMAL, (n_species, width))
        scalars = one_hot @ (embedding * n_species**-0.5)
        if config.states:
            scalars += StateEmbedding(config, name="states")(graph, one_hot, width)
        features, terms = {SCALAR: scalars[:, None, :]}, []
        for n in range(config.n_layers):
            features = Layer(config, n, name=f"layer_{n + 1}")(graph, features, pairs, one_hot)
            scalars = features[SCALAR][:, 0]
            last = n == config.n_layers - 1
            if last or config.readout == "every":
                terms.append(Readout(config, last=last, name=f"readout_{n + 1}")(scalars))
        if config.repulsion == "mace":
            terms.append(repulsion_energy(config, graph))
        scale = _of_element(config.energy_scale, one_hot)
        terms = [scale * term for term in terms]
        if config.repulsion == "nequip":
            terms.append(repulsion_energy(config, graph))
        atomic_terms = jnp.stack(terms, axis=-1)
        energy = atomic_terms.sum(axis=-1) + config.energy_shift
        return AtomicOutput(energy, atomic_terms, scalars)


def _of_element(
    value: float | tuple[float, ...], one_hot: Float[Array, "atoms *_ species"]
) -> float | Float[Array, "atoms *_"]:
    """One number for all, or that of each atom's element."""
    if isinstance(value, tuple):
        return one_hot @ jnp.asarray(value, one_hot.dtype)
    return value


class StateEmbedding(nn.Module):
    """What charge and spin of the system add to the embedding of each element; begins at 0."""

    config: MultiACEConfig

    @nn.compact
    def __call__(
        self, graph: AtomGraph, one_hot: Float[Array, "atoms species"], width: int
    ) -> Float[Array, "atoms channels"]:
        n_states = len(self.config.states)
        shape = (n_states, one_hot.shape[1], width)
        embedding = self.param("embedding", nn.initializers.zeros, shape)
        state = jax.nn.one_hot(graph.globals.state, n_states, dtype=one_hot.dtype)
        return jnp.einsum("aq,as,qsc->ac", state[graph.nodes.graph], one_hot, embedding)


class Layer(nn.Module):
    """Convolution, product and update."""

    config: MultiACEConfig
    index: int

    @nn.compact
    def __call__(
        self,
        graph: AtomGraph,
        features: Blocks,
        pairs: PairFeatures,
        one_hot: Float[Array, "atoms species"],
    ) -> Blocks:
        config = self.config
        outputs = config.layer_irreps()[self.index + 1]
        channels = tuple((ir, config.channels(ir)) for ir in outputs)
        skip = config.first_skip if self.index == 0 else "species"
        gated = config.activation == "gate"
        widths = gate_widths(channels) if gated else channels
        message = Convolution(config, self.index, name="convolution")(
            graph, features, pairs, one_hot, widths
        )
        if skip == "message":
            message = SpeciesLinear(widths_of(message), name="species")(message, one_hot)
        if config.correlation > 1:
            message = SymmetricProduct(
                outputs, config.correlation, len(config.species), config.kernels, name="product"
            )(message, graph.nodes.species)
            message = IrrepLinear(widths, name="mix")(message)
        if skip == "species":
            message = add(message, SpeciesLinear(widths, name="skip")(features, one_hot))
        return gate(message, channels) if gated else message


class Convolution(nn.Module):
    """A = W sum_j R(r_ij) (Y(r_ij) x W h_j), normalized by the number of neighbors."""

    config: MultiACEConfig
    index: int

    @nn.compact
    def __call__(
        self,
        graph: AtomGraph,
        features: Blocks,
        pairs: PairFeatures,
        one_hot: Float[Array, "atoms species"],
        widths: Widths,
    ) -> Blocks:
        config, targets = self.config, self.config.message_irreps(self.index)
        up = IrrepLinear(widths_of(features), name="up")(features)
        factor = _of_element(config.neighbor_factor, one_hot[:, None, None, :])
        up = {ir: value * factor for ir, value in up.items()}
        if config.correlation > 1:
            widths = tuple((ir, config.channels(SCALAR)) for ir in targets)
        down = IrrepLinear(widths, name="down")(self._sums(graph, up, pairs))
        if config.normalization == "density":
            density = 1.0 + self._density(graph, pairs)[:, None, None]
            down = {ir: value / density for ir, value in down.items()}
        return down

    def _sums(self, graph: AtomGraph, up: Blocks, pairs: PairFeatures) -> Blocks:
        """Each output irrep as [2l + 1, paths * channels]; inputs of equal width go together."""
        config, targets = self.config, self.config.message_irreps(self.index)
        groups = width_tables(config, self.index, dict(widths_of(up)))
        sizes = [up[inputs[0]].shape[-1] * len(table) for inputs, table in groups]
        matrix, weights = self._weights(graph, pairs, sum(sizes))
        found: dict[Irrep, list[Array]] = {ir: [] for ir in targets}
        start = 0
        for (inputs, table), size in zip(groups, sizes, strict=True):
            own = matrix[..., start : start + size]
            start += size
            summed = convolve_in_blocks(
                join({ir: up[ir] for ir in inputs}),
                pairs.angular,
                own.reshape(*own.shape[:-1], len(table), -1),
                weights,
                graph.senders,
                graph.edges.reverse,
                couplings(inputs, config.harmonics, table),
                pairs=pairs.unordered,
                backend=config.kernels,
            )
            for ir, rows in _by_output(summed, table).items():
                found[ir].append(rows)
        return {ir: jnp.concatenate(rows, axis=-1) for ir, rows in found.items() if rows}

    def _weights(
        self, graph: AtomGraph, pairs: PairFeatures, width: int
    ) -> tuple[Float[Array, "*_ width"], Callable[[Array], Array]]:
        """A matrix, and the function from some of its columns to those of the radial weights."""
        config, basis = self.config, pairs.radial
        if config.radial_table:
            shape = (1, config.radial_table + 1, 2, width)
            table = self.param("radial_table", nn.initializers.zeros, shape)
            spacing = config.cutoff / config.radial_table
            which = jnp.zeros(len(basis), jnp.int32)
            read = lambda own: read_table(
                own, pairs.distance, which, spacing, backend=config.kernels
            )
            return table, read
        if config.radial_species:
            sender = graph.nodes.species[graph.senders]
            radial = SpeciesRadial(width, name="radial")
            x, matrix = radial.factors(basis, sender, len(config.species))
        else:
            radial = MLP((*config.radial_hidden, width), config.radial_scaling, name="radial")
            x, matrix = radial.factors(basis)
        return matrix, lambda own: x @ own

    def _density(self, graph: AtomGraph, pairs: PairFeatures) -> Array:
        """rho_i = sum_j tanh(x_ij^2), x a linear map of the radial functions."""
        x = MLP((1,), name="density")(pairs.radial)[:, 0]
        if pairs.unordered is not None:
            x = jnp.where(graph.edges.mask, x[pairs.unordered.row], 0.0)
        return sum_over_neighbors(graph, jnp.tanh(x * x))


def width_tables(
    config: MultiACEConfig, layer: int, channels: Mapping[Irrep, int]
) -> list[tuple[tuple[Irrep, ...], tuple[Path, ...]]]:
    """Inputs of a convolution with equally many channels, and the paths from each such group.

    Radial weights stand in this order: by group, then by path; so do the rows of each irrep of the
    output.
    """
    groups: dict[int, list[Irrep]] = {}
    for ir, n in channels.items():
        groups.setdefault(n, []).append(ir)
    targets = config.message_irreps(layer)
    found = [(tuple(own), paths(own, config.harmonics, targets)) for own in groups.values()]
    return [(own, table) for own, table in found if table]


def _by_output(summed: Array, table: tuple) -> Blocks:
    """Rows [2l + 1, paths] of each output irrep as [2l + 1, paths * channels]."""
    found, start = {}, 0
    for ir in dict.fromkeys(path.output for path in table):
        n_paths = sum(path.output == ir for path in table)
        stop = start + ir.dim * n_paths
        found[ir] = summed[:, start:stop].reshape(len(summed), ir.dim, -1)
        start = stop
    return found


class Readout(nn.Module):
    """Energy of an atom from its scalars, before the common scale."""

    config: MultiACEConfig
    last: bool

    @nn.compact
    def __call__(self, scalars: Float[Array, "atoms channels"]) -> Float[Array, " atoms"]:
        config = self.config
        hidden = config.last_readout if self.last else ()
        if config.readout_activation:
            return MLP((*hidden, 1), config.radial_scaling, name="mlp")(scalars)[:, 0]
        x = scalars
        for i, width in enumerate((*hidden, 1)):
            weight = self.param(f"weight_{i}", NORMAL, (x.shape[-1], width))
            x = x @ (weight * x.shape[-1] ** -0.5)
        return x[:, 0]
