"""Frozen features on disk: complete or absent, whatever happens in between."""

import json
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data import feature_store
from data.feature_store import FeatureStore, stores
from errors import UserError

ROWS = np.array([1, 2, 4, 5, 8, 9, 11, 20])
SHAPE = (2, 2, 3)
KEY = {"data": "flowers", "backbone": "vgg16/block1_conv1"}


@pytest.fixture(autouse=True)
def three_rows_a_shard(monkeypatch):
    """Shards of three pictures with one view, so that the eight rows fill three shards."""
    monkeypatch.setattr(feature_store, "SHARD_BYTES", 3 * 12 * 4)


def feature(row: int, view: int = 0) -> np.ndarray:
    return np.random.default_rng([row, view]).normal(size=SHAPE).astype(np.float32)


class Extractor:
    """Computes features two pictures at a time, and remembers for which rows."""

    def __init__(self, views: int = 1, fail_at: int | None = None):
        self.views, self.fail_at, self.asked = views, fail_at, []

    def __call__(self, rows):
        for start in range(0, len(rows), 2):
            part = rows[start : start + 2]
            if self.fail_at in part:
                raise KeyboardInterrupt
            self.asked += part.tolist()
            yield np.stack([[feature(row, v) for v in range(self.views)] for row in part])


def store_in(root: Path, views: int = 1, rows=ROWS, **key) -> FeatureStore:
    return FeatureStore(root, KEY | key, rows, SHAPE, "float32", views)


def shards(store: FeatureStore) -> list[Path]:
    return sorted(store.folder.glob("*.bin"))


def assert_holds_the_features(inputs) -> None:
    expected = [feature(row) for row in ROWS]
    np.testing.assert_array_equal(inputs.evaluation(ROWS), expected)


# Complete or absent


def test_features_are_computed_once_and_read_from_then_on(tmp_path):
    first, second = Extractor(), Extractor()
    assert_holds_the_features(store_in(tmp_path).open(first))
    assert_holds_the_features(store_in(tmp_path).open(second))
    assert first.asked == ROWS.tolist()
    assert second.asked == []


def test_a_store_is_marked_complete_and_leaves_nothing_unfinished(tmp_path):
    store = store_in(tmp_path)
    store.open(Extractor())
    assert len(shards(store)) == 3
    assert {path.name for path in store.folder.iterdir()} == {
        "complete", "key.json", *(path.name for path in shards(store)),
    }
    assert json.loads((store.folder / "key.json").read_text()).items() >= KEY.items()


def test_rows_are_read_in_any_order(tmp_path):
    inputs = store_in(tmp_path).open(Extractor())
    rows = np.array([20, 1, 20, 8])
    np.testing.assert_array_equal(inputs.evaluation(rows), [feature(row) for row in rows])


def test_mirrored_views_are_stored_beside_the_plain_ones(tmp_path):
    inputs = store_in(tmp_path, views=2).open(Extractor(views=2))
    rows = np.array([5, 11])
    np.testing.assert_array_equal(
        inputs.evaluation(rows, mirrored=True), [feature(row, 1) for row in rows]
    )
    np.testing.assert_array_equal(inputs.evaluation(rows), [feature(row, 0) for row in rows])


@pytest.mark.parametrize("change", [{"weights": "other"}, {"views": 2}, {"data": "birds"}])
def test_another_key_has_another_folder(tmp_path, change):
    assert store_in(tmp_path, **change).folder != store_in(tmp_path).folder


def test_the_same_key_has_the_same_folder_in_any_order(tmp_path):
    same = FeatureStore(tmp_path, dict(reversed(KEY.items())), ROWS, SHAPE, "float32", 1)
    assert same.folder == store_in(tmp_path).folder


# Interrupted, damaged


