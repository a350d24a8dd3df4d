import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jmlip.core.errors import ConfigError, DataError
from jmlip.core.structure import Structure
from jmlip.data import (
    split_by_blocks,
    split_by_composition,
    split_by_groups,
    split_by_index_file,
    split_random,
)

THIRDS = {"train": 0.6, "validation": 0.2, "test": 0.2}


def assert_disjoint(split, n):
    together = np.concatenate(list(split.values()))
    assert len(set(together.tolist())) == len(together)
    assert all(len(part) and np.all(np.diff(part) > 0) for part in split.values())
    assert together.min() >= 0
    assert together.max() < n


@settings(deadline=None, max_examples=50, derandomize=True, database=None)
@given(st.integers(10, 300), st.integers(0, 2**32))
def test_random_fractions_use_every_structure_once(n, seed):
    split = split_random(n, THIRDS, seed=seed)
    assert_disjoint(split, n)
    assert sum(map(len, split.values())) == n
    for name, share in THIRDS.items():
        assert abs(len(split[name]) - share * n) <= 1


def test_counts_are_met_and_may_leave_some_out():
    split = split_random(100, {"train": 50, "validation": 20}, seed=1)
    assert_disjoint(split, 100)
    assert [len(part) for part in split.values()] == [50, 20]


def test_the_draw_never_changes():
    """Fixed numbers: any change here changes every published split."""
    assert split_random(20, {"a": 5, "b": 3}, seed=7)["a"].tolist() == GOLDEN_A
    assert split_random(20, {"a": 5, "b": 3}, seed=8)["a"].tolist() != GOLDEN_A
    groups = [i // 3 for i in range(30)]
    assert split_by_groups(groups, {"a": 21, "b": 9}, seed=7)["b"].tolist() == GOLDEN_B


GOLDEN_A = [3, 4, 6, 11, 12]
GOLDEN_B = [3, 4, 5, 15, 16, 17, 21, 22, 23]


def test_the_draw_is_uniform():
    """Each index is drawn in half of many seeds, to 4.5 standard errors."""
    draws = np.zeros(20)
    for seed in range(400):
        draws[split_random(20, {"a": 10}, seed=seed)["a"]] += 1
    assert np.all(np.abs(draws - 200) < 4.5 * np.sqrt(400 * 0.25))


@settings(deadline=None, max_examples=50, derandomize=True, database=None)
@given(st.lists(st.integers(0, 30), min_size=10, max_size=200), st.integers(0, 1000))
def test_groups_stay_whole(labels, seed):
    if len(set(labels)) < 3:
        with pytest.raises(DataError, match="at least as many groups"):
            split_by_groups(labels, THIRDS, seed=seed)
        return
    split = split_by_groups(labels, THIRDS, seed=seed)
    assert_disjoint(split, len(labels))
    assert sum(map(len, split.values())) == len(labels)
    owners = [{labels[i] for i in part} for part in split.values()]
    assert not any(a & b for i, a in enumerate(owners) for b in owners[:i])


def test_groups_meet_the_sizes_where_they_can():
    split = split_by_groups(["big"] * 90 + ["small"] * 10, {"test": 0.1, "train": 0.9})
    assert len(split["train"]) == 90
    labels = np.repeat(np.arange(100), 5).tolist()
    split = split_by_groups(labels, THIRDS, seed=3)
    assert [len(part) for part in split.values()] == [300, 100, 100]
    split = split_by_groups(labels, {"train": 250, "test": 50}, seed=3)
    assert [len(part) for part in split.values()] == [250, 50]


def test_compositions_stay_whole():
    structures = [
        Structure(species=species, positions=np.eye(3)[: len(species)])
        for species in ([1, 8, 1], [1, 1, 8], [6, 8], [8, 6], [7, 7])
    ]
    split = split_by_composition(structures, {"train": 3, "test": 2}, seed=0)
    formulas = [{structures[i].formula for i in part} for part in split.values()]
    assert formulas[0].isdisjoint(formulas[1])


def test_blocks_are_contiguous_and_gaps_separate_them():
    n, gap = 1000, 3
    split = split_by_blocks(n, {"train": 0.8, "test": 0.2}, n_blocks=10, gap=gap, seed=5)
    assert_disjoint(split, n)
    part = np.full(n, -1)
    part[split["train"]], part[split["test"]] = 0, 1
    train, test = split["train"], split["test"]
    assert np.abs(train[:, None] - test[None, :]).min() == 2 * gap + 1
    runs = 1 + np.count_nonzero(np.diff(part[part >= 0]))
    assert runs <= 5  # two blocks of ten are test
    assert len(test) >= 200 - 4 * gap
    assert len(split_by_blocks(n, {"train": 0.8, "test": 0.2}, n_blocks=10)["test"]) == 200


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({}, "all fractions or all counts"),
        ({"a": 0.5, "b": 3}, "all fractions or all counts"),
        ({"a": 0.7, "b": 0.7}, "at most 1 together"),
        ({"a": 7, "b": 7}, "at most 10 structures together"),
        ({"a": -0.1}, "positive"),
        ({"a": 0}, "positive"),
    ],
)
def test_impossible_sizes_are_refused(parts, message):
    with pytest.raises(ConfigError, match=message):
        split_random(10, parts)


