"""Neighbor lists in compiled programs against those of the host."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jmlip.graphs.device_neighbors import OVERFLOW, allocate, graph_from_positions, update
from jmlip.ops.neighbors import neighbors

CUTOFF, SKIN = 3.0, 0.4
SKEWED = np.array([[4.0, 0.0, 0.0], [2.5, 2.9, 0.0], [-1.5, 1.0, 3.5]])
CELLS = {
    "open": (np.zeros((3, 3)), (False, False, False)),
    "slab": (np.diag([5.0, 6.0, 0.0]), (True, True, False)),
    "skewed": (SKEWED, (True, True, True)),
    "smaller than the cutoff": (np.diag([1.9, 2.2, 2.6]), (True, True, True)),
    "wide": (np.diag([9.0, 8.0, 8.5]), (True, True, True)),
}


def pairs_within(vectors, senders, shifts, receivers):
    near = np.linalg.norm(vectors, axis=1) < CUTOFF
    return set(map(tuple, np.column_stack([receivers, senders, shifts])[near].tolist()))


@pytest.mark.parametrize("kind", CELLS)
def test_updated_list_holds_the_pairs_of_the_host(x64, kind):
    """20 random displacements for each kind of cell, through one compiled program."""
    cell, pbc = CELLS[kind]
    generator = np.random.default_rng(5)
    n = 7
    start = generator.uniform(-4.0, 4.0, (n, 3))
    listed = allocate(start, cell, pbc, cutoff=CUTOFF, skin=SKIN, capacity_factor=4.0)
    graph = jax.jit(graph_from_positions, static_argnames="cutoff")
    for _ in range(20):
        positions = start + generator.normal(scale=0.7, size=start.shape)
        listed = update(positions, cell, listed, pbc=pbc, cutoff=CUTOFF, skin=SKIN)
        assert int(listed.status) == 0
        edges = graph(jnp.zeros(n, int), jnp.array(positions), cell, listed, cutoff=CUTOFF).edges
        mask = np.asarray(listed.mask)
        receivers = np.repeat(np.arange(n), len(mask) // n)
        shifts = np.asarray(listed.shifts)[mask]
        vectors, senders = np.asarray(edges.vector), np.asarray(listed.senders)
        host = neighbors(positions, cell, np.array(pbc), CUTOFF)
        found = pairs_within(vectors[mask], senders[mask], shifts, receivers[mask])
        assert found == pairs_within(host.vectors, host.senders, host.shifts, host.receivers)
        reverse = np.asarray(listed.reverse)
        np.testing.assert_array_equal(vectors[reverse][mask], -vectors[mask])
        np.testing.assert_array_equal(reverse[reverse], np.arange(len(reverse)))
        assert np.all(np.linalg.norm(vectors[~mask], axis=1) >= CUTOFF)


def test_too_many_neighbors_set_the_overflow_bit():
    spread = 10.0 * np.arange(12.0).reshape(4, 3)
    listed = allocate(spread, np.zeros((3, 3)), (False,) * 3, cutoff=CUTOFF, skin=SKIN)
    close = np.arange(12.0).reshape(4, 3) * 0.1
    options = {"pbc": (False,) * 3, "cutoff": CUTOFF, "skin": SKIN}
    listed = update(close, np.zeros((3, 3)), listed, **options)
    assert int(listed.status) & OVERFLOW


def test_a_small_displacement_keeps_the_list():
    cell, pbc = CELLS["wide"]
    start = np.random.default_rng(1).uniform(0.0, 8.0, (7, 3)).astype(np.float32)
    listed = allocate(start, cell, pbc, cutoff=CUTOFF, skin=SKIN)
    moved = start + np.float32(0.45 * SKIN / np.sqrt(3.0))
    same = update(moved, cell, listed, pbc=pbc, cutoff=CUTOFF, skin=SKIN)
    np.testing.assert_array_equal(same.reference_positions, listed.reference_positions)
