"""Frozen features on disk: shards are whole or absent, and processes fill a store together."""

import concurrent.futures
import errno
import itertools
import json
import os
import shutil
import threading
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from store_processes import only_store, output, start_process, wait_until

from data import feature_store, shard_store
from data.feature_store import FeatureStore, stores
from errors import UserError

INDICES = np.array([1, 2, 4, 5, 8, 9, 11, 20])
SHAPE = (2, 2, 3)
KEY = {"data": "flowers", "backbone": "vgg16/block1_conv1"}


@pytest.fixture(autouse=True)
def three_images_per_shard(monkeypatch):
    """Makes shards of three images with one view: the eight images fill three shards."""
    monkeypatch.setattr(feature_store, "SHARD_BYTES", 3 * 12 * 4)
    monkeypatch.setattr(feature_store, "EXTRACTION_BATCH", 1)


def feature(index: int, view: int = 0) -> np.ndarray:
    return np.random.default_rng([index, view]).normal(size=SHAPE).astype(np.float32)


class Extractor:
    """Computes features, two images at a time, and records their indices in `computed`."""

    def __init__(self, views: int = 1, fail_at: int | None = None):
        self.views, self.fail_at = views, fail_at
        self.computed: list[int] = []

    def __call__(self, indices):
        for start in range(0, len(indices), 2):
            batch = indices[start : start + 2]
            if self.fail_at in batch:
                raise KeyboardInterrupt
            self.computed += batch.tolist()
            yield np.stack([[feature(index, v) for v in range(self.views)] for index in batch])


def store_in(root: Path, views: int = 1, indices=INDICES, **key) -> FeatureStore:
    return FeatureStore(root, KEY | key, indices, SHAPE, "float32", views)


def shards(store: FeatureStore) -> list[Path]:
    return sorted(store.folder.glob("*.bin"))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def assert_nothing_unfinished(store: FeatureStore) -> None:
    names = {path.name for path in store.folder.iterdir()} - {"complete"}
    assert names == {"key.json", *(path.name for path in shards(store))}


def assert_holds_the_features(inputs) -> None:
    expected = [feature(index) for index in INDICES]
    np.testing.assert_array_equal(inputs.evaluation(INDICES), expected)


# One process


def test_features_are_computed_once_and_then_read(tmp_path):
    first, second = Extractor(), Extractor()
    assert_holds_the_features(store_in(tmp_path).open(first))
    assert_holds_the_features(store_in(tmp_path).open(second))
    assert first.computed == INDICES.tolist()
    assert second.computed == []


def test_a_complete_store_holds_its_shards_its_key_and_a_mark(tmp_path):
    store = store_in(tmp_path)
    store.open(Extractor())
    assert len(shards(store)) == 3
    assert_nothing_unfinished(store)
    assert store.complete
    assert json.loads((store.folder / "key.json").read_text()).items() >= KEY.items()


def test_images_are_read_in_any_order(tmp_path):
    inputs = store_in(tmp_path).open(Extractor())
    indices = np.array([20, 1, 20, 8])
    np.testing.assert_array_equal(inputs.evaluation(indices), [feature(index) for index in indices])


def test_mirrored_views_are_stored_too(tmp_path):
    inputs = store_in(tmp_path, views=2).open(Extractor(views=2))
    indices = np.array([5, 11])
    np.testing.assert_array_equal(
        inputs.evaluation(indices, mirrored=True), [feature(index, 1) for index in indices]
    )
    np.testing.assert_array_equal(
        inputs.evaluation(indices), [feature(index, 0) for index in indices]
    )


@pytest.mark.parametrize("change", [{"weights": "other"}, {"views": 2}, {"data": "birds"}])
def test_a_different_key_has_a_different_folder(tmp_path, change):
    assert store_in(tmp_path, **change).folder != store_in(tmp_path).folder


def test_the_order_of_a_key_does_not_change_the_folder(tmp_path):
    same = FeatureStore(tmp_path, dict(reversed(KEY.items())), INDICES, SHAPE, "float32", 1)
    assert same.folder == store_in(tmp_path).folder


@pytest.mark.parametrize("images_per_shard", [1, 2, 3, 5])
def test_a_shard_recomputed_alone_has_the_same_bytes(tmp_path, monkeypatch, images_per_shard):
    def extract(indices):  # as a backbone whose features depend on the whole batch
        for start in range(0, len(indices), 2):
            batch = indices[start : start + 2]
            yield np.full((len(batch), 1, *SHAPE), batch.sum())

    monkeypatch.setattr(feature_store, "EXTRACTION_BATCH", 2)
    monkeypatch.setattr(feature_store, "SHARD_BYTES", images_per_shard * 12 * 4)
    store = store_in(tmp_path)
    store.open(extract)
    whole = contents(store.folder)
    for shard in shards(store):
        shard.unlink()
        store_in(tmp_path).open(extract)
        assert contents(store.folder) == whole


