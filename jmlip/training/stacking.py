"""Parameters as few arrays: matrices of one shape in a stack, all others in one vector.

Models have dozens of small matrices. An optimizer that multiplies each of them with itself, as Muon
does, would spend its time in starting thousands of tiny products; of stacks there are a few.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array

from jmlip.core.types import Params

VECTORS = "vectors"
Stacks = dict[str, Array]


def stacked(optimizer: optax.GradientTransformation) -> optax.GradientTransformation:
    """An optimizer whose `optimizer` sees stacks [matrices, rows, columns] and one vector.

    Args:
        optimizer: of a dictionary: `VECTORS`, and "rows x columns" of each shape of matrices.
    """

    def update(updates: Any, state: Any, params: Any = None):
        found, state = optimizer.update(
            stack(updates), state, None if params is None else stack(params)
        )
        return unstack(found, updates), state  # type: ignore[arg-type]

    init = lambda params: optimizer.init(stack(params))  # type: ignore[arg-type]
    return optax.GradientTransformation(init, update)


def stack(tree: Params) -> Stacks:
    """Leaves of two or more axes by their last two; one row or one column is a vector."""
    found: dict[str, list[Array]] = {VECTORS: []}
    for leaf in jax.tree.leaves(tree):
        name = _stack_of(leaf)
        shape = (-1,) if name == VECTORS else (-1, *leaf.shape[-2:])
        found.setdefault(name, []).append(jnp.reshape(leaf, shape))
    return {name: jnp.concatenate(leaves) for name, leaves in found.items() if leaves}


def unstack(stacks: Stacks, like: Params) -> Params:
    """The tree of which `stacks` are the stacks.

    Args:
        stacks: from `stack`.
        like: a tree with the same structure and shapes.
    """
    begin: dict[str, int] = {}
    leaves, structure = jax.tree.flatten(like)
    found = []
    for leaf in leaves:
        name = _stack_of(leaf)
        size = leaf.size if name == VECTORS else leaf.size // int(np.prod(leaf.shape[-2:]))
        start = begin.get(name, 0)
        begin[name] = start + size
        found.append(stacks[name][start : start + size].reshape(leaf.shape))
    return jax.tree.unflatten(structure, found)


def _stack_of(leaf: Array) -> str:
    if leaf.ndim < 2 or min(leaf.shape[-2:]) < 2:
        return VECTORS
    return " x ".join(map(str, leaf.shape[-2:]))
