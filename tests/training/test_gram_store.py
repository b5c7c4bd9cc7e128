"""Inner products on disk: exact, whole or absent, filled by several processes, in little memory."""

import errno
import json
import os
import shutil
import subprocess
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from store_processes import only_store, output, start_process, wait_until

from data import feature_store, shard_store
from data.shard_store import stores
from errors import UserError
from training import gram_store
from training.gram_store import GramStore

KEY = {"data": "flowers", "backbone": "vgg16/block1_conv1", "descriptor": ["second_order"]}
COUNT, SIZE = 150, 300  # three shards, the last one of 22 samples
ROUNDING = 1e-6  # of float32 products of unit vectors; they have errors up to 6e-7


def unit_vectors(count: int, size: int, seed: int = 0) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(0.1, 1, (count, size))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


VECTORS = unit_vectors(COUNT, SIZE)


class Describer:
    """Returns descriptors, and records which samples it was asked for.

    It is interrupted when it has returned `most` batches.
    """

    def __init__(self, vectors: np.ndarray = VECTORS, most: int | None = None):
        self.vectors, self.most = vectors, most
        self.batches: list[np.ndarray] = []

    def __call__(self, samples: np.ndarray) -> np.ndarray:
        if len(self.batches) == self.most:
            raise KeyboardInterrupt
        self.batches.append(samples)
        return self.vectors[samples]

    @property
    def described(self) -> list[int]:
        """Every sample that was described, in order; twice, if it was described twice."""
        return [int(sample) for batch in self.batches for sample in batch]


def never(samples: np.ndarray) -> np.ndarray:
    raise AssertionError("everything is stored")


def shards_in_memory(number: float, size: int = SIZE) -> float:
    """The bytes of this number of shards of `size` dimensions."""
    return number * gram_store.SHARD_SAMPLES * size * 4


def store_in(root: Path, shards: float = 100, count: int = COUNT, size: int = SIZE, **key):
    budget = shards_in_memory(shards, size) + gram_store.DESCRIBED_BYTES
    return GramStore(root, KEY | key, count, size, "float32", budget)


def files(store: GramStore) -> list[Path]:
    return sorted(store.folder.glob("*.bin"))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def exact(vectors: np.ndarray) -> np.ndarray:
    return vectors.astype(np.float64) @ vectors.astype(np.float64).T


def assert_holds_the_products(matrix: np.ndarray, vectors: np.ndarray = VECTORS) -> None:
    np.testing.assert_allclose(matrix, exact(vectors), rtol=0, atol=ROUNDING)


# The products


@pytest.mark.parametrize("count", [1, 2, 63, 64, 65, 200])
@pytest.mark.parametrize("size", [1, 300, gram_store.COLUMNS + 7])
def test_the_matrix_is_that_of_float64_but_for_rounding(tmp_path, count, size):
    vectors = unit_vectors(count, size)
    matrix = store_in(tmp_path, count=count, size=size).open(Describer(vectors))
    assert matrix.dtype == np.float32 and matrix.shape == (count, count)
    assert_holds_the_products(matrix, vectors)
    np.testing.assert_array_equal(matrix, matrix.T)
    np.testing.assert_array_equal(store_in(tmp_path, count=count, size=size).open(never), matrix)


def test_products_of_float64_descriptors_are_float64(tmp_path):
    vectors = np.random.default_rng(0).normal(size=(70, 40))
    matrix = GramStore(tmp_path, KEY, 70, 40, "float64", 1e6).open(Describer(vectors))
    np.testing.assert_allclose(matrix, vectors @ vectors.T, rtol=0, atol=1e-12)


@settings(max_examples=30)
@given(
    count=st.integers(1, 200), size=st.integers(1, 400), shards=st.floats(0, 6), seed=st.integers(0)
)
def test_any_number_of_samples_dimensions_and_bytes(tmp_path_factory, count, size, shards, seed):
    vectors = unit_vectors(count, size, seed)
    store = store_in(tmp_path_factory.mktemp("any"), shards, count, size)
    assert_holds_the_products(store.open(Describer(vectors)), vectors)


