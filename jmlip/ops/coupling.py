"""Clebsch-Gordan coefficients, from e3nn-jax, and tables of the couplings of a convolution."""

import dataclasses
import functools
import itertools

import numpy as np

from jmlip.ops.irreps import Irrep, Path, dim, slices


@functools.cache
def clebsch_gordan(l1: int, l2: int, l3: int) -> np.ndarray:
    """Coefficients [m1, m2, m3] of l1 x l2 -> l3, sum of squares 2 l3 + 1, float64.

    With them, inputs of unit variance in every component give outputs of unit variance.
    """
    # slow to import, and only equivariant models need it
    import e3nn_jax

    wigner = np.array(e3nn_jax.clebsch_gordan(l1, l2, l3), np.float64)  # norm one
    found = wigner * np.sqrt(2 * l3 + 1)
    found[np.abs(found) < 1e-12] = 0.0
    found.flags.writeable = False
    return found


@dataclasses.dataclass(frozen=True)
class Couplings:
    """A table of couplings: sizes of the operands and the blocks of each path.

    Args:
        n_g: rows of g.
        n_x: rows of x.
        n_y: rows of Y.
        blocks: for each path (x, y, g, l1, l2, l3, stride): first rows, degrees, and the stride of
            the path's rows in g.
    """

    n_g: int
    n_x: int
    n_y: int
    blocks: tuple[tuple[int, int, int, int, int, int, int], ...]

    @property
    def n_paths(self) -> int:
        return len(self.blocks)


@functools.cache
def couplings(inputs: tuple[Irrep, ...], max_degree: int, table: tuple[Path, ...]) -> Couplings:
    """The table of a convolution whose output keeps paths to the same irrep side by side.

    For each output irrep, in the order of the paths, the rows are [2l + 1, paths to it]: seen as
    [2l + 1, paths * channels], a linear map over paths and channels is one matrix product.
    """
    starts = [block.start for block in slices(inputs)]
    blocks, n_g = [], 0
    for output, group in itertools.groupby(table, key=lambda path: path.output):
        members = list(group)
        for n, path in enumerate(members):
            l1, l2 = inputs[path.input].l, path.degree
            blocks.append((starts[path.input], l2 * l2, n_g + n, l1, l2, output.l, len(members)))
        n_g += output.dim * len(members)
    return Couplings(n_g, dim(inputs), (max_degree + 1) ** 2, tuple(blocks))
