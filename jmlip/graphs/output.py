"""What every model returns: energies of atoms, and what training and uncertainty may look at."""

from typing import NamedTuple

from jaxtyping import Array, Float

from jmlip.core.types import PerAtom


class AtomicOutput(NamedTuple):
    """Atomic energies of one (padded) graph, relative to the isolated-atom references.

    Padding atoms have finite values that mean nothing: mask before summing.
    """

    energy: PerAtom  # eV, sum of `terms`
    terms: Float[Array, "atoms orders"]  # eV, contributions in the model's own hierarchy
    features: Float[Array, "atoms features"]  # invariant latent features before the last readout
