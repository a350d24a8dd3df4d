"""ANI: atomic energies from networks of each element on symmetry functions.

    E = sum_i N_{s(i)}(G_i),    G_i = (G^R_i, G^A_i)
    G^R_{s,m}(i) = 1/4 sum_{j in s} exp[-eta_R (r_ij - R_m)^2] fc(r_ij),    G^A: `jmlip.ops.angular`
    N_s = W_L celu(... celu(W_1 G + b_1) ...) + b_L,    celu(x) = x or 0.1 (exp(10 x) - 1)

Fast where few elements meet, and the potential that active learning trains by the dozen. The
networks of all elements are evaluated for every atom and the right one is chosen: a dense product
is cheaper than sorting atoms as long as elements are few.

References: Smith, Isayev, Roitberg, Chem. Sci. 8, 3192 (2017); Behler, Parrinello, Phys. Rev. Lett.
98, 146401 (2007).
"""

import dataclasses
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.nn import initializers
from jaxtyping import Array, Float, Int

from jmlip.core.elements import check_species
from jmlip.graphs.graph import AtomGraph, n_slots
from jmlip.graphs.output import AtomicOutput
from jmlip.ops import safe
from jmlip.ops.angular import Functions, angular_functions
from jmlip.ops.cutoffs import CUTOFFS, CutoffName
from jmlip.ops.forms import BackendName


@dataclasses.dataclass(frozen=True, kw_only=True)
class ANIConfig:
    """Symmetry functions and networks of an ANI; the defaults are those of ANI-1x.

    Args:
        species: atomic numbers, in the order of the networks; `jmlip train` takes
            them from the data.
        cutoff: of the radial functions, angstrom.
        angular_cutoff: of the angular functions, angstrom.
        radial_eta: width of the radial functions, 1 / angstrom^2.
        radial_shifts: number of radial functions of each element.
        radial_start: R_0, angstrom; the shifts divide the way to the cutoff evenly.
        angular_eta: width of the angular functions along the mean distance, 1 / angstrom^2.
        angular_zeta: sharpness of the angular functions.
        angular_shifts: number of mean distances.
        angular_start: the first of them, angstrom.
        angular_sections: number of angles, the odd multiples of pi / (2 sections).
        hidden: widths of the hidden layers.
        energy_shift: initial interaction energy of an atom, eV; what the last biases start at.
        cutoff_function: "cosine_squared" as published (cos^2(x / 2) is (1 + cos x) / 2), or
            "smooth" (all derivatives continuous).
        kernels: backend of the angular functions, see `jmlip.ops.contraction`.

    Raises:
        ValueError: a value is out of range.
    """

    species: tuple[int, ...]
    cutoff: float = 5.2
    angular_cutoff: float = 3.5
    radial_eta: float = 16.0
    radial_shifts: int = 16
    radial_start: float = 0.9
    angular_eta: float = 8.0
    angular_zeta: float = 32.0
    angular_shifts: int = 4
    angular_start: float = 0.9
    angular_sections: int = 8
    hidden: tuple[int, ...] = (128, 112, 96)
    energy_shift: float = 0.0
    cutoff_function: CutoffName = "cosine_squared"
    kernels: BackendName = "auto"

    def __post_init__(self):
        check_species(self.species)
        for name in ("radial_shifts", "angular_shifts", "angular_sections"):
            if not 1 <= getattr(self, name) <= 256:
                raise ValueError(
                    f"model.{name} must lie between 1 and 256, got {getattr(self, name)}."
                )
        for name in ("radial_eta", "angular_eta", "angular_zeta"):
            if not getattr(self, name) > 0.0:
                raise ValueError(f"model.{name} must be positive, got {getattr(self, name)}.")
        if not 0.0 < self.angular_cutoff <= self.cutoff:
            raise ValueError(
                "0 < model.angular_cutoff <= model.cutoff must hold, "
                f"got {self.angular_cutoff} and {self.cutoff} angstrom."
            )
        if not (
            0.0 <= self.radial_start < self.cutoff
            and 0.0 <= self.angular_start < self.angular_cutoff
        ):
            raise ValueError(
                "model.radial_start and angular_start must lie below their cutoffs, "
                f"{self.cutoff} and {self.angular_cutoff} angstrom, got {self.radial_start} and "
                f"{self.angular_start}."
            )
        if not self.hidden or len(self.hidden) > 16 or min(self.hidden) < 1:
            raise ValueError(f"model.hidden must be 1 to 16 positive widths, got {self.hidden}.")


