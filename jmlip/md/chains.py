"""Nose-Hoover chains of jax-md: what keeps a set of momenta at a temperature, deterministically.

(jax-md rounds the masses and the step of the chain, not of the atoms, to float32. That is as if tau
were another by 1e-7: both parts of the step conserve the same energy, whatever their step.)

References:
    Martyna, Tuckerman, Tobias, Klein, Mol. Phys. 87, 1117 (1996).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax_md import simulate as jax_md_simulate
from jaxtyping import Array, Float

simulate: Any = jax_md_simulate  # type checkers do not see through its dataclasses

# 2 substeps of 3 Suzuki-Yoshida weights: jax-md's defaults for the chain
SUBSTEPS, SUZUKI_YOSHIDA_ORDER = 2, 3


class Chain(NamedTuple):
    """A chain of thermostats.

    Args:
        init: from the number of degrees of freedom and their kinetic energy to the chain's state.
        half_step: from momenta, their kinetic energy and the chain's state to momenta and state
            half a time step later.
        energy: what the chain holds, eV.
    """

    init: Callable[[int, Float[Array, ""]], Any]
    half_step: Callable[[Array, Float[Array, ""], Any], tuple[Array, Any]]
    energy: Callable[[Any], Float[Array, ""]]


def make_chain(*, dt: Any, kT: Any, tau: Any, length: int) -> Chain:
    """A chain of `length` thermostats with the period `tau`."""
    chain = simulate.nose_hoover_chain(dt, length, SUBSTEPS, SUZUKI_YOSHIDA_ORDER, tau)

    def init(n_free, kinetic):
        bath = chain.initialize(n_free, kinetic, kT)
        bath = jax.tree.map(lambda leaf: jnp.asarray(leaf, kinetic.dtype), bath)
        return chain.update_mass(bath, kT)

    def half_step(momentum, kinetic, bath):
        return chain.half_step(momentum, bath.set(kinetic_energy=kinetic), kT)

    def energy(bath):
        thermal = bath.position.at[0].multiply(bath.degrees_of_freedom)
        return (0.5 * bath.momentum**2 / bath.mass + kT * thermal).sum()

    return Chain(init, half_step, energy)
