"""`Potential`: a model with its parameters and everything needed to use it and to know it."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int

from jmlip.core.config import to_dict
from jmlip.core.errors import DataError, PotentialError
from jmlip.core.structure import Structure
from jmlip.core.types import Key, Params
from jmlip.graphs.frames import (
    Frame,
    Heads,
    States,
    head_name,
    make_frame,
    species_index,
    state_index,
    which_head,
)
from jmlip.graphs.graph import AtomGraph
from jmlip.graphs.output import AtomicOutput
from jmlip.potentials.predict import Prediction, predict
from jmlip.potentials.storage import PotentialFiles, smallest_graph, write_potential_files


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Potential:
    """A model, its parameters, and its metadata.

    E = sum_i E_ref(species_i) + sum_i E_i, with the reference energies of the elements kept in
    float64, apart from the model.

    Args:
        kind: name of the model in `jmlip.factory`.
        model: Flax module; `model.config` holds `species` and `cutoff`.
        params: its parameters.
        species: atomic numbers the potential knows, in the order of the model's species index.
        cutoff: interaction radius, angstrom.
        reference_energies: energy of each element, eV, in the order of `species`.
        statistics: what the training data were like; plain values.
        provenance: `jmlip.potentials.storage.make_provenance`; plain values.

    Raises:
        PotentialError: the model's species or cutoff are others than those given.

    Example:
        >>> from jmlip.factory import make_model
        >>> sizes = {"n_features": 4, "n_sensitivities": 4, "n_interactions": 1, "n_onsite": 0}
        >>> model = make_model("hipnn", {"species": [1, 8], **sizes})
        >>> references = (-13.6, -2041.8)
        >>> potential = initial_potential(
        ...     "hipnn", model, key=jax.random.key(0), reference_energies=references
        ... )
        >>> positions = [[0, 0, 0], [0.76, 0.59, 0], [-0.76, 0.59, 0]]
        >>> water = Structure(species=[8, 1, 1], positions=positions)
        >>> prediction = potential.predict([water])[0]
        >>> round(prediction.energy), prediction.forces.shape, prediction.stress
        (-2069, (3, 3), None)
    """

    kind: str
    model: nn.Module
    params: Params
    species: tuple[int, ...]
    cutoff: float
    reference_energies: tuple[float, ...]
    statistics: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    provenance: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        config: Any = self.model.config  # type: ignore[attr-defined]
        if (config.species, config.cutoff) != (self.species, self.cutoff):
            raise PotentialError(
                f"species and cutoff must be those of the model, {config.species} and "
                f"{config.cutoff} angstrom, found {self.species} and {self.cutoff} angstrom."
            )
        if len(self.reference_energies) != len(self.species):
            raise PotentialError(
                f"each of {len(self.species)} elements must have a reference energy, found "
                f"{len(self.reference_energies)}."
            )

    @property
    def states(self) -> States:
        """Total charges and spin multiplicities that the model tells apart, if it does."""
        return getattr(self.model.config, "states", ())  # type: ignore[attr-defined]

    @property
    def heads(self) -> Heads | None:
        """Names of the model's heads and their reference energies, if it has several."""
        return getattr(self.model.config, "heads", None)  # type: ignore[attr-defined]

    @property
    def n_parameters(self) -> int:
        """Numbers that were fitted: those of the model, and the reference energies."""
        n_references = len(self.species) * len(self.heads or (1,))
        return n_references + sum(np.size(leaf) for leaf in jax.tree.leaves(self.params))

    def apply(self, params: Params, graph: AtomGraph) -> AtomicOutput:
        """Atomic energies with parameters given from outside: what is differentiated."""
        return self.model.apply({"params": params}, graph)  # type: ignore[return-value]

    def astype(self, dtype: Literal["float32", "float64"]) -> "Potential":
        """The same potential with parameters of another precision, on the default device."""
        with jax.enable_x64(dtype == "float64"):
            params = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), self.params)
        return dataclasses.replace(self, params=params)

    def species_index(self, structure: Structure) -> Int[np.ndarray, " n"]:
        """Place of each atom's element in `species`.

        Raises:
            PotentialError: an element is not known.
        """
        try:
            return species_index(structure, self.species)
        except DataError as error:
            raise PotentialError(str(error)) from error

    def state_index(self, structure: Structure) -> int:
        """Place of total charge and spin in `states`; 0 where the model tells none apart.

        Raises:
            PotentialError: the state is not known.
        """
        try:
            return state_index(structure, self.states)
        except DataError as error:
            raise PotentialError(str(error)) from error

    def frame(self, structure: Structure, *, skin: float = 0.0, dtype: type = np.float64) -> Frame:
        """Neighbors and labels of a structure as this potential sees them.

        Args:
            structure: the configuration.
            skin: angstrom, added to the cutoff.
            dtype: precision in which vectors are kept.

        Raises:
            DataError: an element, the state or the head is not known.
        """
        return make_frame(
            structure,
            species=self.species,
            cutoff=self.cutoff + skin,
            reference_energies=self.reference_energies,
            states=self.states,
            heads=self.heads,
            dtype=dtype,
        )

    def require_one_head(self) -> None:
        """Refuse several heads, where the structures cannot say which is meant.

        Raises:
            PotentialError: the potential has heads.
        """
        if self.heads:
            raise PotentialError(which_head(self.heads))

    def require_known(self, structure: Structure) -> None:
        """Refuse a structure that the potential cannot say anything of.

        Raises:
            PotentialError: an element or the head is not known.
        """
        self.species_index(structure)
        if self.heads:
            try:
                head_name(structure, self.heads)
            except DataError as error:
                raise PotentialError(
                    f"{str(error).removesuffix('.')}, or take the potential of one head, the "
                    "directory heads/NAME beside that of all."
                ) from error

    def predict(
        self,
        structures: Sequence[Structure],
        *,
        dtype: Literal["float32", "float64"] = "float32",
        batch_size: int = 32,
    ) -> list[Prediction]:
        """Energy, forces and stress of structures of any size and periodicity.

        Args:
            structures: at any mix of elements the potential knows; where it has several heads, each
                names its own in `info["head"]`.
            dtype: precision of the model.
            batch_size: structures evaluated at once, at most.

        Raises:
            PotentialError: an element is not known, atoms lie on top of each other, or a result is
                not finite.
        """
        for number, structure in enumerate(_structures(structures)):
            try:
                self.require_known(structure)
            except PotentialError as error:
                raise PotentialError(f"structure {number}: {error}") from error
        return predict(
            self.model,
            self.astype(dtype).params,
            structures,
            make=functools.partial(self.frame, dtype=np.dtype(dtype).type),
            cutoff=self.cutoff,
            references=np.array([*(self.heads or {"": self.reference_energies}).values()]),
            dtype=dtype,
            batch_size=batch_size,
        )