def test_an_interrupted_extraction_goes_on_at_the_first_missing_shard(tmp_path):
    store = store_in(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        store.open(Extractor(fail_at=8))  # in the second shard
    assert len(shards(store)) == 1
    assert not (store.folder / "complete").exists()
    rest = Extractor()
    assert_holds_the_features(store_in(tmp_path).open(rest))
    assert rest.asked == ROWS[3:].tolist()


def test_a_shard_that_went_away_is_made_again_alone(tmp_path):
    store = store_in(tmp_path)
    store.open(Extractor())
    shards(store)[1].unlink()
    again = Extractor()
    assert_holds_the_features(store_in(tmp_path).open(again))
    assert again.asked == ROWS[3:6].tolist()


@pytest.mark.parametrize(
    "damage",
    [lambda whole: b"", lambda whole: whole[:90], lambda whole: whole[:-4], lambda whole: b"text"],
    ids=["emptied", "header cut", "end cut", "overwritten"],
)
def test_a_shard_that_ends_early_is_noticed_and_made_again_alone(tmp_path, damage, capsys):
    store = store_in(tmp_path)
    store.open(Extractor())
    shard = shards(store)[1]
    shard.write_bytes(damage(shard.read_bytes()))
    again = Extractor()
    assert_holds_the_features(store_in(tmp_path).open(again))
    assert again.asked == ROWS[3:6].tolist()
    assert f"{shard} is damaged" in capsys.readouterr().out


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(st.integers(0, 143), st.integers(1, 255))
def test_a_changed_byte_anywhere_in_a_shard_is_noticed(tmp_path, place, difference):
    store = store_in(tmp_path)
    shutil.rmtree(store.folder, ignore_errors=True)  # what the example before this one left
    store.open(Extractor())
    damaged = bytearray(shards(store)[1].read_bytes())
    damaged[place] ^= difference
    shards(store)[1].write_bytes(damaged)
    assert_holds_the_features(store_in(tmp_path).open(Extractor()))


# Several jobs at once

EXTRACTING_JOB = """
    import sys, time
    from pathlib import Path
    import numpy as np
    from data.feature_store import FeatureStore

    root, log = Path(sys.argv[1]), Path(sys.argv[2])

    def features_of(rows):
        with log.open("a") as file:
            file.write("extracting\\n")
        time.sleep(0.5)  # so that the other job arrives meanwhile
        yield np.broadcast_to(rows[:, None, None, None, None], (len(rows), 1, 1, 1, 2))

    store = FeatureStore(root, {"data": "d"}, np.arange(4), (1, 1, 2), "float32", 1)
    assert store.open(features_of).evaluation(np.array([3, 1]))[:, 0, 0, 0].tolist() == [3, 1]
"""


def test_of_two_jobs_at_once_one_extracts_and_the_other_waits(tmp_path):
    log = tmp_path / "log"
    command = [sys.executable, "-c", textwrap.dedent(EXTRACTING_JOB), tmp_path / "features", log]
    project = Path(feature_store.__file__).parents[1]
    jobs = [
        subprocess.Popen(command, cwd=project, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(2)
    ]
    for job in jobs:
        _, errors = job.communicate()
        assert job.returncode == 0, errors.decode()
    assert log.read_text().splitlines() == ["extracting"]


# No room


def disk_with(free: int):
    return lambda path: shutil._ntuple_diskusage(2**40, 2**40 - free, free)


def test_without_room_nothing_is_computed_and_the_remedies_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", disk_with(feature_store.SPARE_BYTES + 100))
    extractor = Extractor()
    with pytest.raises(UserError) as caught:
        store_in(tmp_path).open(extractor)
    assert extractor.asked == []
    assert str(tmp_path) in str(caught.value)
    for remedy in ("trainer.feature_dir", "feature_store prune", "trainer.feature_store=false"):
        assert remedy in str(caught.value)


def test_only_what_is_missing_needs_room(tmp_path, monkeypatch):
    store = store_in(tmp_path)
    store.open(Extractor())
    shards(store)[2].unlink()
    monkeypatch.setattr(shutil, "disk_usage", disk_with(feature_store.SPARE_BYTES + 150))
    assert_holds_the_features(store_in(tmp_path).open(Extractor()))


def test_a_complete_store_needs_no_room(tmp_path, monkeypatch):
    store_in(tmp_path).open(Extractor())
    monkeypatch.setattr(shutil, "disk_usage", disk_with(0))
    assert_holds_the_features(store_in(tmp_path).open(Extractor()))


def test_a_failing_disk_leaves_whole_shards_only_and_the_next_run_goes_on(tmp_path, monkeypatch):
    store, written = store_in(tmp_path), []

    def fill_the_disk(file):
        written.append(file)
        if len(written) == 2:
            raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fill_the_disk)
        with pytest.raises(UserError, match=r"writing features failed \(No space left on device\)"):
            store.open(Extractor())
    assert len(shards(store)) == 1
    assert not list(store.folder.glob("*.part"))
    rest = Extractor()
    assert_holds_the_features(store_in(tmp_path).open(rest))
    assert rest.asked == ROWS[3:].tolist()


# Showing and freeing


@pytest.fixture
def two_stores(tmp_path):
    """A complete store of flowers and an unfinished one of birds."""
    complete, unfinished = store_in(tmp_path), store_in(tmp_path, data="birds")
    complete.open(Extractor())
    with pytest.raises(KeyboardInterrupt):
        unfinished.open(Extractor(fail_at=8))
    return complete, unfinished


def test_stores_tells_each_one_s_key_size_and_state(tmp_path, two_stores):
    found = {key["data"]: (folder, size, done) for folder, key, size, done in stores(tmp_path)}
    assert found["flowers"][0] == two_stores[0].folder
    assert found["flowers"][1] > 8 * 12 * 4
    assert (found["flowers"][2], found["birds"][2]) == (True, False)


def test_list_shows_a_line_a_store_and_keeps_them(tmp_path, two_stores, capsys):
    feature_store.main(["list", "--root", str(tmp_path)])
    lines = sorted(capsys.readouterr().out.splitlines())
    assert any("complete" in line and "flowers  vgg16/block1_conv1" in line for line in lines)
    assert any("unfinished" in line and "birds" in line for line in lines)
    assert len(stores(tmp_path)) == 2


def test_prune_frees_the_stores_that_are_named(tmp_path, two_stores, capsys):
    feature_store.main(["prune", two_stores[1].folder.name, "--root", str(tmp_path)])
    assert [key["data"] for _, key, _, _ in stores(tmp_path)] == ["flowers"]
    assert "freed" in capsys.readouterr().out


def test_prune_frees_all_without_names(tmp_path, two_stores):
    feature_store.main(["prune", "--root", str(tmp_path)])
    assert list(tmp_path.iterdir()) == []
