"""Whether the C++ kernels serve a model, said once where somebody can read it."""

import functools
import sys

import flax.linen as nn

from jmlip.models.pair import PARTS


def kernels_of(model: nn.Module) -> str:
    """How a model that has kernels is computed on CPU; empty for other models."""
    from jmlip.ops import native

    wanted = _wanted(model)
    if not wanted or wanted == "plain":
        return wanted and "plain JAX, as configured"
    reason = native.why_not()
    return f"plain JAX: the C++ kernels cannot be used, {reason}" if reason else "C++"


def mention_kernels(model: nn.Module) -> None:
    """One notice per process where kernels would serve the model and are not there."""
    import jax

    from jmlip.ops import native

    if _wanted(model) not in ("", "plain") and jax.default_backend() == "cpu" and native.why_not():
        _mention()


def _wanted(model: nn.Module) -> str:
    """The backend that a model, or a part of a pair, asks for; empty where none can be chosen."""
    models = [model, *(getattr(model, name, None) for name in PARTS)]
    found = [getattr(getattr(each, "config", None), "kernels", "") for each in models]
    return next((name for name in found if name not in ("", "plain")), max(found))


@functools.cache
def _mention() -> None:
    from jmlip.ops import native

    print(
        f"notice: this model runs slower than it could, on plain JAX without the C++ kernels: "
        f"{native.why_not()}.",
        file=sys.stderr,
    )