def _structures(structures: Any) -> Sequence[Structure]:
    if isinstance(structures, Structure | str | Path) or not all(
        isinstance(structure, Structure) for structure in structures[:1]
    ):
        raise TypeError(
            f"predict takes a list of Structure, found {type(structures).__name__}; read files "
            "with jmlip.read, convert ASE's Atoms with jmlip.data.from_atoms, and put a single "
            "structure in [ ]."
        )
    return structures


def initial_potential(
    kind: str,
    model: nn.Module,
    *,
    key: Key,
    reference_energies: Sequence[float],
    statistics: Mapping[str, Any] | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> Potential:
    """A potential with random parameters, to be trained.

    Args:
        kind: name of the model in `jmlip.factory`.
        model: from `jmlip.factory.make_model`.
        key: random key of the parameters.
        reference_energies: energy of each element, eV, in the order of the model's species.
        statistics: what the training data are like; plain values.
        provenance: `jmlip.potentials.storage.make_provenance`.
    """
    config: Any = model.config  # type: ignore[attr-defined]
    with jax.enable_x64(False):  # parameters begin in float32, the same ones everywhere
        params = jax.jit(model.init)(key, smallest_graph())["params"]
    return Potential(
        kind=kind,
        model=model,
        params=params,
        species=config.species,
        cutoff=config.cutoff,
        reference_energies=tuple(float(energy) for energy in reference_energies),
        statistics=statistics or {},
        provenance=provenance or {},
    )


def save_potential(potential: Potential, path: str | Path) -> None:
    """Write a potential as one directory, read by `jmlip.load_potential`.

    Raises:
        JmlipError: the place cannot be written, or holds something else.
    """
    leaf = jax.tree.leaves(potential.params)[0]
    files = PotentialFiles(
        kind=potential.kind,
        model=to_dict(potential.model.config),  # type: ignore[attr-defined]
        species=potential.species,
        cutoff=potential.cutoff,
        reference_energies=potential.reference_energies,
        dtype=str(leaf.dtype),
        statistics=dict(potential.statistics),
        provenance=dict(potential.provenance),
    )
    write_potential_files(path, files, potential.params)
