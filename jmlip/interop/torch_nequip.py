"""Models of nequip (0.19): their weights in jmlip's multi-ACE family.

Flat weights of e3nn are blocks [inputs, outputs], one for each irrep, with the same normalization
as here, in another order: features are listed even before odd (0e, 0o, 1e, 1o), sums over neighbors
are sorted odd before even, and paths stand in the order input, harmonics, output. The embedding of
the elements, which multiplies the old features in a skip, is folded into weights of each element.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jmlip.core.config import from_dict, to_dict
from jmlip.core.errors import JmlipError
from jmlip.core.types import Params
from jmlip.interop import nequip_parts as nequip
from jmlip.interop.torch_state import TorchState, make_potential, one_model, require
from jmlip.models.multi_ace import width_tables
from jmlip.models.multi_ace_config import MultiACEConfig
from jmlip.ops.irreps import SCALAR, Irrep, harmonics, product
from jmlip.potentials.potential import Potential

_NOTHING = (r"\.output_mask$", r"_w3j_")
_GAINS = {"e": "silu", "o": "tanh"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class NequIPHyperparameters:
    """Arguments of `nequip.model.NequIPGNNModel`, with its defaults."""

    type_names: tuple[str, ...]
    num_layers: int = 4
    l_max: int = 1
    parity: bool = True
    num_features: int | tuple[int, ...] = 32
    r_max: float | None = None
    polynomial_cutoff_p: int = 6
    avg_num_neighbors: float | Mapping[str, float] | None = None
    pair_potential: Mapping[str, Any] | None = None
    readout_mlp_nonlinearity: str | None = "silu"
    convnet_sc: bool = True
    learnable_shift: bool = False
    convnet_resnet: bool = False
    convnet_nonlinearity_type: str = "gate"
    convnet_nonlinearity_scalars: Mapping[str, str] = dataclasses.field(default_factory=_GAINS.copy)
    convnet_nonlinearity_gates: Mapping[str, str] = dataclasses.field(default_factory=_GAINS.copy)
    categorical_graph_field_embed: Any = None
    # what the weights say, or what does not matter to a trained model
    bessel_trainable: Any = None
    do_derivatives: Any = None
    model_dtype: Any = None
    num_bessels: Any = None
    per_edge_type_cutoff: Any = None
    per_type_energy_scales: Any = None
    per_type_energy_scales_trainable: Any = None
    per_type_energy_shifts: Any = None
    per_type_energy_shifts_trainable: Any = None
    radial_mlp_depth: Any = None
    radial_mlp_width: Any = None
    readout_mlp_hidden_layers_depth: Any = None
    readout_mlp_hidden_layers_width: Any = None
    seed: Any = None
    type_embed_num_features: Any = None
    versions: Any = None


_SUPPORTED = {
    "readout_mlp_nonlinearity": ("silu", None),
    "convnet_sc": (True,),
    "learnable_shift": (False,),
    "convnet_resnet": (False,),
    "convnet_nonlinearity_type": ("gate",),
    "convnet_nonlinearity_scalars": (_GAINS,),
    "convnet_nonlinearity_gates": (_GAINS,),
    "categorical_graph_field_embed": (None,),
}


@one_model
def from_nequip(state: Mapping[str, np.ndarray], hyperparameters: Mapping[str, Any]) -> Potential:
    """A NequIP model of torch as a potential, with equal energies and forces.

    Shifts of the elements become reference energies, scales a field of the configuration.

    Args:
        state: the model's `state_dict()` as NumPy arrays; what stands before `func.` in a name
            does not matter.
        hyperparameters: see `NequIPHyperparameters`; as in the section of the model in nequip's
            configuration.

    Raises:
        JmlipError: a name is missing or unknown, an array does not fit the hyperparameters, or the
            model has a part that jmlip has not.
    """
    given = from_dict(NequIPHyperparameters, hyperparameters, where="hyperparameters")
    require(vars(given), _SUPPORTED)
    source = nequip.source_of(state, carrying_nothing=_NOTHING)
    config = _config(source, given)
    table = source.take("type_embed.embed_module.weight")
    params: dict[str, Any] = {"embedding": table * math.sqrt(len(config.species))}
    if config.trainable_frequencies:
        bessel = source.take("bessel_encode.bessel_weights")
        params["pairs"] = {"frequencies": math.pi * bessel.reshape(-1)}
    for n in range(config.n_layers):
        params[f"layer_{n + 1}"] = _layer(source, config, n, table)
    readout = _numbered(_readout(source))
    params[f"readout_{config.n_layers}"] = (
        {"mlp": readout} if config.readout_activation else readout
    )
    shifts = nequip.of_types(source, "shifts", 0.0, len(config.species))
    source.finish()
    return make_potential(
        "nequip",
        config,
        params,
        dtype=source.dtype,
        reference_energies=shifts,
        provenance={"source": "nequip", "hyperparameters": to_dict(given)},
    )


def _config(source: TorchState, given: NequIPHyperparameters) -> MultiACEConfig:
    species = nequip.species_of(given.type_names)
    neighbors = nequip.mean_neighbors(given.avg_num_neighbors, given.type_names)
    cutoff, pair_cutoffs = nequip.cutoffs(source, given.r_max, len(species))
    frequencies = source.take("bessel_encode.bessel_weights").reshape(-1)
    scales = nequip.of_types(source, "scales", 1.0, len(species))
    if given.pair_potential is not None:
        nequip.check_repulsion(source, given.pair_potential, species)
    return MultiACEConfig(
        species=species,
        cutoff=cutoff,
        n_layers=given.num_layers,
        n_channels=given.num_features,
        embedding=source.take("type_embed.embed_module.weight").shape[1],
        max_degree=given.l_max,
        harmonics=given.l_max,
        both_parities=given.parity,
        correlation=1,
        normalization="root",
        mean_neighbors=neighbors,
        first_skip="none",
        activation="gate",
        readout="last",
        last_readout=tuple(weight.shape[1] for weight in _readout(source)[:-1]),
        readout_activation=given.readout_mlp_nonlinearity is not None,
        radial=frequencies.size,
        pair_cutoffs=pair_cutoffs,
        radial_normalization="nequip",
        trainable_frequencies=not np.array_equal(frequencies, 1 + np.arange(frequencies.size)),
        envelope=given.polynomial_cutoff_p,
        radial_hidden=tuple(weight.shape[1] for weight in _radial(source, 0)[:-1]),
        radial_scaling="gain",
        repulsion="nequip" if given.pair_potential is not None else "none",
        energy_scale=tuple(scales) if len(set(scales)) > 1 else scales[0],
    )


def _radial(source: TorchState, layer: int) -> list[np.ndarray]:
    return source.series(rf"layer{layer}_convnet\.conv\.edge_mlp\.mlp\.(\d+)\.weight")


def _readout(source: TorchState) -> list[np.ndarray]:
    # without a nonlinearity, names of the matrices are another
    name = r"per_atom_energy_readout\.mlp_module\.mlp\.(?:weights\.)?(\d+)(?:\.weight)?"
    return source.series(name)


def _numbered(weights: Sequence[np.ndarray]) -> Params:
    return {f"weight_{i}": weight for i, weight in enumerate(weights)}


def _layer(source: TorchState, config: MultiACEConfig, index: int, table: np.ndarray) -> Params:
    irreps, prefix = config.layer_irreps(), f"layer{index}_convnet.conv"
    outputs = _even_first(irreps[index + 1])
    inputs = {ir: config.channels(ir) for ir in _even_first(irreps[index])}
    if index == 0:
        inputs = {SCALAR: table.shape[1]}
    gates = [ir for ir in outputs if ir.l > 0]
    widths = {ir: config.channels(ir) for ir in outputs}
    widths[SCALAR] += sum(config.channels(ir) for ir in gates)
    columns = _columns_of_scalars(config, gates)
    reorder = lambda ir, weight: weight[..., columns] if ir == SCALAR else weight

    up = source.blocks(f"{prefix}.linear_1.weight", [(n, n) for n in inputs.values()])
    radial, down = _convolution(source, config, index, inputs, widths)
    found: dict[str, Any] = {
        "convolution": {
            "up": {f"weight_{ir}": block for ir, block in zip(inputs, up, strict=True)},
            "radial": _numbered(radial),
            "down": {f"weight_{ir}": reorder(ir, block) for ir, block in down.items()},
        }
    }
    if index > 0:
        own = [ir for ir in inputs if ir in widths]
        shapes = [(inputs[ir], table.shape[1], widths[ir]) for ir in own]
        skips = source.blocks(f"{prefix}.sc.weight", shapes)
        scale = math.sqrt(len(table) / table.shape[1])
        found["skip"] = {
            f"weight_{ir}": scale * np.einsum("uvw,sv->suw", reorder(ir, block), table)
            for ir, block in zip(own, skips, strict=True)
        }
    return found


def _even_first(irreps: Sequence[Irrep]) -> list[Irrep]:
    return sorted(irreps, key=lambda ir: (ir.l, -ir.parity))


def _columns_of_scalars(config: MultiACEConfig, gates: Sequence[Irrep]) -> np.ndarray:
    """Places of scalars and gates in nequip's order, in the order that they have here."""
    start, places = config.channels(SCALAR), {}
    for ir in gates:
        places[ir] = np.arange(start, start + config.channels(ir))
        start += config.channels(ir)
    here = sorted(gates, key=lambda ir: (ir.l, ir != harmonics(ir.l)[-1]))
    return np.concatenate([np.arange(config.channels(SCALAR)), *(places[ir] for ir in here)])


