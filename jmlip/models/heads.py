"""Several readouts on one trunk: one model for data of several levels of theory.

    E_i = readout_h( trunk(r)_i ),     h the head of the structure

Every head has the readouts of the model to itself: the energy layers of HIP-NN, the readouts of the
multi-ACE family, that of Allegro. Everything before them is the trunk, which learns from all data.
Shifts by element are reference energies, of which each head has its own, too.

All heads are evaluated, by `jax.vmap` over the parameters of the readouts alone, so that the trunk
is computed once; each atom takes the energy of its structure's head. So the parameters of a head
have exactly no gradient from data of another.

References: Batatia et al., arXiv:2401.00096 (2023), fine-tuning with several heads and replay.
"""

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jmlip.core.config import config_hash
from jmlip.core.elements import check_species
from jmlip.core.errors import PotentialError
from jmlip.core.types import Params
from jmlip.graphs.frames import which_head
from jmlip.graphs.graph import AtomGraph
from jmlip.graphs.output import AtomicOutput
from jmlip.models.allegro import Allegro
from jmlip.models.hipnn import HIPNN
from jmlip.models.multi_ace import MultiACE

TRUNK = "trunk"
READOUTS: Mapping[type[nn.Module], str] = {
    HIPNN: "energy_",
    MultiACE: "readout_",
    Allegro: "readout",
}
"""How the names of the groups of parameters begin that belong to a head, by class of the model."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class HeadsConfig:
    """A model with several heads.

    Args:
        species: atomic numbers.
        heads: name of each head, and its reference energies, eV, in the order of the species.
        trunk: `kind` and the fields of the model.
    """

    species: tuple[int, ...]
    heads: Mapping[str, tuple[float, ...]]
    trunk: Mapping[str, Any]

    def __post_init__(self):
        check_species(self.species)
        if not self.heads:
            raise ValueError("model.heads must name at least one head, found none.")
        for name, energies in self.heads.items():
            if not _NAME.fullmatch(name) or name == TRUNK:
                raise ValueError(
                    "a head must have a name of letters, digits, '_', '.' and '-', other than "
                    f"{TRUNK!r}, found {name!r}."
                )
            if len(energies) != len(self.species):
                raise ValueError(
                    f"head {name!r} must have {len(self.species)} reference energies, found "
                    f"{len(energies)}."
                )
        if "species" in self.trunk:
            raise ValueError("model.trunk takes its species from the heads; remove them.")

    def __hash__(self):
        return hash(config_hash(self))

    @property
    def cutoff(self) -> float:
        """That of the trunk, angstrom."""
        return float(self.trunk["cutoff"])

    @property
    def states(self) -> tuple[tuple[int, int], ...]:
        """Total charges and spin multiplicities that the trunk tells apart."""
        return tuple((charge, spin) for charge, spin in self.trunk.get("states", ()))


class Heads(nn.Module):
    """`apply({"params": params}, graph) -> AtomicOutput`; the graph has the head of each structure.

    Parameters are those of the trunk, under `trunk`, and of every head, under its name.
    """

    config: HeadsConfig
    single: nn.Module

    @nn.compact
    def __call__(self, graph: AtomGraph) -> AtomicOutput:
        model = self.single.clone(parent=None, name=None)
        if self.is_initializing():
            self._make_params(model, graph)
        params: Params = self.variables["params"]
        own = [params[name] for name in self.config.heads]
        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *own)

        def evaluate(readouts: Params) -> AtomicOutput:
            return model.apply({"params": {**params[TRUNK], **readouts}}, graph)  # type: ignore[return-value]

        found = jax.vmap(evaluate)(stacked)
        head = self._head_of_atoms(graph)
        atom = jnp.arange(len(head))
        return jax.tree.map(lambda values: values[head, atom], found)

    def _make_params(self, model: nn.Module, graph: AtomGraph) -> None:
        """The trunk from one key, the readouts of each head from one of its own."""
        keys = jax.random.split(self.make_rng("params"), 1 + len(self.config.heads))
        draw = lambda key: split_readouts(model, model.init(key, graph)["params"])
        self.put_variable("params", TRUNK, draw(keys[0])[0])
        for name, key in zip(self.config.heads, keys[1:], strict=True):
            self.put_variable("params", name, draw(key)[1])

    def _head_of_atoms(self, graph: AtomGraph) -> jax.Array:
        if self.is_initializing():
            return jnp.zeros_like(graph.nodes.graph)
        if graph.globals.head is None:
            raise PotentialError(which_head(self.config.heads))
        return graph.globals.head[graph.nodes.graph]


def split_readouts(model: nn.Module, params: Params) -> tuple[Params, Params]:
    """Parameters of the trunk, and of the readouts, of an ordinary model of the same class."""
    prefix = READOUTS[type(model)]
    own = {name: group for name, group in params.items() if name.startswith(prefix)}
    return {name: group for name, group in params.items() if name not in own}, own
