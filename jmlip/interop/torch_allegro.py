"""Models of nequip-allegro (0.8): their weights in jmlip's Allegro.

Matrices are [inputs, outputs] on both sides, with the same normalization. What differs is the order
of weights of harmonics: there for each channel one of each degree, here for each degree one of each
channel.
"""

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jmlip.core.config import from_dict, to_dict
from jmlip.core.errors import JmlipError
from jmlip.core.types import Params
from jmlip.interop import nequip_parts as nequip
from jmlip.interop.torch_state import TorchState, make_potential, one_model, require
from jmlip.models.allegro_config import AllegroConfig
from jmlip.ops.pair_product import Table
from jmlip.potentials.potential import Potential

_NOTHING = (r"\.w3j$", r"(^|\.)_empty$")
_ACTIVATIONS = ("silu", None)


@dataclasses.dataclass(frozen=True, kw_only=True)
class BesselHyperparameters:
    """Arguments of `allegro.nn.TwoBodyBesselScalarEmbed`."""

    polynomial_cutoff_p: int = 6
    num_bessels: Any = None
    bessel_trainable: Any = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class SplineHyperparameters:
    """Arguments of `allegro.nn.TwoBodySplineScalarEmbed`."""

    num_splines: int = 16
    spline_span: int = 12


@dataclasses.dataclass(frozen=True, kw_only=True)
class AllegroHyperparameters:
    """Arguments of `allegro.model.AllegroModel`, with its defaults."""

    type_names: tuple[str, ...]
    l_max: int
    radial_chemical_embed: Mapping[str, Any]
    parity: bool = True
    num_layers: int = 2
    num_scalar_features: int = 64
    num_tensor_features: int = 16
    tp_path_channel_coupling: bool = True
    avg_num_neighbors: float | Mapping[str, float] | None = None
    pair_potential: Mapping[str, Any] | None = None
    r_max: float | None = None
    scalar_embed_mlp_nonlinearity: str | None = "silu"
    allegro_mlp_nonlinearity: str | None = "silu"
    readout_mlp_nonlinearity: str | None = "silu"
    weight_individual_irreps: bool = True
    # what the weights say, or what does not matter to a trained model
    radial_chemical_embed_dim: Any = None
    per_edge_type_cutoff: Any = None
    scalar_embed_mlp_hidden_layers_depth: Any = None
    scalar_embed_mlp_hidden_layers_width: Any = None
    allegro_mlp_hidden_layers_depth: Any = None
    allegro_mlp_hidden_layers_width: Any = None
    readout_mlp_hidden_layers_depth: Any = None
    readout_mlp_hidden_layers_width: Any = None
    per_type_energy_scales: Any = None
    per_type_energy_shifts: Any = None
    per_type_energy_scales_trainable: Any = None
    per_type_energy_shifts_trainable: Any = None
    do_derivatives: Any = None
    forward_normalize: Any = None
    model_dtype: Any = None
    seed: Any = None
    versions: Any = None


@one_model
def from_nequip_allegro(
    state: Mapping[str, np.ndarray], hyperparameters: Mapping[str, Any]
) -> Potential:
    """A model of nequip-allegro as a potential, with equal energies and forces.

    Shifts of the elements become reference energies, scales a field of the configuration.

    Args:
        state: the model's `state_dict()` as NumPy arrays; what stands before `func.` in a name
            does not matter.
        hyperparameters: see `AllegroHyperparameters`; as in the section of the model in nequip's
            configuration.

    Raises:
        JmlipError: a name is missing or unknown, an array does not fit the hyperparameters, or the
            model has a part that jmlip has not.
    """
    given = from_dict(AllegroHyperparameters, hyperparameters, where="hyperparameters")
    layered = given.scalar_embed_mlp_hidden_layers_depth != 0
    require(
        vars(given),
        {
            "scalar_embed_mlp_nonlinearity": ("silu",) if layered else _ACTIVATIONS,
            "allegro_mlp_nonlinearity": ("silu",),
            "readout_mlp_nonlinearity": ("silu",),
            "weight_individual_irreps": (True,),
        },
    )
    source = nequip.source_of(state, carrying_nothing=_NOTHING)
    config = _config(source, given)
    harmonic = lambda name, start: _by_degree(_network(source, name), start, config)
    params: dict[str, Any] = {
        "embedding": _embedding(source, config),
        "tensors": harmonic("tensor_embed.env_embed_linear", 0),
        "first": harmonic("allegro.first_layer_env_embed_projection", config.n_scalars),
        "readout": _numbered(_network(source, "edge_readout.mlp_module")),
    }
    for n in range(config.n_layers):
        weights = source.take(f"allegro.tps.{n}.weights")
        latent = harmonic(f"allegro.latents.{n}", config.n_scalars)
        params[f"layer_{n + 1}"] = {"weights": _paths(weights, config, n), "latent": latent}
    shifts = nequip.of_types(source, "shifts", 0.0, len(config.species))
    source.finish()
    return make_potential(
        "allegro",
        config,
        params,
        dtype=source.dtype,
        reference_energies=shifts,
        provenance={"source": "nequip-allegro", "hyperparameters": to_dict(given)},
    )