def test_stores_of_earlier_versions_stay_valid(tmp_path):
    """Fails if the name of a folder or a shard changes."""
    store = store_in(tmp_path)
    store.open(Extractor())
    assert store.folder.name == "3b0e0038c7ba7307"
    assert [path.name for path in shards(store)] == [
        "00000-933c846e.bin",
        "00001-afb901d9.bin",
        "00002-17d6517f.bin",
    ]


# Interrupted or damaged


def test_an_interrupted_extraction_resumes_at_the_first_missing_shard(tmp_path):
    store = store_in(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        store.open(Extractor(fail_at=8))  # in the second shard
    assert len(shards(store)) == 1
    assert not (store.folder / "complete").exists()
    rest = Extractor()
    assert_holds_the_features(store_in(tmp_path).open(rest))
    assert rest.computed == INDICES[3:].tolist()


def test_only_a_deleted_shard_is_recomputed(tmp_path):
    store = store_in(tmp_path)
    store.open(Extractor())
    shards(store)[1].unlink()
    again = Extractor()
    assert_holds_the_features(store_in(tmp_path).open(again))
    assert again.computed == INDICES[3:6].tolist()


@pytest.mark.parametrize(
    "damage",
    [lambda whole: b"", lambda whole: whole[:90], lambda whole: whole[:-4], lambda whole: b"text"],
    ids=["emptied", "header cut", "end cut", "overwritten"],
)
def test_only_a_damaged_shard_is_recomputed(tmp_path, damage, caplog):
    store = store_in(tmp_path)
    store.open(Extractor())
    shard = shards(store)[1]
    shard.write_bytes(damage(shard.read_bytes()))
    again = Extractor()
    assert_holds_the_features(store_in(tmp_path).open(again))
    assert again.computed == INDICES[3:6].tolist()
    assert f"{shard} is damaged" in caplog.text


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(st.integers(0, 143), st.integers(1, 255))
def test_a_changed_byte_anywhere_in_a_shard_is_detected(tmp_path, place, difference):
    store = store_in(tmp_path)
    shutil.rmtree(store.folder, ignore_errors=True)  # of the previous example
    store.open(Extractor())
    damaged = bytearray(shards(store)[1].read_bytes())
    damaged[place] ^= difference
    shards(store)[1].write_bytes(damaged)
    assert_holds_the_features(store_in(tmp_path).open(Extractor()))


def test_the_unfinished_file_of_a_killed_process_is_deleted(tmp_path):
    store = store_in(tmp_path)
    store.open(Extractor())
    shards(store)[1].unlink()
    unfinished = store.folder / "unfinished-00001-1a2b3c4d.bin-tmp"
    unfinished.mkdir()
    (unfinished / "unfinished-00001-1a2b3c4d.bin").write_bytes(b"half")
    assert_holds_the_features(store_in(tmp_path).open(Extractor()))
    assert_nothing_unfinished(store)


# Several processes

EXTRACTING_PROCESS = """
    import sys, time
    from pathlib import Path
    import numpy as np
    from data.feature_store import FeatureStore

    root, log = Path(sys.argv[1]), Path(sys.argv[2])

    def extract(indices):
        with log.open("a") as file:
            file.write("extracting\\n")
        time.sleep(0.5)  # so that the other process starts meanwhile
        yield np.broadcast_to(indices[:, None, None, None, None], (len(indices), 1, 1, 1, 2))

    store = FeatureStore(root, {"data": "d"}, np.arange(4), (1, 1, 2), "float32", 1)
    assert store.open(extract).evaluation(np.array([3, 1]))[:, 0, 0, 0].tolist() == [3, 1]
"""


def test_one_of_two_processes_computes_a_shard_and_the_other_waits(tmp_path):
    log = tmp_path / "log"
    for process in [
        start_process(EXTRACTING_PROCESS, tmp_path / "features", log) for _ in range(2)
    ]:
        output(process)
    assert log.read_text().splitlines() == ["extracting"]


WORKER = """
    import logging, sys, time
    from pathlib import Path
    import numpy as np
    from data import feature_store

    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    root, log, hangs = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3] == "hangs"
    feature_store.SHARD_BYTES, feature_store.EXTRACTION_BATCH = 32, 2  # two images of 16 bytes

    def extract(indices):
        for index in indices:
            with log.open("a") as file:
                file.write(f"{index}\\n")
            time.sleep(1000 if hangs else 0.02)
            yield np.full((1, 1, 1, 1, 4), index)

    store = feature_store.FeatureStore(
        root, {"data": "d", "backbone": "b"}, np.arange(41), (1, 1, 4), "float32", 1
    )
    log.touch()
    while len(list(log.parent.glob("*.log"))) < int(sys.argv[4]):
        time.sleep(0.01)  # until the other workers have started
    inputs = store.open(extract)
    print("opened", flush=True)
    if len(sys.argv) > 5:
        sys.stdin.read()
    assert inputs.evaluation(np.arange(41))[:, 0, 0, 0].tolist() == list(range(41))
"""


def worker(folder: Path, name: str, how: str = "works", workers: int = 1, *more: str):
    folder.mkdir(exist_ok=True)
    return start_process(WORKER, folder / "features", folder / f"{name}.log", how, workers, *more)


def computed(folder: Path, name: str) -> list[int]:
    return [int(line) for line in (folder / f"{name}.log").read_text().split()]


@pytest.fixture(scope="module")
def filled_by_one(tmp_path_factory) -> dict[str, bytes]:
    """The files of a store that one worker fills alone: 21 shards."""
    folder = tmp_path_factory.mktemp("one")
    output(worker(folder, "alone"))
    assert computed(folder, "alone") == list(range(41))
    return contents(only_store(folder / "features"))


@pytest.mark.parametrize("workers", [2, 3])
def test_workers_share_one_extraction_and_compute_no_shard_twice(tmp_path, filled_by_one, workers):
    names = [f"worker{number}" for number in range(workers)]
    for process in [worker(tmp_path, name, "works", workers) for name in names]:
        output(process)
    shares = [computed(tmp_path, name) for name in names]
    assert min(len(share) for share in shares) >= 4
    assert sorted(itertools.chain(*shares)) == list(range(41))
    assert contents(only_store(tmp_path / "features")) == filled_by_one


def test_a_worker_waits_for_the_claims_of_another_and_takes_over_when_it_is_killed(
    tmp_path, filled_by_one
):
    hanging = worker(tmp_path, "hanging", "hangs", 1)
    wait_until(lambda: (tmp_path / "hanging.log").exists() and computed(tmp_path, "hanging"))
    living = worker(tmp_path, "living")
    assert living.stdout.readline().startswith("other processes are filling")
    assert computed(tmp_path, "living") == list(range(12, 41)) and living.poll() is None
    hanging.kill()
    hanging.communicate()
    assert output(living) == "opened\n"
    assert sorted(computed(tmp_path, "living")) == list(range(41))
    assert contents(only_store(tmp_path / "features")) == filled_by_one


def test_two_readers_check_a_complete_store_at_the_same_time(tmp_path, monkeypatch):
    store_in(tmp_path).open(Extractor())
    both, crc32 = threading.Barrier(2, timeout=30), zlib.crc32

    def crc32_together(data, *start):
        both.wait()  # fails if one reader waits for the other
        return crc32(data, *start)

    monkeypatch.setattr(zlib, "crc32", crc32_together)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        for _ in pool.map(lambda _: store_in(tmp_path).open(Extractor()), range(2)):
            pass


# No room


def disk_with(free: int):
    return lambda path: shutil._ntuple_diskusage(2**40, 2**40 - free, free)


def test_without_room_nothing_is_computed_and_the_error_names_remedies(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", disk_with(shard_store.SPARE_BYTES + 100))
    extractor = Extractor()
    with pytest.raises(UserError) as caught:
        store_in(tmp_path).open(extractor)
    assert extractor.computed == []
    assert str(tmp_path) in str(caught.value)
    for remedy in ("trainer.feature_dir", "feature_store prune", "trainer.feature_store=false"):
        assert remedy in str(caught.value)


def test_only_missing_shards_need_room(tmp_path, monkeypatch):
    store = store_in(tmp_path)
    store.open(Extractor())
    shards(store)[2].unlink()
    monkeypatch.setattr(shutil, "disk_usage", disk_with(shard_store.SPARE_BYTES + 150))
    assert_holds_the_features(store_in(tmp_path).open(Extractor()))


def test_a_complete_store_needs_no_room(tmp_path, monkeypatch):
    store_in(tmp_path).open(Extractor())
    monkeypatch.setattr(shutil, "disk_usage", disk_with(0))
    assert_holds_the_features(store_in(tmp_path).open(Extractor()))


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.ENOLCK])
def test_a_complete_store_is_read_where_nothing_can_be_written(tmp_path, monkeypatch, number):
    def cannot_be_locked(path):
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(shard_store, "locked", cannot_be_locked)
        with pytest.raises(UserError, match=os.strerror(number)):
            store_in(tmp_path).open(Extractor())  # nothing is stored yet
    store_in(tmp_path).open(Extractor())
    before = contents(store_in(tmp_path).folder)
    with monkeypatch.context() as patch:
        patch.setattr(shard_store, "locked", cannot_be_locked)
        assert_holds_the_features(store_in(tmp_path).open(Extractor()))
        assert contents(store_in(tmp_path).folder) == before
        shards(store_in(tmp_path))[0].unlink()
        with pytest.raises(UserError, match=os.strerror(number)):
            store_in(tmp_path).open(Extractor())


