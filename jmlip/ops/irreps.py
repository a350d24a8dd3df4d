"""Irreducible representations of O(3), and the couplings that a convolution may use.

Features of mixed degree are stored channel-last, `[atoms, (l, m), channels]`: one block of 2l + 1
rows for each irrep, m = -l ... l, every irrep with the same number of channels.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple


class Irrep(NamedTuple):
    """Degree l and parity (1 even, -1 odd)."""

    l: int
    parity: int

    @property
    def dim(self) -> int:
        return 2 * self.l + 1

    def __str__(self) -> str:
        return f"{self.l}{'e' if self.parity == 1 else 'o'}"


SCALAR = Irrep(0, 1)


class Path(NamedTuple):
    """One coupling: input block, harmonics of degree l2, irrep of the output."""

    input: int
    degree: int
    output: Irrep


def harmonics(max_degree: int) -> tuple[Irrep, ...]:
    """Irreps of the spherical harmonics: 0e + 1o + 2e + ...

    Example:
        >>> " + ".join(map(str, harmonics(3)))
        '0e + 1o + 2e + 3o'
    """
    return tuple(Irrep(l, (-1) ** l) for l in range(max_degree + 1))


def all_irreps(max_degree: int, *, both_parities: bool) -> tuple[Irrep, ...]:
    """Irreps up to a degree, with the parity of the harmonics first."""
    natural = harmonics(max_degree)
    if not both_parities:
        return natural
    return tuple(ir for n in natural for ir in (n, Irrep(n.l, -n.parity)))


def product(a: Irrep, b: Irrep) -> tuple[Irrep, ...]:
    """Irreps in the product of two: |l1 - l2| <= l <= l1 + l2."""
    degrees = range(abs(a.l - b.l), a.l + b.l + 1)
    return tuple(Irrep(l, a.parity * b.parity) for l in degrees)


def paths(inputs: Sequence[Irrep], max_degree: int, outputs: Iterable[Irrep]) -> tuple[Path, ...]:
    """Every allowed coupling of the inputs with harmonics into one of the outputs.

    Sorted by output in the order of `outputs`, then by input, then by degree.
    """
    return tuple(
        Path(i, y.l, output)
        for output in outputs
        for i, ir in enumerate(inputs)
        for y in harmonics(max_degree)
        if output in product(ir, y)
    )


def reached(inputs: Sequence[Irrep], max_degree: int, wanted: Iterable[Irrep]) -> tuple[Irrep, ...]:
    """Those of the wanted irreps that some path reaches."""
    found = {output for ir in inputs for y in harmonics(max_degree) for output in product(ir, y)}
    return tuple(ir for ir in wanted if ir in found)


def symmetric_power(irreps: Sequence[Irrep], order: int) -> dict[Irrep, int]:
    """How often each irrep occurs in the symmetric products of `order` factors.

    Products of the components m are counted by their sum and parity: irrep l occurs as often as
    there are more of the sum l than of the sum l + 1.

    Example:
        >>> {str(ir): n for ir, n in symmetric_power([Irrep(1, -1)], 2).items()}
        {'0e': 1, '2e': 1}
    """
    # counts[k]: products of k of the components looked at so far, by sum and parity
    counts: list[Counter[tuple[int, int]]] = [
        Counter({(0, 1): 1}),
        *(Counter() for _ in range(order)),
    ]
    for ir in irreps:
        for m in range(-ir.l, ir.l + 1):
            for k in range(1, order + 1):  # ascending: a component may be taken again
                for (total, parity), n in counts[k - 1].items():
                    counts[k][total + m, parity * ir.parity] += n
    last = counts[order]
    highest = order * max(ir.l for ir in irreps)
    each = (Irrep(l, parity) for l in range(highest + 1) for parity in (1, -1))
    found = {ir: last[ir.l, ir.parity] - last[ir.l + 1, ir.parity] for ir in each}
    return {ir: n for ir, n in found.items() if n}


def dim(irreps: Iterable[Irrep]) -> int:
    """Rows of one channel."""
    return sum(ir.dim for ir in irreps)


def slices(irreps: Sequence[Irrep]) -> tuple[slice, ...]:
    """Rows of each block."""
    found, start = [], 0
    for ir in irreps:
        found.append(slice(start, start + ir.dim))
        start += ir.dim
    return tuple(found)
