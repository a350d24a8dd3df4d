"""Batches of a data set: every structure once, the same whether or not all of it is in memory."""

import jax
import numpy as np
import pytest

from jmlip.data import StructureStore, write_store
from jmlip.graphs.frames import make_frame
from jmlip.training.feed import Feed


@pytest.fixture
def store(clusters, tmp_path) -> StructureStore:
    return write_store(clusters, tmp_path / "store")


def same(left, right) -> bool:
    leaves = zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True)
    return all(np.array_equal(a, b) for a, b in leaves)


@pytest.mark.parametrize("kept_bytes", [0, 20_000, 2**31])
def test_what_is_kept_in_memory_changes_nothing(store, clusters, untrained, kept_bytes):
    whole = Feed(clusters, untrained, dtype="float32", seed=3)
    streamed = Feed(store, untrained, dtype="float32", seed=3, kept_bytes=kept_bytes)
    for epoch in (0, 1):
        found, expected = streamed.epoch(epoch, 8), whole.epoch(epoch, 8)
        assert all(same(a, b) for a, b in zip(found, expected, strict=True))
    found, expected = streamed.all_batches(8), whole.all_batches(8)
    assert all(same(a, b) for a, b in zip(found, expected, strict=True))


def test_only_frames_beyond_the_kept_ones_are_made_again(clusters, untrained, monkeypatch):
    made = []
    monkeypatch.setattr(
        "jmlip.potentials.potential.make_frame",
        lambda structure, **options: made.append(structure) or make_frame(structure, **options),
    )
    feed = Feed(clusters, untrained, dtype="float32", kept_bytes=15_000)
    assert len(made) == 40
    for _ in feed.epoch(0, 8):
        pass
    again = {id(structure) for structure in made[40:]}
    assert 10 < len(made[40:]) == len(again) < 30
    assert again == {id(structure) for structure in clusters[-len(again) :]}


def test_every_epoch_has_every_structure_once_in_another_order(clusters, untrained):
    feed = Feed(clusters, untrained, dtype="float32")
    first, second = ([fed.indices for fed in feed.epoch(epoch, 8)] for epoch in (0, 1))
    assert sorted(np.concatenate(first)) == sorted(np.concatenate(second)) == list(range(40))
    assert not np.array_equal(np.concatenate(first), np.concatenate(second))
    assert [len(batch) for batch in first] == [8] * 5
    assert feed.n_batches(0, 8) == 5


def test_an_epoch_goes_on_where_it_stopped(clusters, untrained):
    feed = Feed(clusters, untrained, dtype="float32", seed=1)
    whole, rest = list(feed.epoch(2, 8)), list(feed.epoch(2, 8, start=3))
    assert len(rest) == 2
    assert all(same(a, b) for a, b in zip(rest, whole[3:], strict=True))
