"""Replica exchange: neighbors on a ladder of temperatures trade places, by Metropolis.

Two replicas with energies U_1, U_2 at temperatures T_1, T_2 trade them with the probability

    min(1, exp[(1 / kT_1 - 1 / kT_2) (U_1 - U_2)]),

and their momenta are multiplied by the square roots of T_new / T_old, which carries the
Maxwell-Boltzmann distribution of one temperature into that of the other: so the joint canonical
distribution is left invariant exactly. Pairs (0, 1), (2, 3), ... and (1, 2), (3, 4), ... take
turns, so no replica has two partners at once.

References:
    Sugita, Okamoto, Chem. Phys. Lett. 314, 141 (1999).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jmlip.core.types import Key

PerSystem = Float[Array, " systems"]
Rungs = Int[Array, " systems"]


class Ladder(NamedTuple):
    """Temperatures, in ascending order where they are linked.

    Args:
        kT: of each rung, eV.
        linked: whether a rung and the next one may trade.
    """

    kT: PerSystem
    linked: Bool[Array, " systems"]


class Places(NamedTuple):
    """Who stands where, and how that came.

    Args:
        rung: of each system.
        tried: trades proposed between each rung and the next.
        accepted: those that were made.
    """

    rung: Rungs
    tried: Rungs
    accepted: Rungs


def first_places(n_systems: int) -> Places:
    """Every system on the rung of its own number."""
    zeros = jnp.zeros(n_systems, jnp.int32)
    return Places(jnp.arange(n_systems, dtype=jnp.int32), zeros, zeros)


def exchange(
    places: Places, energy: PerSystem, ladder: Ladder, *, parity: Int[Array, ""], key: Key
) -> Places:
    """One round of trades.

    Args:
        places: before.
        energy: potential energy of each system, eV.
        ladder: temperatures.
        parity: 0 for the pairs that begin with an even rung, 1 for the others.
        key: consumed.
    """
    n = len(energy)
    system = jnp.argsort(places.rung).astype(jnp.int32)  # on each rung
    rung = jnp.arange(n, dtype=jnp.int32)
    after = jnp.minimum(rung + 1, n - 1)
    on_rung = energy[system]
    gain = (1.0 / ladder.kT - 1.0 / ladder.kT[after]) * (on_rung - on_rung[after])
    # 1 - u lies in (0, 1]: its logarithm is finite
    luck = jnp.log1p(-jax.random.uniform(key, (n,), energy.dtype))
    tried = ladder.linked & (rung % 2 == parity) & (after > rung)
    accepted = tried & (luck <= gain)
    from_below = jnp.roll(accepted, 1)
    source = jnp.where(accepted, rung + 1, jnp.where(from_below, rung - 1, rung))
    return Places(
        jnp.argsort(system[source]).astype(jnp.int32),
        places.tried + tried,
        places.accepted + accepted,
    )
