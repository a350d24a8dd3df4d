import json
import tracemalloc

import numpy as np
import pytest

from jmlip.core.errors import DataError
from jmlip.core.structure import Structure
from jmlip.data import StructureStore, Subset, data_hash, is_store, read, write_store

_LABELS = ("energy", "forces", "stress", "atomic_energies", "velocities")


def make(seed: int) -> Structure:
    """Structures of different sizes, each with a different choice of labels."""
    rng = np.random.default_rng(seed)
    n = 1 + seed % 5
    values = {
        "energy": rng.normal(),
        "forces": rng.normal(size=(n, 3)),
        "stress": rng.normal(size=(3, 3)),
        "atomic_energies": rng.normal(size=n),
        "velocities": rng.normal(size=(n, 3)),
    }
    labels = {name: values[name] for k, name in enumerate(_LABELS) if (seed >> k) & 1}
    return Structure(
        species=rng.integers(1, 119, n),
        positions=rng.normal(size=(n, 3)),
        cell=rng.normal(size=(3, 3)) + 5 * np.eye(3),
        pbc=rng.integers(0, 2, 3).astype(bool),
        info={"name": f"ü{seed}", "dipole": rng.normal(size=3), "skip": object()} if n > 2 else {},
        **labels,
    )


STRUCTURES = [make(seed) for seed in range(40)]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return write_store(iter(STRUCTURES), tmp_path_factory.mktemp("stores") / "set")


def test_structures_come_back_bit_for_bit(store):
    assert len(store) == len(STRUCTURES)
    assert store.data_hash == data_hash(STRUCTURES) == data_hash(store)
    for new, old in zip(store, STRUCTURES, strict=True):
        for name in _LABELS:
            np.testing.assert_array_equal(getattr(new, name), getattr(old, name))
        if old.info:
            assert new.info["name"] == old.info["name"]
            np.testing.assert_array_equal(new.info["dipole"], old.info["dipole"])
            assert "skip" not in new.info
        else:
            assert new.info == {}
    np.testing.assert_array_equal(store.n_atoms, [s.n_atoms for s in STRUCTURES])
    assert store.species == tuple(sorted({z for s in STRUCTURES for z in s.species.tolist()}))


def test_slices_chunks_and_subsets_agree_with_a_list(store):
    assert data_hash(store[3:17:2]) == data_hash(STRUCTURES[3:17:2])
    assert data_hash(store[3:17:2][1:3]) == data_hash(STRUCTURES[3:17:2][1:3])
    assert data_hash([store[-2]]) == data_hash([STRUCTURES[-2]])
    chunks = list(store.chunks(7))
    assert [len(chunk) for chunk in chunks] == [7] * 5 + [5]
    assert data_hash(s for chunk in chunks for s in chunk) == store.data_hash
    chosen = Subset(store, np.array([5, 1, 5]))
    assert data_hash(chosen) == data_hash([STRUCTURES[i] for i in (5, 1, 5)])
    with pytest.raises(IndexError):
        store[40]
    with pytest.raises(DataError, match=r"0\.\.39, found -1\.\.3"):
        Subset(store, [3, -1])


def test_read_opens_a_store(store):
    assert data_hash(read(store.path)) == store.data_hash
    assert data_hash(read(store.path, index=slice(-4, None))) == data_hash(STRUCTURES[-4:])


def test_labels_that_no_structure_has_take_no_room(tmp_path):
    write_store([s.replace(stress=None, velocities=None) for s in STRUCTURES], tmp_path / "set")
    sizes = {path.name: path.stat().st_size for path in (tmp_path / "set").iterdir()}
    assert sizes["stress.npy"] == sizes["velocities.npy"] < 200
    assert sizes["forces.npy"] > 1000


def test_arrays_open_with_numpy_alone(store):
    positions = np.load(store.path / "positions.npy")
    np.testing.assert_array_equal(positions, np.concatenate([s.positions for s in STRUCTURES]))


