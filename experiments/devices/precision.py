"""What products of matrices with rounded operands do to forces and to the gradient of the loss.

    python -m experiments.devices.precision

A CPU has no such products: the operands of each are rounded here to 11 (tf32) or 8 (bf16)
significant bits, and the product is taken in single precision, as tensor cores do. The model is as
at the start of training, without the kernels for CPUs, so that every product is one of JAX.
"""

import contextlib
import json
from pathlib import Path
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from ase.build import molecule
from jax._src.lax.lax import dot_general_p

from jmlip.core.structure import Structure
from jmlip.factory import make_model
from jmlip.graphs.batching import exact_bucket, pad_batch
from jmlip.graphs.frames import make_frame
from jmlip.ops import native
from jmlip.potentials.potential import initial_potential
from jmlip.training.directional import make_loss_gradient
from jmlip.training.loss_config import LossConfig, TermConfig

MANTISSA = {"tf32": 10, "bf16": 7}
MODELS = {
    "hipnn": {"n_features": 32, "n_interactions": 1, "r_high": 3.5},
}
SPECIES, CUTOFF = (1, 6, 8), 4.0
LOSS = LossConfig(energy=TermConfig(), forces=TermConfig(weight=10.0))


@contextlib.contextmanager
def rounded(bits: int | None):
    """Operands of products that are traced within the block have so many bits after the first."""
    bind = dot_general_p.bind

    def rounding(left, right, **options):
        round_ = lambda x: jax.lax.reduce_precision(x, exponent_bits=8, mantissa_bits=bits)
        return bind(round_(left), round_(right), **options)

    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.object(native, "available", return_value=False))
        if bits is not None:
            stack.enter_context(mock.patch.object(dot_general_p, "bind", rounding))
        yield


def make_batch():
    """Methanol and formic acid, distorted, with random labels."""
    rng, frames = np.random.default_rng(0), []
    for name in ("CH3OH", "HCOOH") * 4:
        atoms = molecule(name)
        structure = Structure(
            species=atoms.numbers,
            positions=atoms.positions + rng.normal(scale=0.1, size=(len(atoms), 3)),
            energy=float(rng.normal()),
            forces=rng.normal(size=(len(atoms), 3)),
        )
        options = {"species": SPECIES, "cutoff": CUTOFF, "reference_energies": (0.0,) * 3}
        frames.append(make_frame(structure, **options))
    return jax.tree.map(jnp.asarray, pad_batch(frames, exact_bucket(frames), cutoff=CUTOFF))


def measure(kind: str) -> dict[str, float]:
    """Relative difference of the gradient of the loss, in the norm, by precision."""
    model = make_model(kind, {"species": SPECIES, "cutoff": CUTOFF, **MODELS[kind]})
    potential = initial_potential(kind, model, key=jax.random.key(0), reference_energies=(0.0,) * 3)
    batch, weights = make_batch(), jnp.array([1.0, 10.0])

    def gradient(bits):
        call = make_loss_gradient(potential.apply, LOSS, reference_energies=(0.0,) * 3)
        with rounded(bits):
            found = jax.jit(call)(potential.params, batch, weights)[2]
        return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(found)])

    exact = gradient(None)
    off = lambda bits: float(np.linalg.norm(gradient(bits) - exact) / np.linalg.norm(exact))
    return {name: off(bits) for name, bits in MANTISSA.items()}


if __name__ == "__main__":
    errors = {kind: measure(kind) for kind in MODELS}
    (Path(__file__).parent / "precision.json").write_text(json.dumps(errors) + "\n")
    for kind, row in errors.items():
        print(kind, {name: f"{value:.1e}" for name, value in row.items()})
