"""A padded graph the slow and plain way, all pairs and all images: independent of our own."""

import itertools

import jax.numpy as jnp
import numpy as np

from jmlip.core.structure import Structure
from jmlip.graphs.graph import AtomGraph, Edges, Globals, Nodes


def brute_force_graph(structure: Structure, species: tuple[int, ...], cutoff: float) -> AtomGraph:
    """One structure, one padding atom in a padding graph, one slot more than any atom needs."""
    pairs = _pairs(structure, cutoff)
    n, receivers = structure.n_atoms, np.array([pair[0] for pair in pairs], int)
    slots = int(np.bincount(receivers, minlength=n).max()) + 1
    position = {}
    for pair in pairs:
        position[pair] = pair[0] * slots + sum(other[0] == pair[0] for other in position)
    vector = np.tile([2.0 * cutoff, 0.0, 0.0], ((n + 1) * slots, 1))
    reverse, mask = np.arange((n + 1) * slots), np.zeros((n + 1) * slots, bool)
    senders = np.repeat(np.arange(n + 1), slots)
    for (i, j, shift), slot in position.items():
        difference = structure.positions[j] - structure.positions[i]
        vector[slot] = difference + np.array(shift) @ structure.cell
        reverse[slot] = position[j, i, tuple(-s for s in shift)]
        mask[slot], senders[slot] = True, j
    index = [species.index(z) for z in structure.species]
    volume = structure.volume if structure.is_periodic else 0.0
    return AtomGraph(
        nodes=Nodes(
            species=jnp.array([*index, 0]),
            mask=jnp.array([True] * n + [False]),
            graph=jnp.array([0] * n + [1]),
        ),
        edges=Edges(jnp.array(vector), jnp.array(reverse), jnp.array(mask)),
        receivers=jnp.repeat(jnp.arange(n + 1), slots),
        senders=jnp.array(senders),
        globals=Globals(
            mask=jnp.array([True, False]), volume=jnp.array([volume, 0.0]), state=jnp.zeros(2, int)
        ),
        n_node=jnp.array([n, 1]),
        n_edge=jnp.array([n * slots, slots]),
    )


def _pairs(structure: Structure, cutoff: float) -> list[tuple[int, int, tuple[int, ...]]]:
    images = [range(-4, 5) if periodic else (0,) for periodic in structure.pbc]
    pairs = []
    for i, j in itertools.product(range(structure.n_atoms), repeat=2):
        for shift in itertools.product(*images):
            difference = structure.positions[j] - structure.positions[i]
            length = np.linalg.norm(difference + np.array(shift) @ structure.cell)
            if length < cutoff and (i != j or any(shift)):
                pairs.append((i, j, shift))
    return pairs
