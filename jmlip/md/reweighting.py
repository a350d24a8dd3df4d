"""Averages over an ensemble as functions of its potential and temperature, from samples of another.

With samples x_i of the reference, of energies U_i at temperature kT_0,

    <O>(theta, kT) = sum_i w_i O_i,    w_i ~ exp(-U_theta(x_i) / kT + U_i / kT_0),    sum_i w_i = 1,

is differentiable, and its derivative is the fluctuation formula

    d<O>/dtheta = <dO/dtheta> - (<O dU/dtheta> - <O> <dU/dtheta>) / kT

with no derivative of a trajectory, so that chaos does no harm. It holds as long as many samples
count: when their effective number has fallen, draw new ones with the present parameters.

References:
    Zwanzig, J. Chem. Phys. 22, 1420 (1954).
    Thaler, Zavadlav, Nat. Commun. 12, 6884 (2021), equations 4 to 7 (DiffTRe).
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jmlip.core.errors import ConfigError, DataError
from jmlip.core.types import PyTree
from jmlip.md.propagator import Scalar

Weights = Float[Array, " samples"]


def weights(
    energies: Weights,
    reference_energies: Weights,
    *,
    kT: Scalar,
    kT_reference: Scalar | None = None,
) -> Weights:
    """Weights of samples in an ensemble that they were not drawn from.

    Args:
        energies: of the samples in the potential asked about, eV, differentiable.
        reference_energies: in the potential they were drawn with, eV, from the same code and in the
            same precision; nothing is differentiated through them.
        kT: temperature asked about, eV, differentiable.
        kT_reference: at which they were drawn, eV; the same where it is not given.

    Raises:
        ConfigError: there is not one reference energy for each sample.

    Example:
        >>> at_rest = jnp.zeros(4)
        >>> weights(at_rest, at_rest, kT=0.025).tolist()
        [0.25, 0.25, 0.25, 0.25]
    """
    if energies.shape != reference_energies.shape:
        raise ConfigError(
            "energies and reference_energies must be of the same samples, found shapes "
            f"{energies.shape} and {reference_energies.shape}."
        )
    reference_energies = jax.lax.stop_gradient(reference_energies)
    if kT_reference is None:
        # differences of energies first: in float32 the energies of many atoms have few digits
        kT_reference = jax.lax.stop_gradient(kT)
    kT_reference = jax.lax.stop_gradient(kT_reference)
    difference = (energies - reference_energies) / kT
    # the energies that multiply the change of temperature, from their mean: a constant cancels
    centered = reference_energies - reference_energies.mean()
    return jax.nn.softmax(-difference - centered * (1.0 / kT - 1.0 / kT_reference))


def average(weights: Weights, observables: PyTree) -> PyTree:
    """sum_i w_i O_i of every array in `observables`, whose first axis is that of the samples."""
    return jax.tree.map(lambda each: jnp.tensordot(weights, each, axes=1), observables)


def effective_number(weights: Weights) -> Float[Array, ""]:
    """How many samples count, exp(-sum_i w_i ln w_i): all if weights are equal, 1 if one has all.

    Example:
        >>> round(float(effective_number(jnp.array([0.5, 0.5, 0.0, 0.0]))), 3)
        2.0
    """
    smallest = jnp.finfo(weights.dtype).tiny  # 0 ln 0 is 0
    return jnp.exp(-jnp.sum(weights * jnp.log(jnp.maximum(weights, smallest))))


def require_effective(weights: Weights, *, fraction: float = 0.5) -> None:
    """Nothing, if enough of the samples count; only outside of `jit`.

    Args:
        weights: from `weights`.
        fraction: of the samples that must count.

    Raises:
        ConfigError: the fraction is not between 0 and 1.
        DataError: fewer count, or the weights are not finite.
    """
    if not 0.0 < fraction <= 1.0:
        raise ConfigError(f"fraction must be between 0 and 1, found {fraction}; 0.5 is usual.")
    found, wanted = float(effective_number(weights)), fraction * len(weights)
    if not found >= wanted:
        raise DataError(
            f"at least {wanted:.0f} of {len(weights)} samples must count in a reweighted average, "
            f"found {found:.1f}; draw new samples with the present parameters."
        )


def energies_of(
    energy: Callable[[PyTree], Float[Array, ""]], samples: PyTree, *, batch_size: int = 16
) -> Float[Array, " samples"]:
    """Energies of samples, some at a time, and computed again in reverse: little memory.

    Args:
        energy: of one sample, eV; gradients reach what it closes over.
        samples: arrays whose first axis is that of the samples.
        batch_size: how many at a time.
    """
    return jax.lax.map(jax.checkpoint(energy), samples, batch_size=batch_size)
