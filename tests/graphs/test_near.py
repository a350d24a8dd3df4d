"""The pairs of a list that interact now."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jmlip.graphs.device_neighbors import OVERFLOW, allocate, graph_from_positions, update
from jmlip.graphs.near import narrow
from jmlip.ops.neighbors import neighbors
from tests.graphs.test_device_neighbors import CELLS, CUTOFF, pairs_within

SKIN = 1.5


@pytest.mark.parametrize("kind", CELLS)
def test_the_narrow_list_holds_the_pairs_within_the_cutoff_and_no_others(x64, kind):
    box, pbc = CELLS[kind]
    generator = np.random.default_rng(6)
    n, cell = 7, jnp.asarray(box)
    start = generator.uniform(-4.0, 4.0, (n, 3))
    reach = {"cutoff": CUTOFF, "skin": SKIN}
    listed = allocate(start, cell, pbc, **reach, capacity_factor=4.0, near_factor=1.8)
    assert len(listed.near) < len(listed.senders) // n
    select = jax.jit(narrow, static_argnames="cutoff")
    for _ in range(10):
        positions = jnp.asarray(start + generator.normal(scale=0.2, size=start.shape))
        listed = update(positions, cell, listed, pbc=pbc, **reach)
        kept, near = select(positions, cell, listed, cutoff=CUTOFF)
        assert int(kept.status) == 0
        graph = graph_from_positions(jnp.zeros(n, int), positions, cell, near, cutoff=CUTOFF)
        vectors, mask = np.asarray(graph.edges.vector), np.asarray(near.mask)
        host = neighbors(np.asarray(positions), box, np.array(pbc), CUTOFF)
        assert mask.sum() == len(host.senders)
        senders, shifts = np.asarray(near.senders), np.asarray(near.shifts)
        found = pairs_within(
            vectors[mask], senders[mask], shifts[mask], np.asarray(graph.receivers)[mask]
        )
        assert found == pairs_within(host.vectors, host.senders, host.shifts, host.receivers)
        reverse = np.asarray(near.reverse)
        np.testing.assert_array_equal(vectors[reverse][mask], -vectors[mask])
        np.testing.assert_array_equal(reverse[reverse], np.arange(len(reverse)))
        np.testing.assert_array_equal(reverse[~mask], np.arange(len(reverse))[~mask])


def test_more_near_pairs_than_room_set_the_overflow_bit_and_tell_where():
    line = 2.5 * np.arange(12.0)[:, None] * np.array([[1.0, 0.0, 0.0]])
    listed = allocate(line, np.zeros((3, 3)), (False,) * 3, cutoff=CUTOFF, skin=20.0)
    assert len(listed.near) == 3
    denser = jnp.asarray(0.5 * line)
    kept, _ = narrow(denser, jnp.zeros((3, 3)), listed, cutoff=CUTOFF)
    assert int(kept.status) & OVERFLOW
    np.testing.assert_array_equal(kept.reference_positions, denser)


def test_a_list_without_spare_room_is_given_as_it_is():
    corners = np.array([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    listed = allocate(corners, np.zeros((3, 3)), (False,) * 3, cutoff=CUTOFF, skin=SKIN)
    kept, near = narrow(jnp.asarray(corners), jnp.zeros((3, 3)), listed, cutoff=CUTOFF)
    assert kept is listed
    assert near is listed
