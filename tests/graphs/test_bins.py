"""Neighbor lists from bins against those that try all pairs, and against ASE."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase.geometry import complete_cell
from ase.neighborlist import primitive_neighbor_list

from jmlip.graphs.bins import NO_BINS, choose_bins
from jmlip.graphs.device_neighbors import OVERFLOW, allocate, update
from jmlip.graphs.search import first_true, reciprocal

CUTOFF, SKIN = 2.0, 0.3
REACH = CUTOFF + SKIN
N = 150
SKEWED = np.array([[9.0, 0.0, 0.0], [7.0, 12.0, 0.0], [-6.0, 4.0, 13.0]])
TILTED = np.array([[0.0, 9.0, 9.0], [-11.0, 1.0, 0.0], [0.0, 0.0, 0.0]])  # slab across (1, 1, -1)
CELLS = {
    "open": (np.zeros((3, 3)), (False, False, False)),
    "chain": (np.diag([0.0, 30.0, 0.0]), (False, True, False)),
    "slab": (TILTED, (True, True, False)),
    "skewed": (SKEWED, (True, True, True)),
    "smaller than the reach": (np.diag([1.9, 30.0, 28.0]), (True, True, True)),
    "two bins": (np.diag([5.0, 28.0, 11.0]), (True, True, True)),
}
FIELDS = ("senders", "shifts", "reverse", "mask", "status")


def system(kind, seed=0):
    """Atoms in a box of 11 angstrom or the cell, each moved by up to four lattice vectors."""
    cell, pbc = CELLS[kind]
    generator = np.random.default_rng(seed)
    periodic = np.array(pbc)[:, None]
    inside = generator.uniform(size=(N, 3)) @ np.where(periodic, cell, 11.0 * np.eye(3))
    return inside + generator.integers(-4, 5, (N, 3)) @ np.where(periodic, cell, 0.0), cell, pbc


def with_bins(listed, positions, cell, pbc):
    positions, cell = jnp.asarray(positions), jnp.asarray(cell)
    inverse = reciprocal(cell, pbc)
    options = {"reach": REACH, "capacity_factor": 2.0, "advantage": 0.0}
    return listed._replace(bins=choose_bins(positions, cell, inverse, pbc, **options))


def both(positions, cell, pbc, dtype):
    """The list to be built from bins, and by trying all pairs."""
    positions, cell = positions.astype(dtype), cell.astype(dtype)
    options = {"cutoff": CUTOFF, "skin": SKIN, "capacity_factor": 2.0}
    listed = allocate(positions, cell, pbc, **options)._replace(bins=jnp.asarray(NO_BINS))
    return with_bins(listed, positions, cell, pbc), listed


def renewed(positions, cell, pbc, listed):
    cell = jnp.asarray(cell, positions.dtype)
    return update(positions, cell, listed, pbc=pbc, cutoff=CUTOFF, skin=SKIN)


def assert_same(one, two):
    for field in FIELDS:
        np.testing.assert_array_equal(getattr(one, field), getattr(two, field), err_msg=field)


def assert_as_ase(listed, positions, cell, pbc):
    full = complete_cell(np.where(np.array(pbc)[:, None], cell, 0.0))
    receivers, senders, shifts = primitive_neighbor_list("ijS", pbc, full, positions, REACH)
    mask = np.asarray(listed.mask)
    own = np.repeat(np.arange(N), len(mask) // N)
    found = np.column_stack([own, listed.senders, listed.shifts])[mask]
    expected = np.column_stack([receivers, senders, shifts])
    np.testing.assert_array_equal(found, expected[np.lexsort(expected.T[::-1])])


@pytest.mark.parametrize("kind", CELLS)
def test_bins_give_the_list_of_all_pairs_and_of_ase(x64, kind):
    """Slots in the same order, through one compiled program, also where the cell deforms."""
    start, cell, pbc = system(kind)
    binned, plain = both(start, cell, pbc, np.float64)
    assert binned.bins.shape[3] > 0
    generator = np.random.default_rng(1)
    for scale in (0.3, 0.5, 0.7, 0.9):
        strain = np.eye(3) + 0.1 * scale * generator.uniform(-1.0, 1.0, (3, 3))
        positions = start @ strain + generator.normal(scale=scale, size=start.shape)
        one = renewed(positions, cell @ strain, pbc, binned)
        assert int(one.status) == 0
        assert_same(one, renewed(positions, cell @ strain, pbc, plain))
        assert_as_ase(one, positions, cell @ strain, pbc)


@pytest.mark.parametrize("kind", ["open", "skewed", "smaller than the reach"])
def test_bins_give_the_list_of_all_pairs_in_single_precision(kind):
    """Near the origin, and so far from it that positions are known to 1e-3 angstrom."""
    start, cell, pbc = system(kind)
    binned, plain = both(start, cell, pbc, np.float32)
    for offset in (0.0, 1.0e4):
        positions = (start + 0.5 * np.sin(start) + offset).astype(np.float32)
        one = renewed(positions, cell, pbc, binned)
        assert int(one.status) == 0
        assert_same(one, renewed(positions, cell, pbc, plain))


def test_a_cluster_may_spread_any_distance(x64):
    start, cell, pbc = system("open")
    binned, plain = both(start, cell, pbc, np.float64)
    far = start.copy()
    far[0] += 1.0e5
    for positions in (0.9 * start, 1.5 * start, 10.0 * start, far):
        listed = renewed(positions, cell, pbc, binned)
        assert int(listed.status) == 0
        assert_same(listed, renewed(positions, cell, pbc, plain))


def test_a_cell_that_shrinks_uses_fewer_bins_or_says_so(x64):
    start, cell, pbc = system("two bins")
    binned, plain = both(start, cell, pbc, np.float64)
    full = False
    for factor in (1.1, 0.98, 0.95, 0.9, 0.8, 0.6):
        one, two = (renewed(factor * start, factor * cell, pbc, old) for old in (binned, plain))
        full = int(one.status) != 0
        assert full or int(two.status) == 0
        if not full:
            assert_same(one, two)
    assert full


def test_a_crowd_sets_the_overflow_bit(x64):
    """Not more neighbors than slots, but more atoms in and around a bin than there is room for."""
    start, cell, pbc = system("skewed")
    binned, plain = both(start, cell, pbc, np.float64)
    tight = plain._replace(bins=binned.bins[..., :32, :])
    positions = start + 1.0e-6
    moved = tight._replace(reference_positions=tight.reference_positions + 1.0)
    assert int(renewed(positions, cell, pbc, moved).status) == OVERFLOW
    anew = with_bins(moved, positions, cell, pbc)
    assert_as_ase(renewed(positions, cell, pbc, anew), positions, cell, pbc)


def test_bins_serve_many_replicas_at_once():
    start, cell, pbc = system("slab")
    binned, _ = both(start, cell, pbc, np.float32)
    generator = np.random.default_rng(2)
    replicas = start + generator.normal(scale=0.5, size=(3, N, 3))
    replicas = jnp.asarray(replicas, jnp.float32)
    together = jax.vmap(lambda positions: renewed(positions, cell, pbc, binned))(replicas)
    for k, positions in enumerate(replicas):
        alone = renewed(positions, cell, pbc, binned)
        assert_same(jax.tree.map(lambda leaf: leaf[k], together), alone)  # noqa: B023


def test_only_large_systems_have_bins():
    """Argon at its density; a thousand atoms in a volume that all of them can see have none."""
    options = {"cutoff": 5.0, "skin": 0.5}
    for n, expected in ((6, False), (16, True)):
        grid = np.stack(np.meshgrid(*[np.arange(n)] * 3), axis=-1).reshape(-1, 3)
        listed = allocate(3.31 * grid, 3.31 * n * np.eye(3), (True,) * 3, **options)
        assert (listed.bins.shape[3] > 0) == expected
    near = np.random.default_rng(0).uniform(0.0, 5.0, (1000, 3))
    assert allocate(near, np.zeros((3, 3)), (False,) * 3, **options).bins.shape[3] == 0


@pytest.mark.parametrize("n_columns", [32, 224])
def test_first_true_finds_columns_in_order(n_columns):
    flags = np.random.default_rng(0).random((40, n_columns)) < np.linspace(0.0, 1.0, 40)[:, None]
    columns, count = first_true(jnp.asarray(flags), 7)
    np.testing.assert_array_equal(count, flags.sum(axis=1))
    for row, found in zip(flags, np.asarray(columns), strict=True):
        expected = np.flatnonzero(row)[:7]
        np.testing.assert_array_equal(found[: len(expected)], expected)
        assert np.all(found[len(expected) :] == n_columns)
