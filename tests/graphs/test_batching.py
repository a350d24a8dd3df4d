"""Padded batches hold their frames unchanged, and are padded to few sizes."""

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jmlip.core.errors import DataError
from jmlip.core.structure import Structure
from jmlip.graphs.batching import Bucket, exact_bucket, fits, pad_batch
from jmlip.graphs.buckets import (
    Sizes,
    choose_buckets,
    deal,
    plan_batches,
    round_up,
    sizes_of,
    smallest_bucket,
)
from jmlip.graphs.frames import make_frame
from jmlip.ops.neighbors import neighbors

SPECIES, CUTOFF, REFERENCES = (1, 8), 3.0, (-1.0, -10.0)


def water(n: int, seed: int = 0, *, pbc: bool = False) -> Structure:
    rng = np.random.default_rng(seed)
    return Structure(
        species=rng.choice(SPECIES, n),
        positions=rng.uniform(0.0, 4.0, (n, 3)),
        cell=5.0 * np.eye(3),
        pbc=[pbc] * 3,
        energy=-100.0 + seed,
        forces=rng.normal(size=(n, 3)),
        stress=0.01 * np.eye(3) if pbc else None,
    )


def frame(structure, **options):
    keywords = {"species": SPECIES, "cutoff": CUTOFF, "reference_energies": REFERENCES, **options}
    return make_frame(structure, **keywords)


@pytest.fixture
def structures():
    lone = Structure(species=[8], positions=[[0, 0, 0]])
    return [water(5, 1), water(3, 2, pbc=True), lone, water(7, 3)]


@pytest.fixture
def batch(structures):
    return pad_batch([frame(s) for s in structures], Bucket(20, 40, 8), cutoff=CUTOFF)


def test_an_empty_share_has_the_arrays_of_the_others(structures):
    first = structures[0]
    orders = {"energy_orders": np.zeros((first.n_atoms, 2))}
    labelled = first.replace(info={"head": "b", "arrays": orders})
    full = frame(labelled, heads={"a": REFERENCES, "b": REFERENCES})
    options = {"bucket": Bucket(8, 12, 3), "cutoff": CUTOFF, "like": [full]}
    empty, other = pad_batch([], **options), pad_batch([full], **options)
    shapes = lambda tree: jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), tree)
    assert shapes(empty) == shapes(other)
    assert not empty.graph.nodes.mask.any()
    assert not empty.labels.energy_mask.any()


def test_pairs_of_a_batch_are_those_of_its_structures(batch, structures):
    graph, start = batch.graph, 0
    for structure in structures:
        pairs = neighbors(structure.positions, structure.cell, structure.pbc, CUTOFF)
        inside = (graph.receivers >= start) & (graph.receivers < start + structure.n_atoms)
        chosen = inside & graph.edges.mask
        found = np.column_stack(
            [graph.receivers[chosen] - start, graph.senders[chosen] - start,
             graph.edges.vector[chosen]]
        )  # fmt: skip
        expected = np.column_stack([pairs.receivers, pairs.senders, pairs.vectors])
        order = lambda rows: rows[np.lexsort(np.round(rows, 4).T)]
        np.testing.assert_allclose(order(found), order(expected), atol=1e-5)
        start += structure.n_atoms


def test_reverse_leads_to_the_opposite_pair_and_back(batch):
    graph, reverse = batch.graph, batch.graph.edges.reverse
    np.testing.assert_array_equal(reverse[reverse], np.arange(len(reverse)))
    real = graph.edges.mask
    np.testing.assert_array_equal(graph.senders[reverse][real], graph.receivers[real])
    np.testing.assert_array_equal(graph.edges.vector[reverse][real], -graph.edges.vector[real])
    np.testing.assert_array_equal(reverse[~real], np.flatnonzero(~real))


def test_padding_is_where_it_is_promised(batch):
    graph, labels = batch
    assert graph.nodes.mask.tolist() == [True] * 16 + [False] * 4
    assert graph.globals.mask.tolist() == [True] * 4 + [False] * 4
    np.testing.assert_array_equal(graph.n_node, [5, 3, 1, 7, 0, 0, 0, 4])
    assert (np.linalg.norm(graph.edges.vector[~graph.edges.mask], axis=1) >= 2 * CUTOFF).all()
    assert (np.diff(graph.receivers) >= 0).all()
    for name in ("energy", "stress"):
        assert not getattr(labels, name)[4:].any()


