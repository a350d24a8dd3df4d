"""How tests compile what computes longer than it compiles."""

from collections.abc import Callable

import jax


def optimized(function: Callable) -> Callable:
    """`jax.jit` with LLVM's optimizations, which tests do without: for long loops."""
    return jax.jit(function, compiler_options={"xla_backend_optimization_level": 2})
