"""One configuration for both forms of Allegro: that of the current program, and that of 2023.

| field            | allegro          | allegro-2023            |
|------------------|------------------|-------------------------|
| embedding        | "product"        | "one-hot"               |
| normalized_basis | false            | true                    |
| latents          | "dense"          | "residual"              |
| product          | "channel"        | "linear"                |
| mlp_scaling      | "gain"           | "moment"                |
| readout_activation | true           | false                   |
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

from jmlip.core.elements import check_species
from jmlip.ops.forms import BackendName
from jmlip.ops.irreps import SCALAR, Irrep, all_irreps, harmonics, product

WIDTHS = ("embedding_hidden", "latent_hidden", "readout_hidden")


@dataclasses.dataclass(frozen=True, kw_only=True)
class AllegroConfig:
    """Size and form of an Allegro.

    Args:
        species: atomic numbers, in the order of the one-hot input; `jmlip train` takes
            them from the data.
        cutoff: r_c, angstrom.
        n_layers: tensor products.
        n_scalars: scalar features of a pair.
        n_channels: channels of every irrep of a pair's tensors.
        harmonics: highest degree of the harmonics and of the tensors.
        symmetry: tensors of "o3_full" both parities for each degree, "o3_restricted" the parity of
            the harmonics, "so3" no parity at all: mirror images may differ in energy.
        mean_neighbors: mean number of neighbors of an atom in the training data, or of an atom of
            each element.
        embedding: first features of a pair: "product" (a linear map of the radial functions times
            learned vectors of both elements), "spline" (a learned spline for each ordered pair of
            elements), or "one-hot" (both elements and the radial functions, side by side).
        radial: number of radial functions.
        spline_span: how many of the splines overlap.
        pair_cutoffs: angstrom, one row for each element of the center, one column for that of the
            neighbor, at most `cutoff`: distances of a pair are stretched such that its own cutoff
            falls upon `cutoff`.
        normalized_basis: whether each Bessel function is shifted and scaled to mean 0 and variance
            1 over distances up to the cutoff.
        trainable_frequencies: whether the frequencies of the Bessel functions are parameters.
        envelope: order p of the polynomial envelope.
        embedding_hidden: hidden widths of the network on the first features.
        latent_hidden: hidden widths of the scalar network of every layer.
        latent_activation: SiLU between the layers of that network.
        latents: "dense" (a layer sees the scalars of all earlier ones) or "residual" (its own are
            mixed with the last ones, and the envelope multiplies them again).
        product: weights of the tensor product: for each path and "channel", for each "path", or
            "linear" (none; all paths are kept and a linear map mixes paths and channels).
        readout_hidden: hidden widths of the network for the energy of a pair.
        readout_activation: SiLU between the layers of that network.
        mlp_scaling: "gain" (plain SiLU, and sqrt(2) in layers after one) or "moment" (SiLU of unit
            second moment).
        repulsion: of nuclei at short distances, see `jmlip.ops.repulsion`: "nequip", with an
            envelope of order 6 up to the cutoff of the pair, added at the end.
        energy_scale: eV, one number or one for each element; multiplies the energy of every atom.
        energy_shift: constant interaction energy of an atom, eV; added to every atom.
        kernels: backend of the tensor product, see `jmlip.ops.pair_product`.

    Raises:
        ValueError: a value is out of range.
    """

    species: tuple[int, ...]
    cutoff: float = 5.0
    n_layers: int = 2
    n_scalars: int = 64
    n_channels: int = 32
    harmonics: int = 2
    symmetry: Literal["o3_full", "o3_restricted", "so3"] = "o3_full"
    mean_neighbors: float | tuple[float, ...] = 10.0
    embedding: Literal["product", "spline", "one-hot"] = "product"
    radial: int = 8
    spline_span: int = 6
    pair_cutoffs: tuple[tuple[float, ...], ...] = ()
    normalized_basis: bool = False
    trainable_frequencies: bool = False
    envelope: int = 6
    embedding_hidden: tuple[int, ...] = (64,)
    latent_hidden: tuple[int, ...] = (64,)
    latent_activation: bool = True
    latents: Literal["dense", "residual"] = "dense"
    product: Literal["channel", "path", "linear"] = "channel"
    readout_hidden: tuple[int, ...] = (32,)
    readout_activation: bool = True
    mlp_scaling: Literal["gain", "moment"] = "gain"
    repulsion: Literal["none", "nequip"] = "none"
    energy_scale: float | tuple[float, ...] = 1.0
    energy_shift: float = 0.0
    kernels: BackendName = "auto"

    def __post_init__(self):
        check_species(self.species)
        bounds = {
            "n_layers": (1, 16),
            "n_scalars": (1, 4096),
            "n_channels": (1, 4096),
            "harmonics": (0, 6),
            "radial": (1, 128),
            "spline_span": (0, self.radial),
            "envelope": (2, 64),
        }
        for name, (low, high) in bounds.items():
            if name == "spline_span" and self.embedding != "spline":
                continue
            if not low <= getattr(self, name) <= high:
                raise ValueError(
                    f"model.{name} must lie between {low} and {high}, got {getattr(self, name)}."
                )
        for name in WIDTHS:
            widths = getattr(self, name)
            if len(widths) > 8 or any(not 1 <= width <= 4096 for width in widths):
                raise ValueError(
                    f"model.{name} must be at most 8 widths between 1 and 4096, got {widths}."
                )
        if not self.cutoff > 0.0:
            raise ValueError(f"model.cutoff must be positive, got {self.cutoff}.")
        if self.embedding == "product" and self.n_scalars % 2:
            raise ValueError(
                "model.n_scalars must be even: half of the learned vector is the center's, half "
                f"the neighbor's; got {self.n_scalars}."
            )
        self._check_elements()
        self._check_meaning()

    def _check_meaning(self) -> None:
        """Refuse what another choice makes meaningless."""
        spline, default = self.embedding == "spline", type(self)
        meaningless = {
            "spline_span": not spline and self.spline_span != default.spline_span,
            "normalized_basis": spline and self.normalized_basis,
            "trainable_frequencies": spline and self.trainable_frequencies,
            "envelope": spline and self.latents == "dense" and self.envelope != default.envelope,
        }
        for name in (name for name, found in meaningless.items() if found):
            raise ValueError(
                f"model.{name} = {getattr(self, name)} has no meaning with model.embedding = "
                f"{self.embedding!r}; leave it at its default."
            )

    def _check_elements(self) -> None:
        n = len(self.species)
        for name in ("mean_neighbors", "energy_scale"):
            value = getattr(self, name)
            values = value if isinstance(value, tuple) else (value,) * n
            if len(values) != n or not all(v > 0.0 for v in values):
                raise ValueError(
                    f"model.{name} must be positive, one number or one for each of {n} elements, "
                    f"got {value}."
                )
        rows = self.pair_cutoffs
        if rows and [len(row) for row in rows] != [n] * n:
            raise ValueError(f"model.pair_cutoffs must be {n} rows of {n} distances, got {rows}.")
        if any(not 0.0 < value <= self.cutoff for row in rows for value in row):
            raise ValueError(
                f"model.pair_cutoffs must be positive and at most model.cutoff = {self.cutoff}, "
                f"got {rows}."
            )

    def harmonic_irreps(self) -> tuple[Irrep, ...]:
        """Irreps of the harmonics; all even where parity does not count."""
        natural = harmonics(self.harmonics)
        return tuple(Irrep(ir.l, 1) for ir in natural) if self.symmetry == "so3" else natural

    def layer_irreps(self) -> tuple[tuple[Irrep, ...], ...]:
        """Irreps of a pair's tensors before the first layer, and after each: no one of no use.

        Kept is what earlier tensors reach and what reaches the scalars of the last layer.
        """
        pair = self.harmonic_irreps()
        allowed = pair
        if self.symmetry == "o3_full":
            every = all_irreps(self.harmonics, both_parities=True)
            allowed = tuple(sorted(every, key=lambda ir: (ir.l, -ir.parity)))
        reached = lambda irreps: {o for a in irreps for b in pair for o in product(a, b)}
        found = [pair]
        for n in range(self.n_layers):
            wanted = (SCALAR,) if n == self.n_layers - 1 else allowed
            found.append(tuple(ir for ir in wanted if ir in reached(found[-1])))
        for n in reversed(range(self.n_layers)):
            found[n] = tuple(ir for ir in found[n] if reached([ir]) & set(found[n + 1]))
        return tuple(found)


PRESETS: Mapping[str, Mapping[str, Any]] = {
    "allegro": {},
    "allegro-2023": {
        "embedding": "one-hot",
        "normalized_basis": True,
        "embedding_hidden": (32, 64),
        "latent_hidden": (64,),
        "latents": "residual",
        "product": "linear",
        "readout_activation": False,
        "mlp_scaling": "moment",
    },
}
"""Where each form departs from the defaults of `AllegroConfig`, those of the current program."""
