"""From names to models and from directories to potentials: the only file that knows every model."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn

from jmlip.core.config import from_dict, unknown
from jmlip.core.errors import ConfigError
from jmlip.models.hipnn import HIPNN, HIPNNConfig

MODELS: Mapping[str, tuple[type[nn.Module], type]] = {"hipnn": (HIPNN, HIPNNConfig)}


def make_model(kind: str, config: Mapping[str, Any]) -> nn.Module:
    """The model `kind` ("hipnn") with a configuration given as plain values.

    Raises:
        ConfigError: unknown kind or key (the nearest valid one is named), or a value out of range.

    Example:
        >>> make_model("hipnn", {"species": [1, 6, 8], "n_features": 32}).config.n_features
        32
    """
    if kind not in MODELS:
        raise ConfigError(unknown(kind, MODELS, what=f"model.kind {kind!r}"))
    module, config_class = MODELS[kind]
    return module(config=from_dict(config_class, config, where="model"))
