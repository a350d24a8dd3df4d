"""The equivariant convolution against `e3nn_jax.tensor_product` with gather and scatter.

    python benchmarks/convolution_speed.py [--degrees 1 2 3] [--channels 32 64 128]

One convolution of 180 atoms with 14 neighbors each, natural parity, float32: value, gradient to
features, harmonics and weights, and gradient of the sum of squares of that gradient. Programs take
turns; the table has medians, in ms, and how many times faster than e3nn-jax each is.
"""

import argparse
import statistics
import time

import e3nn_jax
import jax
import jax.numpy as jnp
import numpy as np

from jmlip.ops import native
from jmlip.ops.contraction import convolve
from jmlip.ops.coupling import couplings
from jmlip.ops.irreps import dim, harmonics, paths, slices

ATOMS, NEIGHBORS = 180, 14
ROUNDS, CALLS = 3, 5


def ring() -> tuple[jax.Array, jax.Array]:
    """Senders and opposite slots of a ring in which everyone sees the nearest 14."""
    half = NEIGHBORS // 2
    offsets = np.concatenate([np.arange(-half, 0), np.arange(1, half + 1)])
    senders = (np.arange(ATOMS)[:, None] + offsets) % ATOMS
    opposite = senders * NEIGHBORS + np.arange(NEIGHBORS)[::-1]
    return jnp.asarray(senders.reshape(-1), jnp.int32), jnp.asarray(opposite.reshape(-1), jnp.int32)


def programs(degree: int, channels: int):
    """The convolution in each program, and its arguments."""
    irreps = harmonics(degree)
    table = paths(irreps, degree, irreps)
    rule, (senders, reverse) = couplings(irreps, degree, table), ring()
    rng = np.random.default_rng(0)
    normal = lambda *shape: jnp.asarray(rng.normal(size=shape), jnp.float32)
    n = ATOMS * NEIGHBORS
    rows = dim(irreps)
    arguments = (
        normal(ATOMS, rows, channels),
        normal(n, rows),
        normal(n, len(table), channels),
    )
    receivers = jnp.repeat(jnp.arange(ATOMS), NEIGHBORS)
    mixed = e3nn_jax.Irreps([(channels, ir) for ir in irreps])
    angular = e3nn_jax.Irreps([(1, ir) for ir in irreps])

    def by_e3nn(x, y, w):
        flat = [x[:, block].swapaxes(1, 2).reshape(ATOMS, -1) for block in slices(irreps)]
        sent = e3nn_jax.IrrepsArray(mixed, jnp.concatenate(flat, axis=1))[senders]
        message = e3nn_jax.tensor_product(
            sent, e3nn_jax.IrrepsArray(angular, y), filter_ir_out=[ir for _, ir in angular]
        )
        message = message * w.reshape(n, -1)
        return e3nn_jax.scatter_sum(message, dst=receivers, output_size=ATOMS).array

    def ours(backend):
        return lambda x, y, w: convolve(x, y, w, senders, reverse, rule, backend=backend)

    found = {"e3nn-jax": by_e3nn, "plain": ours("plain")}
    if native.available():
        found["native"] = ours("native")
    return found, arguments


def derivatives(program):
    """Value, gradient, and the gradient of the gradient's square."""
    gradient = jax.grad(lambda *a: jnp.sum(program(*a) ** 2), (0, 1, 2))
    square = lambda *a: sum(jnp.sum(g**2) for g in gradient(*a))
    return {"value": program, "gradient": gradient, "second": jax.grad(square, (0, 1, 2))}


def compile_all(found, arguments) -> dict:
    compiled = {}
    for name, program in found.items():
        for what, function in derivatives(program).items():
            begin = time.perf_counter()
            run = jax.jit(function).lower(*arguments).compile()
            compiled[name, what] = run, time.perf_counter() - begin
    return compiled


def measure(compiled, arguments) -> dict:
    times = {key: [] for key in compiled}
    for _ in range(ROUNDS):
        for key, (run, _) in compiled.items():
            jax.block_until_ready(run(*arguments))
            for _ in range(CALLS):
                begin = time.perf_counter()
                jax.block_until_ready(run(*arguments))
                times[key].append(time.perf_counter() - begin)
    return {key: 1e3 * statistics.median(values) for key, values in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--degrees", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--channels", type=int, nargs="+", default=[32, 64, 128])
    options = parser.parse_args()
    print("| l, channels | derivative | e3nn-jax ms | plain ms | native ms | plain | native |")
    print("|---|---|---|---|---|---|---|")
    for degree in options.degrees:
        for channels in options.channels:
            found, arguments = programs(degree, channels)
            compiled = compile_all(found, arguments)
            times = measure(compiled, arguments)
            for what in ("value", "gradient", "second"):
                row = [times[name, what] for name in found]
                ratios = [f"{row[0] / value:.1f}x" for value in row[1:]]
                cells = [f"{value:.2f}" for value in row] + ratios
                print(f"| {degree}, {channels} | {what} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
