"""Argon clusters, and a small model to fit to them."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from ase import Atoms
from ase.calculators.lj import LennardJones

from jmlip.core.structure import Structure
from jmlip.graphs.graph import sum_over_neighbors
from jmlip.graphs.output import AtomicOutput
from jmlip.ops import safe
from jmlip.potentials.potential import Potential
from jmlip.potentials.storage import smallest_graph


@dataclasses.dataclass(frozen=True, kw_only=True)
class PairConfig:
    species: tuple[int, ...] = (18,)
    cutoff: float = 6.0
    width: int = 8


class PairModel(nn.Module):
    """E_i = sum_j u(r_ij) with u a small network: the least that can be fitted to forces."""

    config: PairConfig

    @nn.compact
    def __call__(self, graph):
        r = safe.norm(graph.edges.vector)
        inside = jnp.clip(1.0 - r / self.config.cutoff, 0.0, 1.0)
        x = jnp.stack([r - 4.0, (3.4 / r) ** 6], axis=-1)
        x = nn.tanh(nn.Dense(self.config.width, name="hidden")(x))
        pair = nn.Dense(1, name="out")(x)[:, 0] * inside**2
        energy = sum_over_neighbors(graph, jnp.where(graph.edges.mask, pair, 0.0))
        return AtomicOutput(energy, energy[:, None], energy[:, None])


def untrained() -> Potential:
    """Its reference energy is that of the labels."""
    model = PairModel(PairConfig())
    return Potential(
        kind="pair",
        model=model,
        params=jax.jit(model.init)(jax.random.key(0), smallest_graph())["params"],
        species=model.config.species,
        cutoff=model.config.cutoff,
        reference_energies=(-3.0,),
    )


def clusters() -> list[Structure]:
    """Distorted argon octahedra with the energies and forces of ASE's Lennard-Jones."""
    rng, made = np.random.default_rng(0), []
    corners = np.concatenate([np.eye(3), -np.eye(3)]) * 2.7
    for _ in range(40):
        atoms = Atoms("Ar6", corners + 0.15 * rng.normal(size=(6, 3)))
        atoms.calc = LennardJones(sigma=3.4, epsilon=0.05, rc=5.9, smooth=True)
        made.append(
            Structure(
                species=atoms.numbers,
                positions=atoms.positions,
                energy=atoms.get_potential_energy() - 18.0,
                forces=atoms.get_forces(),
            )
        )
    return made