def test_empty_parts_are_refused():
    with pytest.raises(DataError, match="'b' of 3 structures would be empty"):
        split_random(3, {"a": 0.95, "b": 0.05})
    with pytest.raises(ConfigError, match="n_blocks"):
        split_by_blocks(5, {"a": 0.5, "b": 0.5})
    with pytest.raises(DataError, match="is empty"):
        split_by_blocks(20, {"a": 0.5, "b": 0.5}, n_blocks=20, gap=2)


def write_index_files(folder):
    parts = {"train": [4, 0, 2], "test": [1, 3]}
    (folder / "split.json").write_text(json.dumps(parts))
    np.savez(folder / "split.npz", **{k: np.array(v) for k, v in parts.items()})
    (folder / "train.csv").write_text("# rMD17 style\n4\n0, 2\n")
    (folder / "test.json").write_text("[1, 3]")
    return [
        folder / "split.json",
        folder / "split.npz",
        {"train": folder / "train.csv", "test": folder / "test.json"},
    ]


@pytest.mark.parametrize("k", range(3))
def test_index_files_of_all_kinds(tmp_path, k):
    split = split_by_index_file(write_index_files(tmp_path)[k], 5)
    assert {name: part.tolist() for name, part in split.items()} == {
        "train": [0, 2, 4],
        "test": [1, 3],
    }


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"a": [0, 5]}', "index 5 of part 'a' must lie in 0..4"),
        ('{"a": [-1]}', "index -1"),
        ('{"a": [1], "b": [1]}', "index 1 stands in 'a' and again in 'b'"),
        ('{"a": [1, 1]}', "index 1 stands in 'a' and again in 'a'"),
        ('{"a": []}', "'a' is empty"),
        ('{"a": [0.5]}', "whole numbers"),
        ('{"a": [[0]]}', "one list of whole numbers"),
        ('{"a": "text"}', "one list of whole numbers|whole numbers"),
        ("[1, 2]", "must map names"),
        ("{", "not valid JSON"),
    ],
)
def test_bad_index_files_are_refused(tmp_path, content, message):
    path = tmp_path / "split.json"
    path.write_text(content)
    with pytest.raises(DataError, match=message):
        split_by_index_file(path, 5)


def test_bad_text_and_missing_files_are_refused(tmp_path):
    path = tmp_path / "train.txt"
    path.write_text("1 two")
    with pytest.raises(DataError, match="whole numbers"):
        split_by_index_file({"train": path}, 5)
    with pytest.raises(DataError, match=r"\.json or \.npz"):
        split_by_index_file(path, 5)
    for name in ("no.json", "no.npz"):
        with pytest.raises(DataError, match="cannot read"):
            split_by_index_file(tmp_path / name, 5)
    with pytest.raises(DataError, match="cannot read"):
        split_by_index_file({"train": tmp_path / "no.txt"}, 5)
