"""The potential as dynamics sees it: positions, cell, neighbor list in, forces and energy out."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jmlip.core.errors import ConfigError
from jmlip.core.structure import Structure
from jmlip.core.types import AtomVectors
from jmlip.factory import split_pair
from jmlip.graphs import device_neighbors, systems
from jmlip.graphs.device_neighbors import Cell, DeviceNeighbors
from jmlip.graphs.near import narrow
from jmlip.md.state import Evaluation, ForceFn
from jmlip.potentials.evaluate import evaluate
from jmlip.potentials.potential import Potential


def make_force_fn(
    potential: Potential, structure: Structure, *, dtype: str, skin: float | None
) -> ForceFn:
    """Energy, forces and virial of a structure's atoms, as a function of positions and cell.

    The neighbor list is renewed inside, before the forces are evaluated, whenever an atom has moved
    more than half the skin; so no pair within the cutoff is ever missed. The model is given the
    pairs within the cutoff. One evaluation gives energy, forces and virial. The function is pure
    and differentiable.

    Args:
        potential: its parameters are cast to `dtype`.
        structure: species and periodicity; its positions and cell do not matter.
        dtype: "float32" or "float64" (under `jax.enable_x64`).
        skin: angstrom; None where lists are always fresh, which saves compiling their renewal.

    Raises:
        PotentialError: the structure holds an element that the potential does not know.
    """
    species = jnp.asarray(potential.species_index(structure))
    pbc = _pbc(structure)
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), potential.params)
    n_atoms, state = structure.n_atoms, potential.state_index(structure)

    def force_fn(positions, cell, neighbors):
        if skin is not None:
            neighbors = device_neighbors.update(
                positions, cell, neighbors, pbc=pbc, cutoff=potential.cutoff, skin=skin
            )
        neighbors, pairs = narrow(positions, cell, neighbors, cutoff=potential.cutoff)
        graph = device_neighbors.graph_from_positions(
            species, positions, cell, pairs, cutoff=potential.cutoff, state=state
        )
        result = evaluate(potential.apply, params, graph)
        return Evaluation(result.energy[0], result.forces[:n_atoms], result.virial[0], neighbors)

    return force_fn


def by_level(
    potential: Potential, inner: Potential | None, n_inner: int | None
) -> tuple[Potential, ...]:
    """What is evaluated at each level, slowest first.

    Raises:
        ConfigError: the steps of an inner potential are given and there is none, or the reverse.
        PotentialError: a potential has several heads.
    """
    for each in (potential, inner):
        if each is not None:
            each.require_one_head()
    if inner is not None:
        if n_inner is None:
            raise ConfigError(
                "an inner potential (--inner) needs n_inner (--n-inner), the number of its steps "
                "in each time step, and found none."
            )
        return potential, inner
    if n_inner is None:
        return (potential,)
    parts = split_pair(potential)
    if parts is None:
        raise ConfigError(
            f"n_inner (--n-inner) needs an inner potential (--inner), or a pair of models, which "
            f"brings its own; found a potential of kind {potential.kind!r} alone."
        )
    small, large = parts
    return large, small


SystemForceFn = Callable[[systems.System, AtomVectors, Cell, DeviceNeighbors], Evaluation]
"""The force function of a system that is an argument too, so that `jax.vmap` takes many."""


def make_system_force_fn(
    potential: Potential,
    *,
    pbc: tuple[bool, bool, bool],
    dtype: str,
    skin: float | None,
    n_rows: int | None = None,
) -> SystemForceFn:
    """Energy, forces and virial of one of many systems; under `vmap` of all in one graph.

    So an integrator that is written for one system is, under `jax.vmap`, one evaluation of the
    potential a step, with the atoms that are there and no padding, and lists are renewed one by
    one. It is not for derivatives with respect to positions under `vmap`.

    Args:
        potential: its parameters are cast to `dtype`.
        pbc: periodicity of all systems.
        dtype: "float32" or "float64" (under `jax.enable_x64`).
        skin: angstrom; None where lists are always fresh.
        n_rows: atoms in all systems under `vmap`, at most; as many as there are places if None.
    """
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), potential.params)
    select = functools.partial(narrow, cutoff=potential.cutoff)

    def all_at_once(n_rows, system, positions, cell, lists):
        if skin is not None:
            lists = systems.update(
                positions, cell, lists, system.n_atoms, pbc=pbc, cutoff=potential.cutoff, skin=skin
            )
        lists, pairs = jax.vmap(select)(positions, cell, lists)
        graph, row = systems.make_graph(
            system, positions, cell, pairs, cutoff=potential.cutoff, n_rows=n_rows
        )
        result = evaluate(potential.apply, params, graph)
        force = result.forces.at[row].get(mode="fill", fill_value=0.0)
        return Evaluation(result.energy[:-1], force, result.virial[:-1], lists)

    @jax.custom_batching.custom_vmap
    def force_fn(*arguments):
        stacked = jax.tree.map(lambda leaf: leaf[None], arguments)
        found = all_at_once(len(arguments[1]), *stacked)
        return jax.tree.map(lambda leaf: leaf[0], found)

    @force_fn.def_vmap
    def _(size: int, is_batched: Any, *arguments: Any):
        spread = lambda leaf, has: leaf if has else jnp.broadcast_to(leaf, (size, *leaf.shape))
        full = jax.tree.map(spread, list(arguments), list(is_batched))
        found = all_at_once(n_rows or size * full[1].shape[1], *full)
        return found, jax.tree.map(lambda _: True, found)

    return force_fn


def allocate_neighbors(
    potential: Potential, structure: Structure, positions: AtomVectors, cell: Cell, *, skin: float
) -> DeviceNeighbors:
    """A neighbor list for these positions and cell, with a quarter more slots than they need."""
    return device_neighbors.allocate(
        positions,
        cell,
        _pbc(structure),
        cutoff=potential.cutoff,
        skin=skin,
    )


def reference_energy(potential: Potential, structure: Structure) -> float:
    """Sum of the reference energies of the atoms, eV."""
    return float(
        np.sum(np.asarray(potential.reference_energies)[potential.species_index(structure)])
    )


def _pbc(structure: Structure) -> tuple[bool, bool, bool]:
    return tuple(structure.pbc.tolist())
