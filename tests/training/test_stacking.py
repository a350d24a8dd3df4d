"""Stacks of parameters: which leaf goes where, and back; optimizers cannot tell."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jmlip.training.stacking import VECTORS, stack, stacked, unstack


def tree():
    shapes = {
        "a": (2, 3),
        "b": (4, 2, 3),
        "c": (3, 2),
        "d": (5,),
        "e": (7, 1),
        "f": (),
        "g": (1, 2),
    }
    keys = jax.random.split(jax.random.key(0), len(shapes))
    return {"in": {n: jax.random.normal(k, shapes[n]) for n, k in zip(shapes, keys, strict=True)}}


def test_matrices_of_one_shape_are_a_stack_and_all_else_is_a_vector():
    stacks = stack(tree())
    assert {name: value.shape for name, value in stacks.items()} == {
        VECTORS: (5 + 7 + 1 + 2,),
        "2 x 3": (1 + 4, 2, 3),
        "3 x 2": (1, 3, 2),
    }
    assert VECTORS not in stack({"a": jnp.zeros((2, 3))})


def test_a_tree_comes_back_from_its_stacks():
    jax.tree.map(np.testing.assert_array_equal, unstack(stack(tree()), tree()), tree())


def test_an_optimizer_of_each_number_does_not_see_stacks():
    params, gradient = tree(), jax.tree.map(jnp.cos, tree())
    optimizers = optax.adamw(0.1), stacked(optax.adamw(0.1))
    found = [each.update(gradient, each.init(params), params)[0] for each in optimizers]
    jax.tree.map(np.testing.assert_array_equal, *found)