@pytest.mark.parametrize("shards", [0, 1, 2, 2.9, 3, 100])
def test_more_memory_changes_products_by_rounding_only(tmp_path, shards):
    """The last bits may differ: BLAS adds in another order where it multiplies other shapes."""
    assert_holds_the_products(store_in(tmp_path, shards).open(Describer()))


@pytest.mark.parametrize("shards", [0, 3, 100])
def test_with_the_same_memory_one_process_stores_the_same_bytes(tmp_path, shards):
    first, second = (store_in(tmp_path / name, shards) for name in ("first", "second"))
    for store in (first, second):
        store.open(Describer())
    assert contents(first.folder) == contents(second.folder)


def test_a_descriptor_that_is_not_finite_harms_its_own_products_only(tmp_path):
    vectors = VECTORS.copy()
    vectors[70, 5] = np.nan
    matrix = store_in(tmp_path).open(Describer(vectors))
    others = np.delete(np.arange(COUNT), 70)
    assert np.isnan(matrix[70]).all() and np.isnan(matrix[:, 70]).all()
    assert_holds_the_products(matrix[np.ix_(others, others)], VECTORS[others])


# On disk


def test_the_upper_half_of_the_matrix_is_on_disk(tmp_path):
    store = store_in(tmp_path)
    store.open(Describer())
    assert [path.stat().st_size for path in files(store)] == [
        4 * 64 * 150,  # samples 0 to 63 with all
        4 * 64 * 86,  # 64 to 127 with those from 64
        4 * 22 * 22,
    ]
    names = {path.name for path in store.folder.iterdir()}
    assert names == {"complete", "key.json", *(path.name for path in files(store))}
    stored = json.loads((store.folder / "key.json").read_text())
    assert stored.items() >= KEY.items() and stored["content"] == "inner products"


@pytest.mark.parametrize(
    "change", [{"weights": "other"}, {"descriptor": ["average"]}, {"count": 151}, {"size": 301}]
)
def test_other_descriptors_have_a_store_of_their_own(tmp_path, change):
    assert store_in(tmp_path, **change).folder != store_in(tmp_path).folder


def test_the_budget_does_not_change_the_store(tmp_path):
    assert store_in(tmp_path, 0).folder == store_in(tmp_path, 9).folder


@pytest.mark.parametrize("damage", [lambda whole: whole[:-4], lambda whole: b"text"])
def test_a_damaged_shard_is_computed_again(tmp_path, damage, caplog):
    store = store_in(tmp_path)
    matrix = store.open(Describer())
    shard = files(store)[1]
    shard.write_bytes(damage(shard.read_bytes()))
    again = Describer()
    np.testing.assert_allclose(store_in(tmp_path).open(again), matrix, rtol=0, atol=ROUNDING)
    assert again.described == list(range(64, 150))  # its samples, and those after them
    assert f"{shard} is damaged" in caplog.text


def test_computed_again_one_at_a_time_a_shard_has_the_same_bytes(tmp_path):
    store = store_in(tmp_path, shards=0)
    store.open(Describer())
    whole = contents(store.folder)
    for shard in files(store):
        shard.unlink()
        store_in(tmp_path, shards=0).open(Describer())
        assert contents(store.folder) == whole


@pytest.mark.parametrize("missing", [[0], [9], [2, 5], [0, 1, 2, 3, 4, 8], list(range(10))])
@pytest.mark.parametrize("shards", [0, 4, 100])
def test_any_shards_may_be_missing(tmp_path, missing, shards):
    vectors = unit_vectors(600, 70)
    store = store_in(tmp_path, 0, *vectors.shape)
    store.open(Describer(vectors))
    stored = files(store)
    whole = {path: path.read_bytes() for path in stored}
    for shard in missing:
        stored[shard].unlink()
    matrix = store_in(tmp_path, shards, *vectors.shape).open(Describer(vectors))
    assert_holds_the_products(matrix, vectors)
    kept = [path for number, path in enumerate(stored) if number not in missing]
    assert all(path.read_bytes() == whole[path] for path in kept)


