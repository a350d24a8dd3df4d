"""Machine-learning interatomic potentials in JAX: from data to a potential to a trajectory."""

from jmlip.core.platform import refuse_broken_jaxlib as _refuse_broken_jaxlib

_refuse_broken_jaxlib()

__version__ = "0.1.0"
