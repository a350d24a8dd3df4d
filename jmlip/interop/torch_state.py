"""State dicts of torch models as plain NumPy arrays: read from disk, and taken apart by name.

Every array of a state dict must be used or known to carry nothing; what is missing, unknown or of
another size is an error that names it, so that no part of a model is lost in silence.
"""

import functools
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import safetensors
import safetensors.numpy

from jmlip.core.checkpoint import read_json
from jmlip.core.config import to_dict
from jmlip.core.errors import JmlipError
from jmlip.core.types import Params
from jmlip.factory import make_model
from jmlip.potentials.potential import Potential
from jmlip.potentials.storage import parameter_shapes

RECIPE = """    model = torch.load("model.model", map_location="cpu", weights_only=False)
    state = {name: value.contiguous().clone() for name, value in model.state_dict().items()}
    safetensors.torch.save_file(state, "model.safetensors")"""

_SPARSE = (".index", ".value", ".shape")


def one_model(convert: Callable[..., Potential]) -> Callable[..., Potential]:
    """A conversion in which hyperparameters and arrays that contradict each other are an error."""

    @functools.wraps(convert)
    def checked(state: Mapping[str, np.ndarray], hyperparameters: Mapping[str, Any]) -> Potential:
        if found := [name for name, value in state.items() if np.iscomplexobj(value)]:
            raise JmlipError(f"arrays must be real, and {found[0]} is complex.")
        try:
            return convert(state, hyperparameters)
        except (ValueError, KeyError, IndexError, TypeError) as cause:
            what = f"{cause} is missing" if isinstance(cause, KeyError) else cause
            raise JmlipError(
                f"hyperparameters and arrays must be those of one model, and are not: {what}"
            ) from cause

    return checked