def test_a_failing_disk_leaves_whole_shards_and_the_next_run_resumes(tmp_path, monkeypatch):
    store, written = store_in(tmp_path), []

    def fill_the_disk(file):
        written.append(file)
        if len(written) == 3:  # after key.json and the first shard
            raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fill_the_disk)
        with pytest.raises(UserError, match=r"writing failed \(No space left on device\)"):
            store.open(Extractor())
    assert len(shards(store)) == 1
    assert_nothing_unfinished(store)
    rest = Extractor()
    assert_holds_the_features(store_in(tmp_path).open(rest))
    assert rest.computed == INDICES[3:].tolist()


# The command


@pytest.fixture
def two_stores(tmp_path):
    """A complete store of flowers and an unfinished one of birds."""
    complete, unfinished = store_in(tmp_path), store_in(tmp_path, data="birds")
    complete.open(Extractor())
    with pytest.raises(KeyboardInterrupt):
        unfinished.open(Extractor(fail_at=8))
    return complete, unfinished


def test_stores_returns_key_size_and_state(tmp_path, two_stores):
    by_data = {key["data"]: (folder, size, done) for folder, key, size, done in stores(tmp_path)}
    assert by_data["flowers"][0] == two_stores[0].folder
    assert by_data["flowers"][1] > 8 * 12 * 4
    assert (by_data["flowers"][2], by_data["birds"][2]) == (True, False)