def _convolution(
    source: TorchState,
    config: MultiACEConfig,
    index: int,
    inputs: Mapping[Irrep, int],
    widths: Mapping[Irrep, int],
) -> tuple[list[np.ndarray], dict[Irrep, np.ndarray]]:
    """Radial weights, and the linear map after the sum, with paths in the order they have here."""
    theirs = [
        (ir, y.l, output)
        for ir in inputs
        for y in harmonics(config.harmonics)
        for output in product(ir, y)
        if output in widths
    ]
    *hidden, last = _radial(source, index)
    sizes = [inputs[ir] for ir, _, _ in theirs]
    if last.shape[1] != sum(sizes):
        raise JmlipError(
            f"the radial network of layer {index} must have {sum(sizes)} outputs, found "
            f"{last.shape[1]}: it belongs to other hyperparameters."
        )
    columns = dict(zip(theirs, np.split(last, np.cumsum(sizes)[:-1], axis=1), strict=True))
    here = {ir: inputs[ir] for ir in config.layer_irreps()[index]}
    ours = [
        (group[path.input], path.degree, path.output)
        for group, table in width_tables(config, index, here)
        for path in table
    ]
    radial = [*hidden, np.concatenate([columns[path] for path in ours], axis=1)]

    name, down = f"layer{index}_convnet.conv.linear_2.weight", {}
    into = {ir: [path for path in theirs if path[2] == ir] for ir in sorted(widths)}
    shapes = [(sum(inputs[p[0]] for p in into[ir]), widths[ir]) for ir in into]
    for ir, block in zip(into, source.blocks(name, shapes), strict=True):
        starts = np.cumsum([inputs[path[0]] for path in into[ir]])[:-1]
        rows = dict(zip(into[ir], np.split(block, starts), strict=True))
        down[ir] = np.concatenate([rows[path] for path in ours if path[2] == ir])
    return radial, down
