"""Releases of jaxlib that compute wrong numbers are refused by version, before any computation."""

import importlib.metadata

WRONG_ON_CPU = frozenset({"0.10.2"})
"""Silent miscompilation of vmapped matrix-vector products on CPU (jax issue 39103)."""


def refuse_broken_jaxlib() -> None:
    """Raise ImportError if the installed jaxlib is known to compute wrong numbers.

    Raises:
        ImportError: with the remedy in one sentence.
    """
    version = importlib.metadata.version("jaxlib")
    if version in WRONG_ON_CPU:
        raise ImportError(
            f"jaxlib {version} silently computes wrong numbers on CPU, so jmlip refuses it; "
            "install another release, for example: pip install 'jax==0.10.1' 'jaxlib==0.10.1'."
        )
