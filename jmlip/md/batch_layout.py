"""How a batch lies in memory: padded to the largest system, spread over the devices."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Int

from jmlip.core.structure import Structure
from jmlip.data.ase_bridge import fixed_atoms
from jmlip.graphs import systems
from jmlip.graphs.device_neighbors import DeviceNeighbors
from jmlip.graphs.systems import System
from jmlip.md.batched import (
    BatchState,
    IntegratorOf,
    Systems,
    make_mesh,
    place_state,
    place_systems,
)
from jmlip.md.config import MDConfig
from jmlip.md.ensembles import make_integrator
from jmlip.md.exchange import Ladder, Places, first_places
from jmlip.md.forces import make_system_force_fn
from jmlip.md.propagator import Level
from jmlip.md.velocities import inertia, initial_momenta
from jmlip.potentials.potential import Potential


class Layout(NamedTuple):
    """Where systems stand; the last one is repeated until every device has as many.

    Args:
        mesh: as many devices as there are systems, at most.
        given: the systems as they were given, on one device.
        systems: those and the repeated, spread over the mesh.
        which: the given system of each.
        ladder: temperatures of all, and which may be exchanged.
        begin_of: integrators for all systems on one device.
        go_on_of: integrators for those of each device.
    """

    mesh: Mesh
    given: Systems
    systems: Systems
    which: Int[np.ndarray, " systems"]
    ladder: Ladder
    begin_of: IntegratorOf
    go_on_of: IntegratorOf

    @property
    def n_places(self) -> int:
        """Places for atoms, padding and repeated systems included."""
        return int(np.prod(self.systems[0].species.shape))

    def first_state(self, *arguments: Any) -> BatchState:
        """The state from what `start` gives."""
        init = lambda system, kT, *rest: self.begin_of(system, kT).init(*rest)
        return BatchState(jax.vmap(init)(self.given, *arguments), first_places(len(arguments[0])))

    def start(
        self, structures: Sequence[Structure], configs: Sequence[MDConfig], allocate: Callable
    ) -> tuple:
        """kT, positions, momenta, masses, cells, lists and random keys, stacked."""
        keys = [jax.random.split(jax.random.key(each.seed)) for each in configs]
        drawn = [
            np.asarray(initial_momenta(structure, config, key=key[0]))
            for structure, config, key in zip(structures, configs, keys, strict=True)
        ]
        dtype, n = configs[0].dtype, self.given[0].species.shape[1]
        positions = _padded([each.positions for each in structures], n, 0.0, dtype)
        mass = _padded([inertia(each) for each in structures], n, 1.0, dtype)
        cells = jnp.asarray(np.stack([each.cell for each in structures]), dtype)
        lists = allocate(positions, cells, self.given[0].n_atoms, pbc_of(structures))
        kT = self.ladder.kT[: len(structures)]
        noise = jnp.stack([key[1] for key in keys])
        return kT, positions, _padded(drawn, n, 0.0, dtype), mass, cells, lists, noise

    def place(self, state: BatchState) -> BatchState:
        """The state of the given systems, repeated and spread as they are."""
        n = len(state.places.rung)
        more = np.arange(n, len(self.which), dtype=np.int32)
        filled = lambda first, rest: jnp.append(first, rest).astype(jnp.int32)
        places = Places(
            filled(state.places.rung, more),
            filled(state.places.tried, 0 * more),
            filled(state.places.accepted, 0 * more),
        )
        md = jax.tree.map(lambda leaf: leaf[self.which], state.md)
        return place_state(BatchState(md, places), self.mesh)


def make_layout(
    potentials: Sequence[Potential],
    structures: Sequence[Structure],
    configs: Sequence[MDConfig],
    linked: Sequence[bool],
    *,
    whole: bool,
) -> Layout:
    """The layout of a batch over the devices of this process.

    Args:
        potentials: slowest first.
        structures: of each system.
        configs: of each system.
        linked: whether a system and the next one may be exchanged.
        whole: the first potential is a whole one, of which the second is a part.
    """
    devices = jax.local_devices()[: len(structures)]
    n = -(-len(structures) // len(devices))
    which = np.minimum(np.arange(n * len(devices)), len(structures) - 1)
    sizes = np.array([each.n_atoms for each in structures])
    given = tuple(_stack(potential, structures, int(sizes.max())) for potential in potentials)
    mesh = make_mesh(np.array(devices))
    kT = jnp.asarray([configs[k].kT for k in which], configs[0].dtype)
    of = lambda skin, rows: _integrator_of(
        potentials, structures, configs[0], skin, int(rows), whole=whole
    )
    return Layout(
        mesh=mesh,
        given=given,
        systems=place_systems(jax.tree.map(lambda leaf: leaf[which], given), mesh),
        which=which,
        ladder=Ladder(kT, jnp.asarray(linked)[which]),
        begin_of=of(None, sizes.sum()),
        go_on_of=of(configs[0].skin, sizes[which].reshape(-1, n).sum(axis=1).max()),
    )


def allocate(
    potentials: Sequence[Potential], config: MDConfig, positions: Any, cells: Any, n_atoms: Any, pbc
) -> tuple[DeviceNeighbors, ...]:
    """Lists for each potential."""
    return tuple(
        systems.allocate(positions, cells, n_atoms, pbc, cutoff=each.cutoff, skin=config.skin)
        for each in potentials
    )


def pbc_of(structures: Sequence[Structure]) -> tuple[bool, bool, bool]:
    """Periodicity, the same of all."""
    return tuple(structures[0].pbc.tolist())


def _integrator_of(potentials, structures, config, skin, n_rows, *, whole) -> IntegratorOf:
    functions = [
        make_system_force_fn(
            each, pbc=pbc_of(structures), dtype=config.dtype, skin=skin, n_rows=n_rows
        )
        for each in potentials
    ]
    padded = len({each.n_atoms for each in structures}) > 1
    n_held = int(fixed_atoms(structures[0]).sum())  # of all, where the ensemble asks

    def integrator_of(system, kT):
        bound = [
            lambda *rest, force_fn=force_fn, each=each: force_fn(each, *rest)
            for force_fn, each in zip(functions, system, strict=True)
        ]
        levels = (Level(bound[0]),)
        if len(bound) == 2:
            levels = Level(bound[0], n=config.n_inner or 1, whole=whole), Level(bound[1])
        n_atoms = system[0].n_atoms if padded else None
        return make_integrator(config, levels, kT=kT, n_atoms=n_atoms, n_held=n_held)

    return integrator_of


def _stack(potential: Potential, structures: Sequence[Structure], n_places: int) -> System:
    species = np.zeros((len(structures), n_places), np.int32)
    for row, structure in zip(species, structures, strict=True):
        row[: structure.n_atoms] = potential.species_index(structure)
    state = [potential.state_index(structure) for structure in structures]
    n_atoms = [structure.n_atoms for structure in structures]
    return System(jnp.asarray(species), jnp.asarray(n_atoms, jnp.int32), jnp.asarray(state))


def _padded(arrays: list, n_places: int, fill: float, dtype: str) -> jax.Array:
    padded = np.full((len(arrays), n_places, arrays[0].shape[-1]), fill)
    for row, array in zip(padded, arrays, strict=True):
        row[: len(array)] = array
    return jnp.asarray(padded, dtype)
