"""The configuration of a model of mace-torch (0.3), from its arguments and its weights."""

import dataclasses
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import ase.data
import numpy as np

from jmlip.core.errors import JmlipError
from jmlip.interop.torch_state import TorchState
from jmlip.models.multi_ace_config import MultiACEConfig
from jmlip.ops.irreps import harmonics
from jmlip.ops.radial import AGNESI
from jmlip.ops.repulsion import MACE

_INTERACTION = re.compile(r"RealAgnostic(Density)?(Residual)?InteractionBlock")


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


SUPPORTED = {
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


def _require_equal(
    given: MACEHyperparameters, name: str, of_weights: float, measure: Callable = float
) -> None:
    value = getattr(given, name)
    if value is not None and not np.isclose(measure(value), of_weights, rtol=1e-6):
        raise JmlipError(
            f"hyperparameters.{name} must agree with the weights, which say {of_weights}, found "
            f"{value}."
        )


def make_config(source: TorchState, given: MACEHyperparameters) -> MultiACEConfig:
    """The configuration; errors are those of `jmlip.interop.torch_mace.from_mace`."""
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
        radial_hidden=tuple(w.shape[1] for w in radial_weights(source, 0)[:-1]),
        repulsion="mace" if given.pair_repulsion else "none",
        energy_scale=float(one_head(source, "scale_shift.scale", 1)[0]) if scaled else 1.0,
        energy_shift=float(one_head(source, "scale_shift.shift", 1)[0]) if scaled else 0.0,
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


def one_head(source: TorchState, name: str, n: int) -> np.ndarray:
    """The `n` numbers of a model with one head."""
    value = source.take(name).reshape(-1)
    if value.size != n:
        raise JmlipError(
            f"{name!r} must hold {n} numbers, found {value.size}: of a model with several heads "
            "one must be chosen first, with mace_select_head."
        )
    return value


def _frequencies(n: int) -> np.ndarray:
    return math.pi * np.arange(1, n + 1)


def radial_weights(source: TorchState, layer: int) -> list[np.ndarray]:
    """Of each layer of the radial network."""
    return source.series(rf"interactions\.{layer}\.conv_tp_weights\.layer(\d+)\.weight")


def _readout_width(source: TorchState, n_layers: int, channels: int) -> int:
    return source.take(f"readouts.{n_layers - 1}.linear_1.weight").size // channels
