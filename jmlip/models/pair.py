"""Two models in a sum: a small one for fast forces, and a large one for what is left.

    E_i = E_i^small + E_i^large,    terms = (E_i^small, E_i^large)

The large model is a residual, not a potential of its own. Trained together, the small one takes
what is stiff and near, and the large one what varies slowly, so that molecular dynamics may
evaluate it less often (`jmlip.md`). Each part sees pairs within its own cutoff.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from jmlip.core.config import config_hash
from jmlip.core.elements import check_species
from jmlip.graphs.graph import AtomGraph
from jmlip.graphs.output import AtomicOutput

PARTS = ("small", "large")
PartFn = Callable[[Any, AtomGraph], AtomicOutput]


@dataclasses.dataclass(frozen=True, kw_only=True)
class PairConfig:
    """Two models.

    Args:
        species: atomic numbers, of both models.
        small: `kind` and the fields of the model that is evaluated often.
        large: the same of the model that adds what is left.
    """

    species: tuple[int, ...]
    small: Mapping[str, Any]
    large: Mapping[str, Any]

    def __post_init__(self):
        check_species(self.species)
        for name in PARTS:
            part = getattr(self, name)
            if not isinstance(part.get("kind"), str):
                raise ValueError(f"model.{name}.kind must name a model, found {part.get('kind')}.")
            if part["kind"] == "pair":
                raise ValueError(f"model.{name} must be a single model, found a pair.")
            if "species" in part:
                raise ValueError(f"model.{name} takes its species from the pair; remove them.")
        small, large = self.small.get("states"), self.large.get("states")
        if small and large and small != large:
            raise ValueError(
                f"model.small.states and model.large.states must be equal, got {small} and {large}."
            )

    def __hash__(self):
        return hash(config_hash(self))

    @property
    def cutoff(self) -> float:
        """The longer one of the two cutoffs, angstrom."""
        return max(float(getattr(self, name)["cutoff"]) for name in PARTS)

    @property
    def states(self) -> tuple[tuple[int, int], ...]:
        """Total charges and spin multiplicities that the models tell apart."""
        found = self.small.get("states") or self.large.get("states") or ()
        return tuple((charge, spin) for charge, spin in found)


class Pair(nn.Module):
    """`apply({"params": params}, graph) -> AtomicOutput`; parameters under `small` and `large`."""

    config: PairConfig
    small: nn.Module
    large: nn.Module

    def part_functions(self) -> tuple[PartFn, PartFn]:
        """`apply_fn(params, graph)` of either part, from the parameters of both."""

        def of(name: str) -> PartFn:
            part = getattr(self, name)
            return lambda params, graph: part.apply({"params": params[name]}, graph)

        return of("small"), of("large")

    def __call__(self, graph: AtomGraph) -> AtomicOutput:
        small, large = self.small(graph), self.large(graph)
        return AtomicOutput(
            energy=small.energy + large.energy,
            terms=jnp.stack([small.energy, large.energy], axis=-1),
            features=jnp.concatenate([small.features, large.features], axis=-1),
        )
