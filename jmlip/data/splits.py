"""Deterministic splits: named parts, each an increasing array of indices.

The same numbers on every platform and with every release of NumPy: shuffles sort the raw output of
PCG64, whose stream is guaranteed, and never call `Generator.permutation`, whose stream is not. A
part's size is a fraction of all structures, or a count.
"""

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int

from jmlip.core.errors import ConfigError, DataError
from jmlip.core.structure import Structure

Split = dict[str, Int[np.ndarray, " members"]]
"""Indices of each part, increasing."""


def split_random(n: int, parts: Mapping[str, float | int], *, seed: int = 0) -> Split:
    """Split n structures at random.

    Args:
        n: number of structures.
        parts: size of each part: all fractions (of n, at most 1 together; 1 uses every structure)
            or all counts (integers, at most n together).
        seed: of the shuffle.

    Raises:
        ConfigError: sizes are mixed, negative or too large.
        DataError: a part would be empty.

    Example:
        >>> split_random(6, {"train": 4, "validation": 2}, seed=1)
        {'train': array([0, 2, 4, 5]), 'validation': array([1, 3])}
    """
    sizes = _sizes(n, parts)
    order, start, split = _shuffle(n, seed), 0, {}
    for name, size in sizes.items():
        split[name] = np.sort(order[start : start + size])
        start += size
    return split


def split_by_groups(
    labels: Sequence[Hashable], parts: Mapping[str, float | int], *, seed: int = 0
) -> Split:
    """Split so that structures with the same label never stand on both sides.

    Groups are dealt whole; of many random deals, the one whose sizes are nearest to those asked for
    is taken.

    Args:
        labels: label of each structure (a name, a formula, a trajectory).
        parts: size of each part, as in `split_random`; met as nearly as groups allow.
        seed: of the deals.

    Raises:
        ConfigError: sizes are mixed, negative or too large.
        DataError: there are fewer groups than parts.

    Example:
        >>> split_by_groups(["a", "a", "b", "c"], {"train": 0.5, "test": 0.5})
        {'train': array([2, 3]), 'test': array([0, 1])}
    """
    sizes = _sizes(len(labels), parts)
    names = {label: i for i, label in enumerate(dict.fromkeys(labels))}
    group = np.array([names[label] for label in labels])
    if len(names) < len(sizes):
        raise DataError(
            f"{len(sizes)} parts need at least as many groups, found {len(names)}; "
            "split at random or by blocks."
        )
    part_of_group = _deal(np.bincount(group), list(sizes.values()), seed)
    part = part_of_group[group]
    return {name: np.flatnonzero(part == i) for i, name in enumerate(sizes)}


def split_by_composition(
    structures: Sequence[Structure], parts: Mapping[str, float | int], *, seed: int = 0
) -> Split:
    """Split so that a composition never stands on both sides; see `split_by_groups`.

    Example:
        >>> atoms = [Structure(species=[z], positions=[[0, 0, 0]]) for z in (2, 2, 10)]
        >>> split_by_composition(atoms, {"train": 2, "test": 1})
        {'train': array([0, 1]), 'test': array([2])}
    """
    return split_by_groups([s.formula for s in structures], parts, seed=seed)


def split_by_blocks(
    n: int,
    parts: Mapping[str, float | int],
    *,
    n_blocks: int = 20,
    gap: int = 0,
    seed: int = 0,
) -> Split:
    """Cut a trajectory into contiguous blocks and deal these, so that parts share few neighbors.

    Args:
        n: number of frames, in the order of time.
        parts: size of each part, as in `split_random`; met as nearly as blocks allow.
        n_blocks: number of blocks of (nearly) equal length.
        gap: frames left out on either side of a border between blocks of different parts.
        seed: of the deal.

    Raises:
        ConfigError: sizes, number of blocks or gap are impossible.
        DataError: a part is left empty by the gaps.

    Example:
        >>> split_by_blocks(12, {"train": 0.75, "test": 0.25}, n_blocks=4, gap=1, seed=2)
        {'train': array([ 0,  1,  2,  3,  4, 10, 11]), 'test': array([7])}
    """
    if not len(parts) <= n_blocks <= n:
        raise ConfigError(f"n_blocks must lie in {len(parts)}..{n}, found {n_blocks}.")
    if gap < 0:
        raise ConfigError(f"gap must not be negative, found {gap}.")
    block = np.arange(n) * n_blocks // n
    split = split_by_groups(block.tolist(), parts, seed=seed)
    part = np.full(n, -1)
    for i, indices in enumerate(split.values()):
        part[indices] = i
    borders = np.flatnonzero(np.diff(part)) + 1
    distance = np.arange(n)[:, None] - borders[None, :]
    kept = np.all((distance >= gap) | (distance < -gap), axis=1)
    split = {name: indices[kept[indices]] for name, indices in split.items()}
    require_members(split)
    return split


def _sizes(n: int, parts: Mapping[str, float | int]) -> dict[str, int]:
    values: list[Any] = list(parts.values())
    fractions = all(isinstance(value, float) for value in values)
    if not values or not (fractions or all(type(value) is int for value in values)):
        raise ConfigError(f"sizes must be all fractions or all counts, found {dict(parts)}.")
    total = sum(values)
    if min(values) <= 0 or total > (1.0 + 1e-9 if fractions else n):
        limit = "1" if fractions else f"{n} structures"
        raise ConfigError(f"sizes must be positive and at most {limit} together, found {values}.")
    if fractions:
        # cumulative rounding: sizes add up, and none is off by more than one
        edges = [round(sum(values[:i]) * n) for i in range(len(values) + 1)]
        values = np.diff(edges).tolist()
    sizes: dict[str, int] = dict(zip(parts, values, strict=True))
    for name, size in sizes.items():
        if size == 0:
            raise DataError(f"part {name!r} of {n} structures would be empty; enlarge its share.")
    return sizes


def _shuffle(n: int, seed: int) -> np.ndarray:
    return np.argsort(np.random.PCG64(seed).random_raw(n), kind="stable")


def _deal(sizes: np.ndarray, targets: list[int], seed: int, *, tries: int = 200) -> np.ndarray:
    """Part of each group; the last value stands for groups in no part."""
    n, edges = len(sizes), np.cumsum(targets)
    raw = np.random.PCG64(seed).random_raw(tries * n).reshape(tries, n)
    best, best_error = np.zeros(0, int), math.inf
    for order in np.argsort(raw, axis=1, kind="stable"):
        ends = np.cumsum(sizes[order])
        # each cut comes after at least one more group than the cut before
        cuts = np.array([int(np.argmin(np.abs(ends - edge))) + 1 for edge in edges])
        cuts = np.maximum.accumulate(cuts - np.arange(len(cuts))) + np.arange(len(cuts))
        cuts = np.minimum(cuts, n - np.arange(len(cuts))[::-1])
        found = np.diff(ends[cuts - 1], prepend=0)
        error = float(np.abs(found - targets).sum())
        if error < best_error:
            best, best_error = np.empty(n, int), error
            best[order] = np.searchsorted(cuts, np.arange(n), side="right")
        if error == 0.0:
            break
    return best


def require_members(split: Split) -> None:
    """Raise DataError where a part is empty."""
    for name, indices in split.items():
        if len(indices) == 0:
            raise DataError(f"part {name!r} is empty; enlarge its share or lower the gap.")
