"""Parts of equivariant models: linear maps, gates, radial networks, species.

Weights are standard normal and every sum over n inputs is divided by sqrt(n) when it is made, as in
e3nn ("element" normalization of paths and gradients): learning rates then mean what they mean in
the published codes. Activations are scaled to unit second moment, by the constants that e3nn for
torch uses, where a model was published so.
"""

from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.nn import initializers
from jaxtyping import Array, Float, Int

from jmlip.ops.forms import BackendName
from jmlip.ops.irreps import SCALAR, Irrep, slices
from jmlip.ops.powers import Powers
from jmlip.ops.symmetric import symmetric_product

Blocks = dict[Irrep, Array]
"""Features by irrep, each `[atoms, 2l + 1, channels]`."""

Widths = tuple[tuple[Irrep, int], ...]
"""Irreps and the channels of each."""

NORMAL = initializers.normal(1.0)
SILU_SCALE = 1.6791767923989418
TANH_SCALE = 1.5937334472592695
"""1 / sqrt(E[f(z)^2]), z standard normal, as e3nn for torch samples it."""


def silu(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """SiLU scaled to unit second moment."""
    return SILU_SCALE * jax.nn.silu(x)


def tanh(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """Hyperbolic tangent scaled to unit second moment."""
    return TANH_SCALE * jnp.tanh(x)


def split(features: Float[Array, "atoms rows channels"], irreps: tuple[Irrep, ...]) -> Blocks:
    """Blocks of an array of features."""
    return {ir: features[:, rows] for ir, rows in zip(irreps, slices(irreps), strict=True)}


def join(blocks: Blocks) -> Float[Array, "atoms rows channels"]:
    """One array from blocks with equally many channels."""
    return jnp.concatenate(list(blocks.values()), axis=1)


def widths_of(blocks: Blocks) -> Widths:
    """Irreps and channels of features."""
    return tuple((ir, value.shape[-1]) for ir, value in blocks.items())


def add(a: Blocks, b: Blocks) -> Blocks:
    """Sum, block by block; irreps of `b` that `a` does not have are dropped."""
    return {ir: value + b[ir] if ir in b else value for ir, value in a.items()}


class IrrepLinear(nn.Module):
    """y^ir = x^ir W^ir / sqrt(inputs), for those irreps that both sides have."""

    outputs: Widths

    @nn.compact
    def __call__(self, blocks: Blocks) -> Blocks:
        found = {}
        for ir, width in self.outputs:
            if ir in blocks:
                n = blocks[ir].shape[-1]
                weight = self.param(f"weight_{ir}", NORMAL, (n, width))
                found[ir] = blocks[ir] @ (weight * n**-0.5)
        return found


class SpeciesLinear(nn.Module):
    """y^ir_a = x^ir_a W^ir_{species(a)} / sqrt(inputs * species): e3nn's product with a one-hot.

    One matrix product with the features spread over species: no matrix per atom is ever made.
    """

    outputs: Widths

    @nn.compact
    def __call__(self, blocks: Blocks, one_hot: Float[Array, "atoms species"]) -> Blocks:
        n_atoms, n_species = one_hot.shape
        found = {}
        for ir, width in self.outputs:
            if ir in blocks:
                n = blocks[ir].shape[-1]
                weight = self.param(f"weight_{ir}", NORMAL, (n_species, n, width))
                spread = blocks[ir][:, :, None, :] * one_hot[:, None, :, None]
                spread = spread.reshape(n_atoms, ir.dim, n_species * n)
                found[ir] = spread @ (
                    weight.reshape(n_species * n, width) * (n * n_species) ** -0.5
                )
        return found


def gate_widths(outputs: Widths) -> Widths:
    """What `gate` needs for `outputs`: more scalars, one for each channel of higher degree."""
    gates = sum(n for ir, n in outputs if ir.l > 0)
    return tuple((ir, n + gates if ir == SCALAR else n) for ir, n in outputs)


def gate(blocks: Blocks, outputs: Widths) -> Blocks:
    """Scalars through SiLU (even) or tanh (odd); the rest times SiLU of scalars of their own."""
    start = dict(outputs)[SCALAR]
    scalars, gates = blocks[SCALAR][..., :start], silu(blocks[SCALAR][..., start:])
    found, start = {}, 0
    for ir, n in outputs:
        if ir == SCALAR:
            found[ir] = silu(scalars)
        elif ir.l == 0:
            found[ir] = tanh(blocks[ir])
        else:
            found[ir] = blocks[ir] * gates[..., start : start + n]
            start += n
    return found


class MLP(nn.Module):
    """Layers without biases, SiLU between them, so that zero stays zero.

    `factors` is the same but for the last product: (x, W) with outputs x W.

    Args:
        widths: outputs of each layer.
        scaling: "moment": SiLU of unit second moment (e3nn); "gain": plain SiLU, and sqrt(2) in
            every layer after one (NequIP since 0.6).
    """

    widths: tuple[int, ...]
    scaling: Literal["moment", "gain"] = "moment"

    def __call__(self, x: Float[Array, "rows inputs"]) -> Float[Array, "rows outputs"]:
        x, weight = self.factors(x)
        return x @ weight

    @nn.compact
    def factors(
        self, x: Float[Array, "rows inputs"]
    ) -> tuple[Float[Array, "rows hidden"], Float[Array, "hidden outputs"]]:
        *hidden, last = self.widths
        for i, width in enumerate(hidden):
            x = x @ self._weight(i, x.shape[-1], width)
            x = silu(x) if self.scaling == "moment" else jax.nn.silu(x)
        return x, self._weight(len(hidden), x.shape[-1], last)

    def _weight(self, i: int, n: int, width: int) -> Float[Array, "inputs outputs"]:
        gain = 2.0**0.5 if self.scaling == "gain" and i > 0 else 1.0
        return self.param(f"weight_{i}", NORMAL, (n, width)) * (gain * n**-0.5)


class SpeciesRadial(nn.Module):
    """w = sum_n W[species of the sender, n] B_n(r): a linear radial function of each element.

    `factors` gives (x, W) with w = x W.
    """

    width: int

    @nn.compact
    def factors(
        self, basis: Float[Array, "pairs radial"], sender: Int[Array, " pairs"], n_species: int
    ) -> tuple[Float[Array, "pairs inputs"], Float[Array, "inputs outputs"]]:
        n = basis.shape[-1]
        weight = self.param("weight", initializers.xavier_uniform(), (n_species * n, self.width))
        one_hot = jax.nn.one_hot(sender, n_species, dtype=basis.dtype)
        return (one_hot[:, :, None] * basis[:, None, :]).reshape(len(basis), -1), weight


class SymmetricProduct(nn.Module):
    """B = sum_nu sum_eta W^nu[species, eta, c] (A x ... x A)_eta, to each output irrep."""

    outputs: tuple[Irrep, ...]
    order: int
    n_species: int
    kernels: BackendName = "auto"

    @nn.compact
    def __call__(self, blocks: Blocks, species: Int[Array, " atoms"]) -> Blocks:
        features = join(blocks)
        outputs = tuple(self.outputs)
        table = Powers(tuple(blocks), outputs, self.order, self.n_species)
        weights = []
        for (nu, ir), n in table.sizes().items():
            if n == 0:
                continue
            initial = lambda key, shape, dtype=jnp.float32, n=n: NORMAL(key, shape, dtype) / n
            shape = (self.n_species, n, features.shape[-1])
            weights.append(self.param(f"weight_{ir}_{nu}", initial, shape))
        product = symmetric_product(
            features, jnp.concatenate(weights, axis=1), species, table, backend=self.kernels
        )
        reachable = {ir for (_, ir), n in table.sizes().items() if n > 0}
        return {ir: x for ir, x in split(product, outputs).items() if ir in reachable}