def read_torch_state(path: str | Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """State dict and hyperparameters from `NAME.safetensors` and `NAME.json`.

    Names may stand below `state/`, with other arrays beside them that are left out; a sparse array
    is `NAME.index` [entries, axes], `NAME.value` [entries] and `NAME.shape`.

    Raises:
        JmlipError: a file is missing or damaged, or is one of torch's own, which are pickles.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise JmlipError(
            f"weights must come as .safetensors, found {path.name}; files of torch are programs "
            "(pickles), which jmlip never runs. Where torch and the model's package are installed "
            f"and the file can be trusted:\n\n{RECIPE}\n\nand write the hyperparameters to "
            "model.json beside it; docs/from-torch.md has both in full."
        )
    try:
        arrays = safetensors.numpy.load_file(str(path))
    except OSError as cause:
        raise JmlipError(f"cannot read {path}: {cause.strerror or cause}.") from cause
    except (safetensors.SafetensorError, KeyError, ValueError) as cause:
        raise JmlipError(f"{path} is damaged: not valid safetensors of known types.") from cause
    state = {k[6:]: v for k, v in arrays.items() if k.startswith("state/")} or arrays
    hyperparameters = read_json(path.with_suffix(".json"))
    if not isinstance(hyperparameters, dict):
        raise JmlipError(f"{path.with_suffix('.json')} must hold a JSON object.")
    return _dense(state), hyperparameters


def _dense(state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    found = {}
    for name, value in state.items():
        stem, ending = name[:-6], name[-6:]
        if ending not in _SPARSE or any(stem + other not in state for other in _SPARSE):
            found[name] = value
        elif ending == ".index":
            full = np.zeros(tuple(state[stem + ".shape"].tolist()))
            full[tuple(value.T.astype(int))] = state[stem + ".value"]
            found[stem] = full
    return found


class TorchState:
    """Arrays of a state dict, each taken by its name, in float64.

    Args:
        state: arrays by torch's names.
        carrying_nothing: patterns of names that need not be taken; nor do empty arrays.
    """

    def __init__(self, state: Mapping[str, np.ndarray], *, carrying_nothing: Iterable[str] = ()):
        self._state, self._taken = dict(state), set[str]()
        self._nothing = [re.compile(pattern) for pattern in carrying_nothing]

    def __contains__(self, name: str) -> bool:
        return name in self._state

    @property
    def dtype(self) -> str:
        """The widest of float32 and float64 among the arrays."""
        wide = any(value.dtype == np.float64 for value in self._state.values())
        return "float64" if wide else "float32"

    def take(self, name: str) -> np.ndarray:
        """An array in the shape it has.

        Raises:
            JmlipError: it is missing or not finite.
        """
        if name not in self._state:
            raise JmlipError(f"the state dict must hold {name!r}, and it is missing.")
        self._taken.add(name)
        value = np.asarray(self._state[name], np.float64)
        if not np.isfinite(value).all():
            raise JmlipError(f"{name!r} in the state dict must be finite, found NaN or infinity.")
        return value

    def number(self, name: str) -> float:
        """An array of one number."""
        return float(self.blocks(name, [()])[0])

    def blocks(self, name: str, shapes: Sequence[tuple[int, ...]]) -> list[np.ndarray]:
        """A flat array as consecutive blocks of these shapes.

        Raises:
            JmlipError: it is missing, or of another size.
        """
        flat = self.take(name).reshape(-1)
        sizes = [int(np.prod(shape)) for shape in shapes]
        if flat.size != sum(sizes):
            raise JmlipError(
                f"{name!r} in the state dict must hold {sum(sizes)} numbers, found {flat.size}: "
                "it belongs to other hyperparameters."
            )
        parts = np.split(flat, np.cumsum(sizes)[:-1])
        return [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]

    def series(self, pattern: str) -> list[np.ndarray]:
        """Arrays whose names match, in the order of the number in the only group.

        Raises:
            JmlipError: there is none.
        """
        found = {}
        for name in self._state:
            match = re.fullmatch(pattern, name)
            if match:
                found[int(match[1])] = self.take(name)
        if not found:
            raise JmlipError(f"the state dict must hold names like {pattern!r}, found none.")
        return [found[n] for n in sorted(found)]

    def finish(self) -> None:
        """Check that nothing is left.

        Raises:
            JmlipError: an array was not taken.
        """
        for name, value in self._state.items():
            known = name in self._taken or any(p.search(name) for p in self._nothing)
            if not known and value.size:
                raise JmlipError(
                    f"unknown name {name!r} in the state dict: it belongs to a part of a model "
                    "that cannot be converted."
                )


def require(values: Mapping[str, Any], supported: Mapping[str, tuple[Any, ...]]) -> None:
    """Check hyperparameters that only some values of can be converted.

    Raises:
        JmlipError: naming the first that has another value.
    """
    for name, choices in supported.items():
        if values[name] not in choices:
            raise JmlipError(
                f"{name} must be {' or '.join(map(repr, choices))}, found {values[name]!r}: such "
                "models cannot be converted."
            )


def make_potential(
    kind: str,
    config: Any,
    params: Params,
    *,
    dtype: str,
    reference_energies: Sequence[float],
    provenance: Mapping[str, Any],
) -> Potential:
    """A potential of converted parameters.

    Raises:
        JmlipError: they are not those the model asks for.
    """
    model: Any = make_model(kind, to_dict(config))
    shapes = jax.tree_util.tree_flatten_with_path(parameter_shapes(model))[0]
    expected = {jax.tree_util.keystr(key): leaf.shape for key, leaf in shapes}
    arrays = jax.tree_util.tree_flatten_with_path(params)[0]
    found = {jax.tree_util.keystr(key): leaf.shape for key, leaf in arrays}
    for name in sorted(expected.keys() | found.keys()):
        if expected.get(name) != found.get(name):
            raise JmlipError(
                f"the parameter {name} must have shape {expected.get(name)}, the state dict gives "
                f"{found.get(name)}: it belongs to other hyperparameters."
            )
    potential = Potential(
        kind=kind,
        model=model,
        params=params,
        species=model.config.species,
        cutoff=model.config.cutoff,
        reference_energies=tuple(float(energy) for energy in reference_energies),
        provenance=provenance,
    )
    return potential.astype("float64" if dtype == "float64" else "float32")
