"""Models of mace-torch (0.3): their weights in jmlip's multi-ACE family.

Flat weights of e3nn are blocks [inputs, outputs], one for each irrep, with the same normalization
as here. The coupling tensors U of the symmetric products are read from the file, because there are
two bases in use, one of them redundant: symmetrized over their factors they lie in the space of
`jmlip.ops.powers.symmetric_basis`, and the weights are carried over into it.
"""

import itertools
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from jmlip.core.config import from_dict, to_dict
from jmlip.core.errors import JmlipError
from jmlip.core.types import Params
from jmlip.interop.torch_mace_config import (
    SUPPORTED,
    MACEHyperparameters,
    make_config,
    one_head,
    radial_weights,
)
from jmlip.interop.torch_state import TorchState, make_potential, one_model, require
from jmlip.models.multi_ace_config import MultiACEConfig
from jmlip.ops.irreps import SCALAR, Irrep, paths
from jmlip.ops.powers import symmetric_basis
from jmlip.potentials.potential import Potential

_NOTHING = (
    r"\.output_mask$",
    r"_w3j_",
    r"_zeroed$",
    r"\.U_matrix_\d$",
    r"\.bessel_fn\.(prefactor|r_max)$",
    r"\.cutoff_fn\.r_max$",
)


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
    require(vars(given), SUPPORTED)
    source = TorchState(state, carrying_nothing=_NOTHING)
    config = make_config(source, given)
    shape = (len(config.species), config.channels(SCALAR))
    params: dict[str, Any] = {
        "embedding": source.blocks("node_embedding.linear.weight", [shape])[0],
        **_pairs(source, config),
    }
    for n in range(config.n_layers):
        params[f"layer_{n + 1}"] = _layer(source, config, n)
        params[f"readout_{n + 1}"] = {"mlp": _readout(source, config, n)}
    energies = one_head(source, "atomic_energies_fn.atomic_energies", len(config.species)).tolist()
    source.finish()
    return make_potential(
        "mace",
        config,
        params,
        dtype=source.dtype,
        reference_energies=energies,
        provenance={"source": "mace-torch", "hyperparameters": to_dict(given)},
    )


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
            "radial": _numbered(radial_weights(source, index)),
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