def test_labels_lose_the_reference_energies_and_missing_ones_are_masked(batch, structures):
    labels = batch.labels
    assert labels.energy_mask.tolist() == [True, True, False, True, False, False, False, False]
    assert labels.stress_mask.tolist() == [False, True] + [False] * 6
    table = dict(zip(SPECIES, REFERENCES, strict=True))
    expected = structures[0].energy - sum(table[z] for z in structures[0].species)
    assert labels.energy[0] == pytest.approx(expected)
    assert not labels.forces_mask[8]
    assert labels.forces_mask[:8].all()


def test_energies_are_subtracted_before_they_are_rounded():
    """A label of 10^7 eV keeps its meV: in float32 it would have a resolution of 1 eV."""
    heavy = water(2, 4).replace(species=[8, 8], energy=-2.0e7 + 0.125)
    made = frame(heavy, reference_energies=(0.0, -1.0e7))
    assert pad_batch([made], Bucket(3, 2, 2), cutoff=CUTOFF).labels.energy[0] == 0.125


def test_frames_that_do_not_fit_are_refused(structures):
    frames = [frame(s) for s in structures]
    exact = exact_bucket(frames)
    assert fits(frames, exact)
    for field, value in exact._asdict().items():
        small = exact._replace(**{field: value - 1})
        assert not fits(frames, small)
        with pytest.raises(ValueError, match="a bucket must have room"):
            pad_batch(frames, small, cutoff=CUTOFF)


def test_unknown_elements_are_named():
    with pytest.raises(DataError, match="found He in"):
        frame(Structure(species=[2], positions=[[0, 0, 0]]))


sizes = st.lists(st.tuples(st.integers(1, 60), st.integers(1, 30)), min_size=1, max_size=80).map(
    lambda pairs: Sizes(*np.array(pairs, np.int64).T)
)


@settings(max_examples=60, deadline=None)
@given(sizes=sizes, batch_size=st.integers(1, 12), seed=st.none() | st.integers(0, 5))
def test_every_frame_is_in_one_batch_that_fits_a_bucket(sizes, batch_size, seed):
    buckets = choose_buckets(sizes, batch_size=batch_size)
    assert 1 <= len(buckets) <= 3
    generator = None if seed is None else np.random.default_rng(seed)
    plan = plan_batches(sizes, buckets, batch_size=batch_size, generator=generator)
    assert sorted(np.concatenate(plan)) == list(range(len(sizes.atoms)))
    for members in plan:
        atoms, slots = sizes.atoms[members].sum(), sizes.slots[members].max()
        assert len(members) <= batch_size
        assert any(
            atoms <= b.n_atoms and slots <= b.n_slots and len(members) < b.n_graphs for b in buckets
        )


def test_equal_frames_are_padded_by_nothing_but_the_last_graph():
    sizes = Sizes(np.full(40, 9), np.full(40, 8))
    assert choose_buckets(sizes, batch_size=10) == (Bucket(90, 8, 11),)


def test_two_kinds_of_frames_get_a_bucket_each():
    sizes = Sizes(np.full(200, 20), np.repeat([4, 40], 100))
    buckets = choose_buckets(sizes, batch_size=10)
    assert buckets == (Bucket(200, 4, 11), Bucket(200, 40, 11))


def test_sizes_of_frames(structures):
    found = sizes_of(frame(s) for s in structures)
    np.testing.assert_array_equal(found.atoms, [s.n_atoms for s in structures])
    assert found.slots[2] == 1  # an atom without neighbors has one empty slot


def test_what_fits_no_bucket_gets_one_of_its_own(structures):
    frames = [frame(s) for s in structures]
    small = Bucket(4, 2, 2)
    made = smallest_bucket(exact_bucket(frames), [small])
    assert made != small
    assert fits(frames, made)


def test_dealing_balances_sizes():
    rng = np.random.default_rng(0)
    items = rng.integers(1, 100, 200)
    sums = [items[batch].sum() for batch in deal(items, 20, rng)]
    assert max(sums) <= 1.1 * np.mean(sums)


def test_round_up_wastes_at_most_a_quarter():
    for size in range(1, 3000):
        assert size <= round_up(size) <= max(size + 1, 1.25 * size)