class ANI(nn.Module):
    """ANI: `apply({"params": params}, graph) -> AtomicOutput`."""

    config: ANIConfig

    @nn.compact
    def __call__(self, graph: AtomGraph) -> AtomicOutput:
        features = symmetry_functions(graph, self.config)
        energy, latent = ElementNetworks(self.config, name="networks")(
            features, graph.nodes.species
        )
        return AtomicOutput(energy, energy[:, None], latent)


class ElementNetworks(nn.Module):
    """One network for each element: energies, and the last hidden layer."""

    config: ANIConfig

    @nn.compact
    def __call__(
        self, features: Float[Array, "atoms inputs"], species: Int[Array, " atoms"]
    ) -> tuple[Float[Array, " atoms"], Float[Array, "atoms width"]]:
        n_species = len(self.config.species)
        kernel = initializers.he_normal(in_axis=1, out_axis=2, batch_axis=0)
        x = jnp.broadcast_to(features[None], (n_species, *features.shape))
        latent = x
        for i, width in enumerate([*self.config.hidden, 1], start=1):
            weight = self.param(f"kernel_{i}", kernel, (n_species, x.shape[-1], width))
            start = self.config.energy_shift if i > len(self.config.hidden) else 0.0
            bias = self.param(f"bias_{i}", initializers.constant(start), (n_species, width))
            latent, x = x, jnp.einsum("sai,sio->sao", x, weight) + bias[:, None]
            if i <= len(self.config.hidden):
                x = jax.nn.celu(x, 0.1)
        own = jax.nn.one_hot(species, n_species, dtype=x.dtype)
        choose = lambda y: jnp.einsum("as,saf->af", own, y)
        return choose(x)[:, 0], choose(latent)


def symmetry_functions(
    graph: AtomGraph, config: ANIConfig
) -> Float[Array, "atoms symmetry_functions"]:
    """G_i: radial functions by element, then angular ones by pair of elements."""
    n_atoms, slots, n_species = len(graph.nodes.species), n_slots(graph), len(config.species)
    length = safe.norm(graph.edges.vector)
    dense = lambda x: x.reshape(n_atoms, slots, *x.shape[1:])
    cut = CUTOFFS[config.cutoff_function]
    envelope = lambda radius: dense(jnp.where(graph.edges.mask, cut(length, radius), 0.0))
    element = dense(graph.nodes.species[graph.senders])
    weight = jax.nn.one_hot(element, n_species, dtype=length.dtype)
    weight *= envelope(config.cutoff)[..., None]
    shifts = _even(config.radial_start, config.cutoff, config.radial_shifts)
    away = dense(length)[..., None] - jnp.asarray(shifts, length.dtype)[None, None]
    gaussian = jnp.exp(-config.radial_eta * away**2)
    radial = 0.25 * jnp.einsum("aks,akm->asm", weight, gaussian).reshape(n_atoms, -1)
    angular = angular_functions(
        dense(graph.edges.vector),
        envelope(config.angular_cutoff),
        element,
        _angular(config),
        backend=config.kernels,
    )
    return jnp.concatenate([radial, angular], axis=-1)


def _angular(config: ANIConfig) -> Functions:
    sections = config.angular_sections
    return Functions(
        n_species=len(config.species),
        eta=config.angular_eta,
        zeta=config.angular_zeta,
        shifts=_even(config.angular_start, config.angular_cutoff, config.angular_shifts),
        angles=tuple((2 * n + 1) * math.pi / (2 * sections) for n in range(sections)),
    )


def _even(start: float, stop: float, number: int) -> tuple[float, ...]:
    return tuple(start + (stop - start) * n / number for n in range(number))
