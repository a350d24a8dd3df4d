"""Models of mace-torch (0.3): their weights in jmlip's multi-ACE family.

Flat weights of e3nn are blocks [inputs, outputs], one for each irrep, with the same normalization
as here. The coupling tensors U of the symmetric products are read from the file, because there are
two bases in use, one of them redundant: symmetrized over their factors they lie in the space of
`jmlip.ops.symmetric.symmetric_basis`, and the weights are carried over into it.
"""

import dataclasses
import itertools
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import ase.data
import numpy as np

from jmlip.core.config import from_dict, to_dict
from jmlip.core.errors import JmlipError
from jmlip.core.types import Params
from jmlip.interop.torch_state import TorchState, make_potential, one_model, require
from jmlip.models.multi_ace_config import MultiACEConfig
from jmlip.ops.irreps import SCALAR, Irrep, harmonics, paths
from jmlip.ops.radial import AGNESI
from jmlip.ops.repulsion import MACE
from jmlip.ops.symmetric import symmetric_basis
from jmlip.potentials.potential import Potential

_INTERACTION = re.compile(r"RealAgnostic(Density)?(Residual)?InteractionBlock")
_NOTHING = (
    r"\.output_mask$",
    r"_w3j_",
    r"_zeroed$",
    r"\.U_matrix_\d$",
    r"\.bessel_fn\.(prefactor|r_max)$",
    r"\.cutoff_fn\.r_max$",
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class MACEHyperparameters:
    """Arguments of `mace.modules.ScaleShiftMACE`, classes by name; most are in the weights, too.

    Those without default and `distance_transform` are used; of the rest, some are compared with the
    weights, and parts that jmlip has not are refused.
    """

    hidden_irreps: str
    max_ell: int
    correlation: int
    avg_num_neighbors: float
    interaction_cls_first: str
    interaction_cls: str
    distance_transform: str | None = "None"
    pair_repulsion: bool = False
    gate: str | None = "silu"
    radial_type: str = "bessel"
    apply_cutoff: bool = True
    use_so3: bool = False
    use_agnostic_product: bool = False
    use_last_readout_only: bool = False
    use_embedding_readout: bool = False
    use_edge_irreps_first: bool = False
    keep_last_layer_irreps: bool = False
    use_reduced_cg: bool = False
    edge_irreps: str | None = None
    embedding_specs: Any = None
    cueq_config: Any = None
    readout_cls: str = "NonLinearReadoutBlock"
    MLP_irreps: Any = None
    atomic_energies: Any = None
    atomic_inter_scale: Any = None
    atomic_inter_shift: Any = None
    atomic_numbers: Any = None
    heads: Any = None
    num_bessel: Any = None
    num_elements: Any = None
    num_interactions: Any = None
    num_polynomial_cutoff: Any = None
    r_max: Any = None
    radial_MLP: Any = None
    species: Any = None
    versions: Any = None


_SUPPORTED = {
    "correlation": (2, 3, 4),
    "distance_transform": ("None", None, "Agnesi"),
    "gate": ("silu", None),
    "radial_type": ("bessel",),
    "apply_cutoff": (True,),
    "use_so3": (False,),
    "use_agnostic_product": (False,),
    "use_last_readout_only": (False,),
    "use_embedding_readout": (False,),
    "use_edge_irreps_first": (False,),
    "keep_last_layer_irreps": (False,),
    "edge_irreps": (None,),
    "embedding_specs": (None,),
    "cueq_config": (None,),
    "readout_cls": ("NonLinearReadoutBlock", "LinearReadoutBlock"),
}


@one_model
def from_mace(state: Mapping[str, np.ndarray], hyperparameters: Mapping[str, Any]) -> Potential:
    """A MACE model of torch as a potential, with equal energies and forces.

    Isolated-atom energies become reference energies, scale and shift fields of the configuration.

    Args:
        state: the model's `state_dict()` as NumPy arrays. Coupling tensors of later layers may be
            left out where they equal those of the first.
        hyperparameters: see `MACEHyperparameters`.

    Raises:
        JmlipError: a name is missing or unknown, an array does not fit the hyperparameters, or the
            model has a part that jmlip has not.
    """
    given = from_dict(MACEHyperparameters, hyperparameters, where="hyperparameters")
    require(vars(given), _SUPPORTED)
    source = TorchState(state, carrying_nothing=_NOTHING)
    config = _config(source, given)
    shape = (len(config.species), config.channels(SCALAR))
    params: dict[str, Any] = {
        "embedding": source.blocks("node_embedding.linear.weight", [shape])[0],
        **_pairs(source, config),
    }
    for n in range(config.n_layers):
        params[f"layer_{n + 1}"] = _layer(source, config, n)
        params[f"readout_{n + 1}"] = {"mlp": _readout(source, config, n)}
    energies = _one_head(source, "atomic_energies_fn.atomic_energies", len(config.species)).tolist()
    source.finish()
    return make_potential(
        "mace",
        config,
        params,
        dtype=source.dtype,
        reference_energies=energies,
        provenance={"source": "mace-torch", "hyperparameters": to_dict(given)},
    )


def _require_equal(
    given: MACEHyperparameters, name: str, of_weights: float, measure: Callable = float
) -> None:
    value = getattr(given, name)
    if value is not None and not np.isclose(measure(value), of_weights, rtol=1e-6):
        raise JmlipError(
            f"hyperparameters.{name} must agree with the weights, which say {of_weights}, found "
            f"{value}."
        )


def _config(source: TorchState, given: MACEHyperparameters) -> MultiACEConfig:
    first_skip, density = _interactions(given)
    channels, max_degree = _hidden(given.hidden_irreps)
    n_layers = int(source.number("num_interactions"))
    scaled = "scale_shift.scale" in source
    agnesi = given.distance_transform == "Agnesi"
    if agnesi:
        _check_constants(source, "radial_embedding.distance_transform", AGNESI)
    if given.pair_repulsion:
        _check_constants(source, "pair_repulsion_fn", _REPULSION)
    cutoff = source.number("r_max")
    _require_equal(given, "r_max", cutoff)
    _require_equal(given, "num_interactions", n_layers)
    _require_equal(given, "heads", 1, len)
    frequencies = source.take("radial_embedding.bessel_fn.bessel_weights") * cutoff
    return MultiACEConfig(
        species=tuple(int(z) for z in source.take("atomic_numbers")),
        cutoff=cutoff,
        n_layers=n_layers,
        n_channels=channels,
        max_degree=max_degree,
        harmonics=given.max_ell,
        correlation=given.correlation,
        normalization="density" if density else "mean",
        mean_neighbors=given.avg_num_neighbors,
        first_skip=first_skip,
        last_readout=() if n_layers == 1 else (_readout_width(source, n_layers, channels),),
        radial=frequencies.size,
        distance_transform="agnesi" if agnesi else "none",
        trainable_frequencies=not np.allclose(frequencies, _frequencies(frequencies.size)),
        envelope=int(source.number("radial_embedding.cutoff_fn.p")),
        radial_hidden=tuple(w.shape[1] for w in _radial(source, 0)[:-1]),
        repulsion="mace" if given.pair_repulsion else "none",
        energy_scale=float(_one_head(source, "scale_shift.scale", 1)[0]) if scaled else 1.0,
        energy_shift=float(_one_head(source, "scale_shift.shift", 1)[0]) if scaled else 0.0,
    )


def _interactions(given: MACEHyperparameters) -> tuple[Any, bool]:
    """Skip of the first layer, and whether densities normalize."""
    matches = [
        _INTERACTION.fullmatch(n) for n in (given.interaction_cls_first, given.interaction_cls)
    ]
    first, later = matches
    if first is None or later is None or not later[2] or first[1] != later[1]:
        raise JmlipError(
            "interaction_cls must be RealAgnostic[Density]ResidualInteractionBlock and "
            "interaction_cls_first that or the same without Residual, found "
            f"{given.interaction_cls!r} and {given.interaction_cls_first!r}: such models cannot "
            "be converted."
        )
    return "species" if first[2] else "message", bool(first[1])


def _hidden(irreps: str) -> tuple[int, int]:
    """Channels and highest degree of `128x0e + 128x1o`."""
    terms = [term.strip().split("x") for term in irreps.split("+")]
    natural = [str(ir) for ir in harmonics(len(terms) - 1)]
    widths = {term[0] for term in terms}
    if [term[-1] for term in terms] != natural or len(widths) != 1 or not terms[0][0].isdigit():
        raise JmlipError(
            "hidden_irreps must be 0e, 1o, 2e, ... with one number of channels, found "
            f"{irreps!r}: such models cannot be converted."
        )
    return int(terms[0][0]), len(terms) - 1


_REPULSION = {"a_exp": MACE.power, "a_prefactor": 0.4543, "c": MACE.amplitudes}


def _check_constants(source: TorchState, prefix: str, expected: Mapping[str, Any]) -> None:
    """Constants that torch keeps in the state dict and jmlip in its code."""
    radii = source.take(f"{prefix}.covalent_radii")
    known = {"covalent_radii": ase.data.covalent_radii[: radii.size], **expected}
    if prefix == "pair_repulsion_fn":
        known["p"] = source.take("radial_embedding.cutoff_fn.p")
    for name, value in known.items():
        if not np.allclose(source.take(f"{prefix}.{name}"), value, rtol=1e-6):
            raise JmlipError(
                f"{prefix}.{name} must have the published values: models with others cannot be "
                "converted."
            )


def _one_head(source: TorchState, name: str, n: int) -> np.ndarray:
    value = source.take(name).reshape(-1)
    if value.size != n:
        raise JmlipError(
            f"{name!r} must hold {n} numbers, found {value.size}: of a model with several heads "
            "one must be chosen first, with mace_select_head."
        )
    return value


def _frequencies(n: int) -> np.ndarray:
    return math.pi * np.arange(1, n + 1)


def _radial(source: TorchState, layer: int) -> list[np.ndarray]:
    return source.series(rf"interactions\.{layer}\.conv_tp_weights\.layer(\d+)\.weight")


def _readout_width(source: TorchState, n_layers: int, channels: int) -> int:
    return source.take(f"readouts.{n_layers - 1}.linear_1.weight").size // channels


def _pairs(source: TorchState, config: MultiACEConfig) -> Params:
    frequencies = source.take("radial_embedding.bessel_fn.bessel_weights") * config.cutoff
    return {"pairs": {"frequencies": frequencies}} if config.trainable_frequencies else {}


def _layer(source: TorchState, config: MultiACEConfig, index: int) -> Params:
    n, n_species = config.channels(SCALAR), len(config.species)
    inputs, outputs = config.layer_irreps()[index : index + 2]
    targets = config.message_irreps(index)
    prefix, block = f"interactions.{index}", f"products.{index}"
    table = paths(inputs, config.harmonics, targets)
    fan_in = [n * sum(path.output == ir for path in table) for ir in targets]
    found: dict[str, Any] = {
        "convolution": {
            "up": _linear(source, f"{prefix}.linear_up", inputs, [n] * len(inputs), n),
            "radial": _numbered(_radial(source, index)),
            "down": _linear(source, f"{prefix}.linear", targets, fan_in, n),
        },
        "product": _product(source, f"{block}.symmetric_contractions", config, targets, outputs),
        "mix": _linear(source, f"{block}.linear", outputs, [n] * len(outputs), n),
    }
    if config.normalization == "density":
        density = source.take(f"{prefix}.density_fn.layer0.weight")
        found["convolution"]["density"] = {"weight_0": density}
    on_message = index == 0 and config.first_skip == "message"
    own = targets if on_message else tuple(ir for ir in inputs if ir in outputs)
    blocks = source.blocks(f"{prefix}.skip_tp.weight", [(n, n_species, n)] * len(own))
    found["species" if on_message else "skip"] = {
        f"weight_{ir}": value.transpose(1, 0, 2) for ir, value in zip(own, blocks, strict=True)
    }
    return found


def _linear(
    source: TorchState, name: str, irreps: tuple[Irrep, ...], fan_in: list[int], width: int
) -> Params:
    blocks = source.blocks(f"{name}.weight", [(n, width) for n in fan_in])
    return {f"weight_{ir}": block for ir, block in zip(irreps, blocks, strict=True)}


def _numbered(weights: list[np.ndarray]) -> Params:
    return {f"weight_{i}": weight for i, weight in enumerate(weights)}


def _product(
    source: TorchState,
    prefix: str,
    config: MultiACEConfig,
    inputs: tuple[Irrep, ...],
    outputs: tuple[Irrep, ...],
) -> Params:
    found, highest = {}, config.correlation
    for n, output in enumerate(outputs):
        for nu in range(1, highest + 1):
            block = f"{prefix}.contractions.{n}"
            ending = "weights_max" if nu == highest else f"weights.{highest - nu - 1}"
            weight = source.take(f"{block}.{ending}")
            change = change_of_basis(_couplings(source, block, nu), inputs, nu, output)
            if change.shape[0]:
                found[f"weight_{output}_{nu}"] = np.einsum("pk,skc->spc", change, weight)
    return found


def _couplings(source: TorchState, block: str, nu: int) -> np.ndarray:
    name = f"{block}.U_matrix_{nu}"
    first = re.sub(r"products\.\d+\.", "products.0.", name)  # depends on the degrees only
    return source.take(name if name in source else first)


def change_of_basis(
    couplings: np.ndarray, irreps: tuple[Irrep, ...], order: int, output: Irrep
) -> np.ndarray:
    """Matrix M [ours, theirs] that carries weights of symmetric couplings into jmlip's basis.

    Args:
        couplings: U, [rows, ..., theirs] with `order` axes of rows; one of 2L + 1 first for L > 0.
        irreps: of the rows.
        order: number of factors.
        output: irrep L.

    Raises:
        JmlipError: U couples to something else.
    """
    rows = sum(ir.dim for ir in irreps)
    expected = (output.dim, *[rows] * order)
    if couplings.shape[:-1] not in (expected, expected[1:] if output.l == 0 else expected):
        raise JmlipError(
            f"U_matrix_{order} must couple {order} features of {rows} components to {output}, "
            f"found an array of shape {couplings.shape}."
        )
    u = couplings.reshape(*expected, -1)
    orders = [(0, *(1 + i for i in p), order + 1) for p in itertools.permutations(range(order))]
    symmetric = np.mean([u.transpose(axes) for axes in orders], axis=0)
    basis = np.moveaxis(symmetric_basis(irreps, order, output), -2, 0)
    ours, theirs = (array.reshape(-1, array.shape[-1]) for array in (basis, symmetric))
    found = np.linalg.lstsq(ours, theirs, rcond=None)[0]
    if not np.allclose(ours @ found, theirs, atol=1e-5):
        raise JmlipError(
            f"U_matrix_{order} must lie in the symmetric couplings to {output}, and does not."
        )
    return found


def _readout(source: TorchState, config: MultiACEConfig, index: int) -> Params:
    n, prefix = config.channels(SCALAR), f"readouts.{index}"
    hidden = config.last_readout if index == config.n_layers - 1 else ()
    if not hidden:
        return {"weight_0": source.blocks(f"{prefix}.linear.weight", [(n, 1)])[0]}
    (width,) = hidden
    return {
        "weight_0": source.blocks(f"{prefix}.linear_1.weight", [(n, width)])[0],
        "weight_1": source.blocks(f"{prefix}.linear_2.weight", [(width, 1)])[0],
    }
