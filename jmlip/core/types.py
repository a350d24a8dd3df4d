"""Array types that appear in public signatures; dimension names are padded sizes.

`atoms`, `pairs` and `graphs` are the sizes of one (padded) batch; `species` counts the elements a
potential knows.
"""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Bool, Float, Int

PairVectors = Float[Array, "pairs 3"]
"""`position[sender] - position[receiver] + shift @ cell`, angstrom."""
PerAtom = Float[Array, " atoms"]
PerGraph = Float[Array, " graphs"]
AtomVectors = Float[Array, "atoms 3"]
GraphTensors = Float[Array, "graphs 3 3"]
PairIndex = Int[Array, " pairs"]
AtomIndex = Int[Array, " atoms"]
PairMask = Bool[Array, " pairs"]
AtomMask = Bool[Array, " atoms"]
GraphMask = Bool[Array, " graphs"]

HostVectors = Float[np.ndarray, "n 3"]
HostCell = Float[np.ndarray, "3 3"]

Params = Mapping[str, Any]
"""A Flax parameter tree."""
PyTree = Any
Key = jax.Array
