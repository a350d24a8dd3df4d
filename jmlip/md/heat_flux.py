"""Heat flux of a periodic system, for every model: what thermal conductivities follow from.

    J = d/dt sum_i R_i (E_i + m_i v_i^2 / 2)
      = sum_i (E_i + m_i v_i^2 / 2) v_i + sum_i sum_j (R_i - R_j) (dE_i/dR_j . v_j)

i runs over the atoms of the cell, j over all atoms on which E_i depends, images among them. These
are nearer than the number of interaction layers times the cutoff, so the cell is unfolded: the sums
are those of a cluster of the cell and its surroundings. There, with F_j = -d(sum_i E_i)/dR_j,

    sum_i sum_j (R_i - R_j) (dE_i/dR_j . v_j) = sum_i R_i dE_i/dt + sum_j R_j (F_j . v_j),

one forward and one reverse derivative, whatever the number of atoms. (Pair vectors and pair forces
alone do not give it where messages pass through several layers: an atom's energy then moves with
atoms farther away than any pair.) Constant reference energies of the elements are left out; of
conductivities they change nothing.

References:
    Langer, Knoop, Carbogno, Scheffler, Rupp, Phys. Rev. B 108, L100302 (2023).
    Langer, Frank, Knoop, J. Chem. Phys. 159, 174105 (2023).
    Ercole, Marcolongo, Umari, Baroni, J. Low Temp. Phys. 185, 79 (2016), on what J leaves open.
"""

import functools
from collections.abc import Iterable
from typing import Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jmlip.core.errors import DataError, PotentialError
from jmlip.core.structure import Structure
from jmlip.core.types import AtomVectors, Params
from jmlip.graphs.batching import exact_bucket, pad_batch
from jmlip.graphs.graph import AtomGraph, from_senders, n_slots, sum_over_neighbors
from jmlip.md.velocities import masses
from jmlip.models.allegro import Allegro
from jmlip.models.ani import ANI
from jmlip.models.hipnn import HIPNN
from jmlip.models.lennard_jones import LennardJones
from jmlip.models.multi_ace import MultiACE
from jmlip.models.pair import Pair
from jmlip.models.stillinger_weber import StillingerWeber
from jmlip.ops.neighbors import neighbors
from jmlip.potentials.evaluate import with_vectors
from jmlip.potentials.potential import Potential
from jmlip.potentials.predict import rounded


class HeatFlux(NamedTuple):
    """The two parts of J, eV angstrom / (internal time unit)."""

    convective: Float[np.ndarray, "frames 3"]  # energy that atoms take along
    potential: Float[np.ndarray, "frames 3"]  # energy that goes from atom to atom

    @property
    def total(self) -> Float[np.ndarray, "frames 3"]:
        """J."""
        return self.convective + self.potential


def heat_flux(
    potential: Potential,
    structures: Iterable[Structure],
    *,
    dtype: Literal["float32", "float64"] = "float32",
) -> HeatFlux:
    """The heat flux of each frame of a trajectory.

    Args:
        potential: of one head.
        structures: with velocities; periodic in any directions, of any size.
        dtype: precision of the model.

    Raises:
        DataError: a structure has no velocities.
        PotentialError: an element is not known, the potential has several heads, or a flux is not
            finite.
    """
    potential.require_one_head()
    params = potential.astype(dtype).params
    flux = [_of_frame(potential, params, each, dtype) for each in structures]
    parts = np.array(flux, np.float64).reshape(-1, 2, 3)
    if not np.isfinite(parts).all():
        frame = np.flatnonzero(~np.isfinite(parts).all(axis=(1, 2)))[0]
        raise PotentialError(
            f"heat fluxes must be finite, found NaN or infinity in frame {frame}; look for atoms "
            "far too close."
        )
    return HeatFlux(parts[:, 0], parts[:, 1])


def n_hops(model: nn.Module) -> int:
    """Over how many pairs in a row the energy of an atom depends on another."""
    match model:
        case HIPNN():
            return model.config.n_interactions
        case MultiACE():
            return model.config.n_layers
        case Pair():
            return max(n_hops(model.small), n_hops(model.large))
        case ANI() | Allegro() | LennardJones() | StillingerWeber():
            return 1  # one neighborhood is all an atom sees
    raise PotentialError(f"the heat flux must know how far messages of {type(model).__name__} go.")


def unfold(structure: Structure, reach: float) -> Structure:
    """The atoms of a cell, then all images within `reach` of one of them, as an open cluster."""
    found = neighbors(structure.positions, structure.cell, structure.pbc, reach)
    images = np.concatenate([found.senders[:, None], found.shifts], axis=1)
    images = np.unique(images[found.shifts.any(axis=1)], axis=0)
    atom, shift = images[:, 0], images[:, 1:]
    source = np.concatenate([np.arange(structure.n_atoms), atom])
    positions = structure.positions[source]
    positions[structure.n_atoms :] += shift @ structure.cell
    return Structure(
        species=structure.species[source],
        positions=positions,
        velocities=structure.velocities[source],  # type: ignore[index]
        info={key: structure.info[key] for key in ("charge", "spin") if key in structure.info},
    )


def _of_frame(
    potential: Potential, params: Params, structure: Structure, dtype: str
) -> tuple[np.ndarray, np.ndarray]:
    if structure.velocities is None:
        raise DataError(
            f"a heat flux needs velocities, found none in {structure.formula}; write them, as "
            "`jmlip md` does."
        )
    potential.require_known(structure)
    kind, n = np.dtype(dtype).type, structure.n_atoms
    cluster = unfold(structure, n_hops(potential.model) * potential.cutoff)
    frame = potential.frame(cluster)
    bucket = rounded(exact_bucket([frame]))
    place = np.zeros((2, bucket.n_atoms, 3), kind)
    place[0, : cluster.n_atoms] = cluster.positions - structure.positions.mean(axis=0)
    place[1, : cluster.n_atoms] = cluster.velocities
    with jax.enable_x64(dtype == "float64"):
        graph = pad_batch([frame], bucket, cutoff=potential.cutoff, dtype=kind).graph
        energy, flux = _potential_part(potential.model, params, graph, *place, n)
    velocity = structure.velocities
    kinetic = 0.5 * masses(structure)[:, 0] * np.sum(velocity**2, axis=1)
    return (np.asarray(energy, np.float64)[:n] + kinetic) @ velocity, np.asarray(flux, np.float64)


@functools.partial(jax.jit, static_argnums=0)
def _potential_part(
    model: nn.Module,
    params: Params,
    graph: AtomGraph,
    position: AtomVectors,
    velocity: AtomVectors,
    n: Array,
) -> tuple[Array, Array]:
    """Energies of the atoms, and sum_i R_i dE_i/dt + sum_j R_j (F_j . v_j) of the first n."""
    own = jnp.arange(len(position)) < n

    def energies(vector):
        output = model.apply({"params": params}, with_vectors(graph, vector))
        return jnp.where(own, output.energy, 0.0)  # type: ignore[union-attr]

    received = jnp.repeat(velocity, n_slots(graph), axis=0)
    change = from_senders(graph, received) - received
    energy, rate = jax.jvp(energies, (graph.edges.vector,), (change,))
    gradient = jax.grad(lambda vector: energies(vector).sum())(graph.edges.vector)
    force = sum_over_neighbors(graph, gradient - from_senders(graph, gradient))
    power = jnp.sum(force * velocity, axis=1)
    return energy, jnp.sum(position * (rate + power)[:, None], axis=0)
