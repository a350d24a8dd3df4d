"""One configuration for the multi-ACE family; NequIP, BOTNet, MACE and linear models are presets.

| field           | nequip | botnet    | mace      | linear-ace |
|-----------------|--------|-----------|-----------|------------|
| n_layers        | 4      | 5         | 2         | 1          |
| correlation     | 1      | 1         | 3         | 3          |
| normalization   | "root" | "mean"    | "mean"    | "mean"     |
| first_skip      | "none" | "message" | "message" | "none"     |
| activation      | "gate" | "none"    | "none"    | "none"     |
| readout         | "last" | "every"   | "every"   | "every"    |
| last_readout    | ()     | (16,)     | (16,)     | ()         |
| radial_species  | no     | yes       | no        | yes        |
| radial_scaling  | "gain" | "moment"  | "moment"  | "moment"   |

"linear-ace" is the atomic cluster expansion with channels that mix elements and radial functions
(tensor-reduced: Darby et al., Phys. Rev. Lett. 131, 028001 (2023)); its energy is linear in the
product basis.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

from jmlip.models.multi_ace_checks import check
from jmlip.ops.forms import BackendName
from jmlip.ops.irreps import (
    SCALAR,
    Irrep,
    all_irreps,
    harmonics,
    reached,
    symmetric_power,
)
from jmlip.ops.radial import BesselNormalization


@dataclasses.dataclass(frozen=True, kw_only=True)
class MultiACEConfig:
    """Size and form of a member of the multi-ACE family.

    Args:
        species: atomic numbers, in the order of the one-hot input; `jmlip train` takes
            them from the data.
        cutoff: r_c, angstrom.
        n_layers: message-passing layers T.
        n_channels: channels of every irrep, or of those of each degree.
        embedding: width of the embedding of the elements; that of the scalars unless given.
        max_degree: highest degree of the features between layers.
        harmonics: highest degree of the spherical harmonics of a pair.
        both_parities: features of both parities for each degree, or that of the harmonics only.
        correlation: highest order nu of the symmetric product of every layer; 1 for none.
        normalization: sums over neighbors are divided by their mean number ("mean"), its root
            ("root"), or 1 + a learned density of neighbors ("density").
        mean_neighbors: mean number of neighbors of an atom in the training data, or of the atoms of
            each element: then that of the sender counts.
        first_skip: of the first layer: "none", "species" (a linear map of the old features for each
            element is added) or "message" (such a map acts on the message instead). Later layers
            add the map of the old features.
        activation: "gate", or "none" for a linear update.
        last_layer: features of the last layer: "scalars" or "all".
        readout: energies from "every" layer (linear, but for the last) or the "last" one.
        last_readout: hidden widths of the last readout.
        readout_activation: SiLU between the layers of the last readout.
        radial: number of Bessel functions.
        pair_cutoffs: angstrom, one row for each element of the receiver, one column for that of the
            sender, at most `cutoff`: distances of a pair are stretched such that its own cutoff
            falls upon `cutoff`.
        distance_transform: what the Bessel functions are functions of: the distance ("none"), or
            what `jmlip.ops.radial.agnesi` makes of it ("agnesi").
        radial_normalization: prefactor of the Bessel functions, see
            `jmlip.ops.radial.bessel_prefactor`.
        trainable_frequencies: whether the frequencies of the Bessel functions are parameters.
        envelope: order p of the polynomial envelope.
        radial_hidden: hidden widths of the radial network; a linear function of the basis for each
            sender's element where "radial_species" is set.
        radial_species: see `radial_hidden`.
        radial_scaling: see `jmlip.models.equivariant.MLP`.
        radial_table: number of intervals in a table that takes the place of the radial network, see
            `jmlip.md.tabulation`; 0 for the network.
        repulsion: "none", or that of nuclei at short distances (`jmlip.ops.repulsion`): "nequip",
            with an envelope of order 6 up to the cutoff of the pair, added at the end; "mace", with
            `envelope` up to the sum of covalent radii, multiplied by `energy_scale`.
        energy_scale: eV, one number or one for each element; multiplies every readout.
        energy_shift: constant interaction energy of an atom, eV; added to every atom.
        states: pairs of total charge (e) and spin multiplicity that are told apart: the embedding
            of an element has a term for each.
        kernels: backend of the convolution and the symmetric product, see `jmlip.ops.contraction`.

    Raises:
        ValueError: a value is out of range.
    """

    species: tuple[int, ...]
    cutoff: float = 5.0
    n_layers: int = 2
    n_channels: int | tuple[int, ...] = 64
    embedding: int | None = None
    max_degree: int = 1
    harmonics: int = 3
    both_parities: bool = False
    correlation: int = 3
    normalization: Literal["mean", "root", "density"] = "mean"
    mean_neighbors: float | tuple[float, ...] = 10.0
    first_skip: Literal["none", "species", "message"] = "message"
    activation: Literal["none", "gate"] = "none"
    last_layer: Literal["scalars", "all"] = "scalars"
    readout: Literal["every", "last"] = "every"
    last_readout: tuple[int, ...] = (16,)
    readout_activation: bool = True
    radial: int = 8
    pair_cutoffs: tuple[tuple[float, ...], ...] = ()
    distance_transform: Literal["none", "agnesi"] = "none"
    radial_normalization: BesselNormalization = "dimenet"
    trainable_frequencies: bool = False
    envelope: int = 5
    radial_hidden: tuple[int, ...] = (64, 64, 64)
    radial_species: bool = False
    radial_scaling: Literal["moment", "gain"] = "moment"
    radial_table: int = 0
    repulsion: Literal["none", "nequip", "mace"] = "none"
    energy_scale: float | tuple[float, ...] = 1.0
    energy_shift: float = 0.0
    states: tuple[tuple[int, int], ...] = ()
    kernels: BackendName = "auto"

    def __post_init__(self):
        check(self)

    @property
    def neighbor_factor(self) -> float | tuple[float, ...]:
        """What sums over neighbors are multiplied by; of each element where these differ."""
        power = {"mean": -1.0, "root": -0.5, "density": 0.0}[self.normalization]
        if isinstance(self.mean_neighbors, tuple):
            return tuple(mean**power for mean in self.mean_neighbors)
        return self.mean_neighbors**power

    def channels(self, ir: Irrep) -> int:
        """Channels of an irrep between layers."""
        return self.n_channels[ir.l] if isinstance(self.n_channels, tuple) else self.n_channels

    def layer_irreps(self) -> tuple[tuple[Irrep, ...], ...]:
        """Irreps of the features before the first layer, and after each."""
        wanted = all_irreps(self.max_degree, both_parities=self.both_parities)
        found: list[tuple[Irrep, ...]] = [(SCALAR,)]
        for n in range(self.n_layers):
            last = n == self.n_layers - 1 and self.last_layer == "scalars"
            target = (SCALAR,) if last else wanted
            found.append(self._reached(found[-1], target))
        return tuple(found)

    def _reached(self, irreps: tuple[Irrep, ...], wanted: tuple[Irrep, ...]) -> tuple[Irrep, ...]:
        """Those of the wanted irreps that a layer can make of others."""
        if self.correlation == 1:
            return reached(irreps, self.harmonics, wanted)
        messages = self._messages(irreps)
        orders = range(1, self.correlation + 1)
        made = set().union(*(symmetric_power(messages, order) for order in orders))
        return tuple(ir for ir in wanted if ir in made)

    def _messages(self, irreps: tuple[Irrep, ...]) -> tuple[Irrep, ...]:
        """What the products of a layer take, made of its features."""
        wanted = harmonics(self.harmonics)
        if self.both_parities:
            wanted = all_irreps(self.harmonics, both_parities=True)
        return reached(irreps, self.harmonics, wanted)

    def message_irreps(self, layer: int) -> tuple[Irrep, ...]:
        """Irreps of the messages of a layer: what the product takes, or the features themselves."""
        irreps = self.layer_irreps()
        if self.correlation == 1:
            return irreps[layer + 1]
        return self._messages(irreps[layer])


PRESETS: Mapping[str, Mapping[str, Any]] = {
    "mace": {},
    "nequip": {
        "n_layers": 4,
        "n_channels": 32,
        "max_degree": 2,
        "harmonics": 2,
        "correlation": 1,
        "normalization": "root",
        "first_skip": "none",
        "activation": "gate",
        "readout": "last",
        "last_readout": (),
        "radial_normalization": "nequip",
        "trainable_frequencies": True,
        "envelope": 6,
        "radial_hidden": (128,),
        "radial_scaling": "gain",
    },
    "botnet": {
        "n_layers": 5,
        "max_degree": 3,
        "both_parities": True,
        "correlation": 1,
        "envelope": 6,
        "radial_hidden": (),
        "radial_species": True,
    },
    "linear-ace": {
        "n_layers": 1,
        "max_degree": 0,
        "first_skip": "none",
        "last_readout": (),
        "radial_hidden": (),
        "radial_species": True,
    },
}
"""Where each published model departs from the defaults of `MultiACEConfig`, those of MACE."""