def test_interrupted_it_goes_on_after_the_last_shard(tmp_path):
    store = store_in(tmp_path, shards=0)
    with pytest.raises(KeyboardInterrupt):
        store.open(Describer(most=7))  # five for the first shard
    assert len(files(store)) == 1 and not store.complete
    rest = Describer()
    assert_holds_the_products(store_in(tmp_path, shards=0).open(rest))
    assert min(rest.described) == 64


# Memory


@pytest.mark.parametrize(("shards", "passes"), [(0, 3), (2, 3), (3, 2), (100, 1)])
def test_more_memory_means_fewer_passes_over_the_samples(tmp_path, shards, passes):
    describe = Describer()
    store_in(tmp_path, shards).open(describe)
    assert describe.described.count(149) == passes
    assert describe.described.count(0) == 1


def test_a_sample_is_always_in_the_same_batch(tmp_path):
    """The last bits of a descriptor may depend on the other samples of its batch."""
    compositions = set()
    for shards in (0, 3, 100):
        describe = Describer()
        store_in(tmp_path / str(shards), shards).open(describe)
        compositions |= {tuple(batch) for batch in describe.batches}
    assert sum(map(len, compositions)) == COUNT


@pytest.mark.parametrize(("size", "most"), [(300, 32), (2**20, 4), (2**24, 1), (2**26, 1)])
def test_few_large_descriptors_are_computed_at_a_time(size, most):
    assert gram_store.batch_samples(size) == most


@pytest.mark.parametrize("shards", [2, 4, 8])
def test_descriptors_take_no_more_memory_than_allowed(tmp_path, monkeypatch, shards):
    count, size = 600, 6000
    monkeypatch.setattr(gram_store, "DESCRIBED_BYTES", 32 * 4 * size)  # a batch
    store = store_in(tmp_path, shards, count, size)
    vector = np.ones(size, np.float32)

    def describe(samples: np.ndarray) -> np.ndarray:
        return np.broadcast_to(vector, (len(samples), size))

    tracemalloc.start()
    try:
        store.open(describe)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    matrix = 2 * 4 * count**2  # the products that are stored, and the matrix itself
    budget = shards_in_memory(shards, size) + gram_store.DESCRIBED_BYTES
    assert 0.8 * budget < peak < budget + matrix


# No room


def test_without_room_nothing_is_described_and_the_error_is_one_line(tmp_path, monkeypatch):
    free = shard_store.SPARE_BYTES + 1000
    monkeypatch.setattr(
        shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(2**40, 2**40 - free, free)
    )
    with pytest.raises(UserError, match=r"the inner products need 0\.00 GiB in") as caught:
        store_in(tmp_path).open(never)
    assert "trainer.feature_dir" in str(caught.value) and "\n" not in str(caught.value)


def test_a_disk_that_fills_up_is_one_line_and_the_next_run_goes_on(tmp_path, monkeypatch):
    written = []

    def fill_the_disk(file):
        written.append(file)
        if len(written) == 3:  # after key.json and the first shard
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    store = store_in(tmp_path, shards=0)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fill_the_disk)
        with pytest.raises(UserError, match=r"writing failed \(No space left on device\)"):
            store.open(Describer())
    assert len(files(store)) == 1
    rest = Describer()
    assert_holds_the_products(store_in(tmp_path, shards=0).open(rest))
    assert min(rest.described) == 64


# The command


@pytest.fixture
def two_stores(tmp_path) -> tuple[Path, Path]:
    """The folders of a store of features, and of one of the inner products of their descriptors."""
    features = feature_store.FeatureStore(tmp_path, KEY, np.arange(2), (1, 1, 2), "float32", 1)
    features.open(lambda indices: iter([np.zeros((len(indices), 1, 1, 1, 2))]))
    products = store_in(tmp_path)
    products.open(Describer())
    return features.folder, products.folder


