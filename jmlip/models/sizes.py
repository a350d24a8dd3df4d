"""Three sizes of every model: what `size = "S"` means beside `kind`.

| kind           | S                 | M                   | L                       |
|----------------|-------------------|---------------------|-------------------------|
| ani            | 64, 48, 32 wide   | 128, 112, 96        | 256, 192, 160           |
| hipnn          | 32 features       | 64                  | 128                     |
| linear-ace     | 32 channels       | 128                 | 128, 5-body             |
| mace           | 32 channels, L=1  | 64, L=1             | 128, L=2                |
| botnet         | 2 layers, 32, l=1 | 4 layers, 32, l=2   | 5 layers, 64, l=3       |
| nequip         | 3 layers, 32, l=1 | 4 layers, 32, l=2   | 5 layers, 64, l=3       |
| allegro        | 1 layer, 32, l=2  | 2 layers, 32, l=2   | 3 layers, 64, l=3       |

S trains in minutes on two cores, L wants a GPU. Cutoffs stay the model's own.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

Fields = Mapping[str, Any]

_BOTNET = {
    "S": {"n_layers": 2, "n_channels": 32, "max_degree": 1, "harmonics": 2},
    "M": {"n_layers": 4, "n_channels": 32, "max_degree": 2, "harmonics": 2},
    "L": {"n_layers": 5, "n_channels": 64, "max_degree": 3, "harmonics": 3},
}
_NEQUIP = {
    "S": {"n_layers": 3, "n_channels": 32, "max_degree": 1, "harmonics": 1},
    "M": {"n_layers": 4, "n_channels": 32, "max_degree": 2, "harmonics": 2},
    "L": {"n_layers": 5, "n_channels": 64, "max_degree": 3, "harmonics": 3},
}
_ALLEGRO = {
    "S": {"n_layers": 1, "n_scalars": 64, "n_channels": 32, "harmonics": 2},
    "M": {"n_layers": 2, "n_scalars": 64, "n_channels": 32, "harmonics": 2},
    "L": {"n_layers": 3, "n_scalars": 128, "n_channels": 64, "harmonics": 3},
}

SIZES: Mapping[str, Mapping[str, Fields]] = MappingProxyType(
    {
        "ani": {
            "S": {"hidden": [64, 48, 32]},
            "M": {"hidden": [128, 112, 96]},
            "L": {"hidden": [256, 192, 160]},
        },
        "hipnn": {
            "S": {"n_features": 32, "n_onsite": 2},
            "M": {"n_features": 64},
            "L": {"n_features": 128},
        },
        "linear-ace": {
            "S": {"n_channels": 32},
            "M": {"n_channels": 128},
            "L": {"n_channels": 128, "correlation": 4},
        },
        "mace": {
            "S": {"n_channels": 32, "max_degree": 1},
            "M": {"n_channels": 64, "max_degree": 1},
            "L": {"n_channels": 128, "max_degree": 2},
        },
        "botnet": _BOTNET,
        "nequip": _NEQUIP,
        "allegro": _ALLEGRO,
        "allegro-2023": _ALLEGRO,
    }
)
"""Fields of each size, on top of the preset of the kind and below what is given."""