def _config(source: TorchState, given: AllegroHyperparameters) -> AllegroConfig:
    species = nequip.species_of(given.type_names)
    neighbors = nequip.mean_neighbors(given.avg_num_neighbors, given.type_names)
    cutoff, pair_cutoffs = nequip.cutoffs(source, given.r_max, len(species))
    scales = nequip.of_types(source, "scales", 1.0, len(species))
    if given.pair_potential is not None:
        nequip.check_repulsion(source, given.pair_potential, species)
    hidden = lambda name: tuple(w.shape[1] for w in _network(source, name)[:-1])
    return AllegroConfig(
        species=species,
        cutoff=cutoff,
        n_layers=given.num_layers,
        n_scalars=given.num_scalar_features,
        n_channels=given.num_tensor_features,
        harmonics=given.l_max,
        symmetry="o3_full" if given.parity else "o3_restricted",
        mean_neighbors=neighbors,
        **_radial(source, given),
        pair_cutoffs=pair_cutoffs,
        embedding_hidden=hidden("scalar_embed_mlp.mlp_module"),
        latent_hidden=hidden("allegro.latents.0"),
        product="channel" if given.tp_path_channel_coupling else "path",
        readout_hidden=hidden("edge_readout.mlp_module"),
        repulsion="nequip" if given.pair_potential is not None else "none",
        energy_scale=tuple(scales) if len(set(scales)) > 1 else scales[0],
    )


def _radial(source: TorchState, given: AllegroHyperparameters) -> dict[str, Any]:
    """Fields of the configuration that say what the first features of a pair are."""
    options = dict(given.radial_chemical_embed)
    kind = str(options.pop("_target_", "")).rpartition(".")[2]
    where = "hyperparameters.radial_chemical_embed"
    if kind == "TwoBodyBesselScalarEmbed":
        bessel = from_dict(BesselHyperparameters, options, where=where)
        frequencies = source.take(_BESSEL).reshape(-1)
        return {
            "embedding": "product",
            "radial": frequencies.size,
            "envelope": bessel.polynomial_cutoff_p,
            "trainable_frequencies": not np.array_equal(
                frequencies, 1 + np.arange(frequencies.size)
            ),
        }
    if kind == "TwoBodySplineScalarEmbed":
        spline = from_dict(SplineHyperparameters, options, where=where)
        return {
            "embedding": "spline",
            "radial": spline.num_splines,
            "spline_span": spline.spline_span,
        }
    raise JmlipError(
        f"{where} must be TwoBodyBesselScalarEmbed or TwoBodySplineScalarEmbed, found {kind!r}: "
        "such models cannot be converted."
    )


_BESSEL = "radial_chemical_embed.bessel_encode.bessel_weights"


def _embedding(source: TorchState, config: AllegroConfig) -> Params:
    found: dict[str, Any] = {"network": _numbered(_network(source, "scalar_embed_mlp.mlp_module"))}
    prefix = "radial_chemical_embed"
    if config.embedding == "spline":
        n = len(config.species)
        for name in ("lower", "upper"):  # functions of the two numbers that are fields
            source.take(f"{prefix}.spline.{name}")
        shape = (n, n, config.n_scalars, config.radial)
        (weights,) = source.blocks(f"{prefix}.spline.class_embed.weight", [shape])
        return found | {"splines": weights.swapaxes(2, 3)}
    if config.trainable_frequencies:
        found["frequencies"] = math.pi * source.take(_BESSEL).reshape(-1)
    embed = f"{prefix}.type_embed"
    return found | {
        "center": source.take(f"{embed}.center_embed.weight"),
        "neighbor": source.take(f"{embed}.neighbor_embed.weight"),
        "radial": _numbered(_network(source, f"{embed}.basis_linear")),
    }


def _network(source: TorchState, name: str) -> list[np.ndarray]:
    return source.series(rf"{re.escape(name)}\.mlp\.(\d+)\.weight")


def _numbered(weights: Sequence[np.ndarray]) -> Params:
    return {f"weight_{i}": weight for i, weight in enumerate(weights)}


def _by_degree(weights: Sequence[np.ndarray], start: int, config: AllegroConfig) -> Params:
    """A network whose last columns, from `start`, are weights of harmonics: into our order."""
    *hidden, last = weights
    n, degrees = config.n_channels, config.harmonics + 1
    scalars, harmonic = last[:, :start], last[:, start:]
    if harmonic.shape[1] not in (0, n * degrees):
        raise JmlipError(
            f"{n} channels and {degrees} degrees need {n * degrees} weights of harmonics, found "
            f"{harmonic.shape[1]}: the state dict belongs to other hyperparameters."
        )
    if harmonic.size:
        harmonic = harmonic.reshape(-1, n, degrees).swapaxes(1, 2).reshape(harmonic.shape)
    return _numbered([*hidden, np.concatenate([scalars, harmonic], axis=1)])


def _paths(weights: np.ndarray, config: AllegroConfig, layer: int) -> np.ndarray:
    """Weights [paths, channels] from [channels, paths], without that axis where it is one."""
    n = config.n_channels if config.product == "channel" else 1
    inputs, outputs = config.layer_irreps()[layer : layer + 2]
    n_paths = len(Table(inputs, config.harmonic_irreps(), outputs).paths)
    if weights.size != n * n_paths:
        raise JmlipError(
            f"allegro.tps.{layer}.weights must hold {n} x {n_paths} numbers, found {weights.shape}:"
            " the state dict belongs to other hyperparameters."
        )
    return weights.reshape(n, n_paths).T