def test_memory_is_bounded_in_writing_and_reading(tmp_path):
    """160 structures of 0.24 MB each pass through a few of them."""
    big = Structure(species=np.ones(5000, int), positions=np.ones((5000, 3)))
    nbytes = big.positions.nbytes + big.species.nbytes
    tracemalloc.start()
    store = write_store((big.replace(energy=float(k)) for k in range(160)), tmp_path / "big")
    assert sum(s.energy for s in store) == 160 * 159 / 2
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20 * nbytes


def test_a_failed_write_leaves_the_old_store(tmp_path, store):
    path = tmp_path / "set"
    write_store(STRUCTURES[:2], path)

    def failing():
        yield STRUCTURES[0]
        raise DataError("file x, frame 1: bad.")

    with pytest.raises(DataError, match="frame 1"):
        write_store(failing(), path)
    with pytest.raises(DataError, match="at least one structure"):
        write_store([], path)
    assert len(StructureStore(path)) == 2
    assert [p.name for p in tmp_path.iterdir()] == ["set"]


def test_only_stores_are_replaced(tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis/chapter1.txt").write_text("years of work")
    with pytest.raises(DataError, match="exists and is no store"):
        write_store(STRUCTURES, tmp_path / "thesis")
    assert (tmp_path / "thesis/chapter1.txt").exists()
    assert not is_store(tmp_path / "thesis")
    write_store(STRUCTURES, tmp_path / "set")
    assert len(write_store(StructureStore(tmp_path / "set")[:3], tmp_path / "set")) == 3


def shorten(path):
    path.write_bytes(path.read_bytes()[:-8])


def edit_header(path, **changes):
    header = json.loads(path.read_text())
    path.write_text(json.dumps({**header, **changes}))


DAMAGE = {
    "short array": (lambda p: shorten(p / "positions.npy"), r"damaged \(positions\.npy\)"),
    "short index": (lambda p: shorten(p / "first_atom.npy"), r"damaged \(first_atom\.npy\)"),
    "short info": (lambda p: shorten(p / "info.jsonl"), "damaged"),
    "no array": (lambda p: (p / "energy.npy").unlink(), r"damaged \(energy\.npy\)"),
    "no info": (lambda p: (p / "info.jsonl").unlink(), "damaged"),
    "no header": (lambda p: (p / "header.json").unlink(), "no store"),
    "short header": (lambda p: shorten(p / "header.json"), "not valid JSON"),
    "wrong count": (lambda p: edit_header(p / "header.json", n_structures=3), "damaged"),
    "wrong kind": (lambda p: edit_header(p / "header.json", arrays=7), "damaged"),
    "version": (lambda p: edit_header(p / "header.json", version=99), "version 99"),
    "swapped": (lambda p: (p / "cell.npy").rename(p / "positions.npy"), "damaged"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_found_on_opening(tmp_path, name):
    damage, message = DAMAGE[name]
    write_store(STRUCTURES, tmp_path / "set")
    damage(tmp_path / "set")
    with pytest.raises(DataError, match=message):
        StructureStore(tmp_path / "set")


def test_hash_sees_what_training_sees():
    base = STRUCTURES[31].replace(info={}, velocities=None)
    hashes = {
        data_hash([changed])
        for changed in (
            base,
            base.replace(positions=base.positions + 1e-12),
            base.replace(energy=base.energy + 1e-12),
            base.replace(energy=None),
            base.replace(forces=None),
            base.replace(stress=None),
            base.replace(pbc=~base.pbc),
            base.replace(cell=base.cell * 2),
        )
    }
    assert len(hashes) == 8
    assert data_hash([base]) == data_hash([base.replace(info={"a": 1}, velocities=base.forces)])
    zero = Structure(species=[1], positions=[[0.0, 0.0, 0.0]])
    assert data_hash([zero]) == data_hash([zero.replace(positions=[[-0.0, 0.0, 0.0]])])
    assert data_hash([base, zero]) != data_hash([zero, base])
