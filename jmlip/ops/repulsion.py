"""Screened nuclear repulsion at short distances, after Ziegler, Biersack and Littmark (ZBL).

    V(r) = k Z_i Z_j phi(r / a) / r,    a = length / (Z_i^power + Z_j^power),
    phi(x) = sum_n amplitude_n exp(-decay_n x)

References: Ziegler, Biersack, Littmark, The Stopping and Range of Ions in Solids (1985).
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int


class Screening(NamedTuple):
    """Constants of V, which the programs in use round differently."""

    coulomb: float  # k = e^2 / (4 pi eps_0), eV angstrom
    length: float  # angstrom
    power: float
    amplitudes: tuple[float, ...]
    decays: tuple[float, ...]


NEQUIP = Screening(
    coulomb=14.399645,
    length=0.46850,
    power=0.23,
    amplitudes=(0.02817, 0.28022, 0.50986, 0.18175),
    decays=(0.20162, 0.40290, 0.94229, 3.19980),
)
"""As in NequIP and Allegro, and in LAMMPS."""

MACE = Screening(
    coulomb=14.3996,
    length=0.4543 * 0.529,
    power=0.300,
    amplitudes=(0.1818, 0.5099, 0.2802, 0.02817),
    decays=(3.2, 0.9423, 0.4028, 0.2016),
)
"""As in MACE."""


def screened_repulsion(
    r: Float[Array, " pairs"],
    z_receiver: Int[Array, " pairs"],
    z_sender: Int[Array, " pairs"],
    screening: Screening,
) -> Float[Array, " pairs"]:
    """V(r) of each pair, eV; half of it belongs to each of the two atoms.

    Args:
        r: distances, angstrom, positive.
        z_receiver: atomic numbers.
        z_sender: atomic numbers.
        screening: constants.
    """
    z_i, z_j = z_receiver.astype(r.dtype), z_sender.astype(r.dtype)
    x = r * (z_i**screening.power + z_j**screening.power) / screening.length
    terms = zip(screening.amplitudes, screening.decays, strict=True)
    phi = sum((a * jnp.exp(-b * x) for a, b in terms), start=jnp.zeros_like(x))
    return screening.coulomb * z_i * z_j * phi / r