def test_list_prints_a_line_per_store_and_deletes_none(tmp_path, two_stores, capsys):
    feature_store.main(["list", "--root", str(tmp_path)])
    lines = sorted(capsys.readouterr().out.splitlines())
    assert any("complete" in line and "flowers  vgg16/block1_conv1" in line for line in lines)
    assert any("unfinished" in line and "birds" in line for line in lines)
    assert len(stores(tmp_path)) == 2


def test_prune_deletes_the_named_stores(tmp_path, two_stores, capsys):
    feature_store.main(["prune", two_stores[1].folder.name, "--root", str(tmp_path)])
    assert [key["data"] for _, key, _, _ in stores(tmp_path)] == ["flowers"]
    assert "freed" in capsys.readouterr().out


def test_prune_without_names_deletes_every_store(tmp_path, two_stores):
    feature_store.main(["prune", "--root", str(tmp_path)])
    assert list(tmp_path.iterdir()) == []


def test_prune_keeps_a_store_while_a_run_reads_it(tmp_path, capsys):
    reading = worker(tmp_path, "reading", "works", 1, "waits")
    assert reading.stdout.readline() == "opened\n"
    feature_store.main(["prune", "--root", str(tmp_path / "features")])
    assert "in use: kept" in capsys.readouterr().out
    output(reading)  # closes its standard input: it reads the features and ends
    feature_store.main(["prune", "--root", str(tmp_path / "features")])
    assert list((tmp_path / "features").iterdir()) == []


def test_prune_keeps_a_store_while_a_run_fills_it(tmp_path, capsys):
    filling = worker(tmp_path, "filling", "hangs")
    wait_until(lambda: (tmp_path / "filling.log").exists() and computed(tmp_path, "filling"))
    feature_store.main(["prune", "--root", str(tmp_path / "features")])
    assert "in use: kept" in capsys.readouterr().out
    filling.kill()
    filling.communicate()
    feature_store.main(["prune", "--root", str(tmp_path / "features")])
    assert "freed" in capsys.readouterr().out
    assert list((tmp_path / "features").iterdir()) == []
