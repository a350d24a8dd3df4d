"""Radial networks turned into tables: the same potential, faster, for dynamics.

Of a multi-ACE model with a network for its radial weights, half of the time of an evaluation goes
into that network, though it is a function of one distance. `tabulate` writes its values and slopes
at equally spaced distances into a table, which `jmlip.ops.radial_table` reads. What comes out is a
potential like any other; it is not for training.
"""

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jmlip.core.config import to_dict
from jmlip.core.errors import PotentialError
from jmlip.core.types import Params
from jmlip.factory import make_model
from jmlip.models.equivariant import MLP
from jmlip.models.multi_ace import MultiACE
from jmlip.models.multi_ace_config import MultiACEConfig
from jmlip.models.pair import PARTS, Pair
from jmlip.models.pair_basis import radial_basis
from jmlip.ops.radial_table import read_table
from jmlip.potentials.potential import Potential

FEWEST = 16
INTERVALS = 1024
SMALLEST = 1.0e-6
"""Of the cutoff: where the first knot stands, because Bessel functions are divided by r."""


def tabulate(potential: Potential, n_intervals: int = INTERVALS) -> tuple[Potential, float]:
    """The potential with tables in place of radial networks, and how far off these are.

    Args:
        potential: of a multi-ACE kind (MACE, NequIP) with radial networks, or a pair with such.
        n_intervals: of each table, between 0 and the cutoff; errors of forces fall with its third
            power.

    Returns:
        The potential, and the largest error of the slope of a radial function, over the largest
        slope: forces are about as exact.

    Raises:
        PotentialError: there is no radial network of the distance alone, or too few intervals.
    """
    if n_intervals < FEWEST:
        raise PotentialError(f"a table needs {FEWEST} intervals or more, found {n_intervals}.")
    model: Any = potential.model
    if isinstance(model, Pair):
        found = {
            name: _of_model(getattr(model, name), potential.params[name], n_intervals)
            for name in PARTS
            if _why_not(getattr(model, name)) is None
        }
        if not found:
            raise PotentialError(f"neither part of the pair can be tabulated: {_why_not(model)}.")
        params = {**potential.params, **{name: each[1] for name, each in found.items()}}
        fields: dict[str, Any] = to_dict(model.config)
        for name in found:
            fields[name] = {**fields[name], "radial_table": n_intervals}
        new: nn.Module = make_model("pair", fields)
        error = max(each[2] for each in found.values())
    else:
        if reason := _why_not(model):
            raise PotentialError(f"the potential cannot be tabulated: {reason}.")
        new, params, error = _of_model(model, potential.params, n_intervals)
    dtype = jax.tree.leaves(potential.params)[0].dtype
    params = jax.tree.map(lambda leaf: np.asarray(leaf, dtype), params)
    return dataclasses.replace(potential, model=new, params=params), error


def _why_not(model: Any) -> str | None:
    """Why a model has no radial network of the distance alone; None where it has one."""
    if not isinstance(model, MultiACE) or not model.config.radial_hidden:
        return "only MACE, NequIP and others with a radial network (radial_hidden) have tables"
    if model.config.radial_table:
        return "it has a table already"
    if model.config.distance_transform != "none":
        return "an Agnesi transform is another one for each pair of elements"
    return None


def _of_model(model: MultiACE, params: Params, n_intervals: int) -> tuple[MultiACE, Params, float]:
    config = dataclasses.replace(model.config, radial_table=n_intervals)
    return MultiACE(config), *_tabulated(params, config)


def _tabulated(params: Params, config: MultiACEConfig) -> tuple[Params, float]:
    """Parameters with tables, and the largest relative error of a slope."""
    new, errors = dict(params), []
    with jax.enable_x64(True):
        wide = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), params)
        frequencies = wide.get("pairs", {}).get("frequencies")
        spacing = config.cutoff / config.radial_table
        knots = spacing * jnp.arange(config.radial_table + 1.0)
        for n in range(config.n_layers):
            layer = f"layer_{n + 1}"
            network = wide[layer]["convolution"]["radial"]
            weights = lambda r, network=network: _weights(config, network, r, frequencies)
            table = _values_and_slopes(weights, knots.at[0].set(SMALLEST * config.cutoff))
            table = jnp.stack(table, axis=1).at[-1].set(0.0)[None]
            errors.append(_error(weights, table, knots[:-1] + 0.21 * spacing, spacing))
            convolution = {k: v for k, v in params[layer]["convolution"].items() if k != "radial"}
            new[layer] = {**params[layer], "convolution": {**convolution, "radial_table": table}}
    return new, max(errors)


def _weights(
    config: MultiACEConfig, network: Params, r: Float[Array, " rows"], frequencies: Any
) -> Float[Array, "rows width"]:
    width = network[f"weight_{len(config.radial_hidden)}"].shape[-1]
    mlp = MLP((*config.radial_hidden, width), config.radial_scaling)
    found = mlp.apply({"params": network}, radial_basis(config, r, r, frequencies))
    assert isinstance(found, jax.Array)
    return found


def _values_and_slopes(function: Any, r: Float[Array, " rows"]) -> tuple[Array, Array]:
    return jax.jvp(function, (r,), (jnp.ones_like(r),))


def _error(weights: Any, table: Array, r: Float[Array, " rows"], spacing: float) -> float:
    """Largest error of a slope over the largest slope."""
    which = jnp.zeros(len(r), jnp.int32)
    read = lambda r: read_table(table, r, which, spacing, backend="plain")
    (_, exact), (_, found) = (_values_and_slopes(each, r) for each in (weights, read))
    return float(jnp.abs(found - exact).max() / jnp.abs(exact).max())
