"""Machine-learning interatomic potentials in JAX: from data to a potential to a trajectory."""

from jmlip.core import platform as _platform

_platform.refuse_broken_jaxlib()
_platform.quiet_cached_programs()
_platform.keep_freed_memory()

from jmlip.core import units
from jmlip.core.errors import JmlipError
from jmlip.core.structure import Structure
from jmlip.data.readers import read
from jmlip.factory import load_ensemble, load_potential
from jmlip.interop.ase import Calculator
from jmlip.potentials.potential import Potential, Prediction

__all__ = [
    "Calculator",
    "JmlipError",
    "Potential",
    "Prediction",
    "Structure",
    "load_ensemble",
    "load_potential",
    "read",
    "units",
]

__version__ = "0.1.0"