def test_list_says_which_store_holds_inner_products(tmp_path, two_stores, capsys):
    feature_store.main(["list", "--root", str(tmp_path)])
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    features, products = (lines[folder.name] for folder in two_stores)
    assert "features" in features and "inner products" not in features
    assert "complete" in products and "inner products" in products
    assert "flowers  vgg16/block1_conv1" in products


def test_prune_frees_inner_products_too(tmp_path, two_stores, capsys):
    features, products = two_stores
    sizes = {folder: size for folder, _, size, _ in stores(tmp_path)}
    assert sizes[products] > 4 * (64 * 150 + 64 * 86 + 22 * 22)
    feature_store.main(["prune", products.name, "--root", str(tmp_path)])
    assert f"{sizes[products] / 2**30:.2f} GiB freed in" in capsys.readouterr().out
    assert [folder for folder, *_ in stores(tmp_path)] == [features]


# Several processes

WORKER = """
    import logging, sys, time
    from pathlib import Path
    import numpy as np
    from training import gram_store

    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    root, log, how = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    gram_store.SHARD_SAMPLES = 32
    vectors = np.load(sys.argv[5])

    def describe(samples):
        with log.open("a") as file:
            file.write(f"{samples[0]}\\n")
        time.sleep(1000 if how == "hangs" else 0.01)
        return vectors[samples]

    log.touch()
    while len(list(log.parent.glob("*.log"))) < int(sys.argv[4]):
        time.sleep(0.01)  # until the other workers have started
    key = {"data": "d", "backbone": "b"}
    matrix = gram_store.GramStore(root, key, *vectors.shape, "float32", 0).open(describe)
    print("opened", flush=True)
    np.save(log.with_suffix(".npy"), matrix)
"""
SHARED = unit_vectors(300, 80)  # ten shards of 32 samples


def worker(folder: Path, name: str, how: str = "works", workers: int = 1) -> subprocess.Popen:
    folder.mkdir(exist_ok=True)
    if not (folder / "vectors.npy").exists():
        np.save(folder / "vectors.npy", SHARED)
    arguments = (folder / "stored", folder / f"{name}.log", how, workers, folder / "vectors.npy")
    return start_process(WORKER, *arguments)


def described(folder: Path, name: str) -> list[int]:
    """The first samples of the batches that a worker described."""
    log = folder / f"{name}.log"
    return [int(line) for line in log.read_text().split()] if log.exists() else []


@pytest.fixture(scope="module")
def filled_by_one(tmp_path_factory) -> dict[str, bytes]:
    """The files of a store that one worker fills alone, a shard at a time."""
    folder = tmp_path_factory.mktemp("one")
    output(worker(folder, "alone"))
    assert len(described(folder, "alone")) == 10 * 11 / 2  # each shard, and all after it
    return contents(only_store(folder / "stored"))


def test_workers_share_the_shards_and_compute_none_twice(tmp_path, filled_by_one):
    names = ["first", "second"]
    for process in [worker(tmp_path, name, "works", 2) for name in names]:
        output(process)
    shares = [described(tmp_path, name) for name in names]
    assert min(map(len, shares)) > 0 and sum(map(len, shares)) == 55
    assert contents(only_store(tmp_path / "stored")) == filled_by_one
    for name in names:
        assert_holds_the_products(np.load(tmp_path / f"{name}.npy"), SHARED)


def test_another_worker_takes_over_the_claims_of_a_killed_one(tmp_path, filled_by_one):
    hanging = worker(tmp_path, "hanging", "hangs")
    wait_until(lambda: described(tmp_path, "hanging"))
    living = worker(tmp_path, "living")
    assert living.stdout.readline().startswith("other processes are filling")
    assert len(described(tmp_path, "living")) == 45 and living.poll() is None  # all but the first
    hanging.kill()
    hanging.communicate()
    assert output(living) == "opened\n"
    assert len(described(tmp_path, "living")) == 55
    assert contents(only_store(tmp_path / "stored")) == filled_by_one
