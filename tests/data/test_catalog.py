"""The catalog: every entry opens; TFDS's mock replaces downloads."""

import concurrent.futures
import dataclasses
import io
import itertools
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import requests
import tensorflow_datasets as tfds
from PIL import Image
from tensorflow_datasets.core.download import downloader
from tensorflow_datasets.core.download.download_manager import NonMatchingChecksumError
from tensorflow_datasets.core.download.extractor import ExtractError

from conf.schema import DataConfig
from data import catalog, drawn_birds
from data.catalog import ENTRIES
from data.datasets import open_all_images
from errors import UserError

DOWNLOADED = [name for name in ENTRIES if name != "drawn_birds"]


def fake_source(builder, split, decoders=None, **_):
    """Two tiny images of each class, instead of TFDS's data source."""
    features = builder.info.features
    assert isinstance(decoders["image"], tfds.decode.SkipDecoding)
    file = io.BytesIO()
    Image.new("RGB", (48, 40), (90, 140, 60)).save(file, "JPEG")
    name_keys = ("id", "file_name", "image/filename", "image/file_name")
    names = [key for key in name_keys if key in features]
    classes = features["label"].num_classes
    return [
        {"image": file.getvalue(), "label": i % classes, **dict.fromkeys(names, b"%d.jpg" % i)}
        for i in range(2 * classes)
    ]


@pytest.fixture
def mocked():
    with tfds.testing.mock_data(as_data_source_fn=fake_source):
        yield


@pytest.fixture(scope="module")
def birds(tmp_path_factory):
    """A small version of the data set that needs no network."""
    with pytest.MonkeyPatch.context() as patch:
        few = {"train": 3, "validation": 1, "test": 2}
        patch.setattr(drawn_birds, "IMAGES_PER_SPECIES", few)
        return catalog.builder_for(ENTRIES["drawn_birds"], tmp_path_factory.mktemp("tfds"))


@pytest.mark.parametrize("name", DOWNLOADED)
def test_downloadable_entries_open(name, mocked, tmp_path):
    entry = dataclasses.replace(ENTRIES[name], elsewhere="")  # as if TFDS had prepared it
    builder = catalog.builder_for(entry, tmp_path)
    assert len(catalog.class_names(builder, entry)) == entry.num_classes
    assert builder.info.citation.strip().startswith("@")
    for split in filter(None, ("train", entry.validation, entry.test)):
        records = catalog.Records(builder, [split])
        assert len(records) == 2 * entry.num_classes
        assert records.labels.dtype == np.int64
        np.testing.assert_array_equal(np.unique(records.labels), np.arange(entry.num_classes))
        assert Image.open(io.BytesIO(records.encoded(3))).size == (48, 40)
        assert records.name(3) == "3.jpg"


@pytest.mark.parametrize("name", DOWNLOADED)
def test_splits_are_those_of_the_builder(name, tmp_path):
    """Reads TFDS's source files, so the test fails if an update of TFDS renames a split."""
    entry = ENTRIES[name]
    if entry.module:
        __import__(entry.module)
    source = Path(tfds.builder_cls(entry.tfds_name.split("/")[0].split(":")[0]).code_path)
    text = source.read_text()
    for split in filter(None, ("train", entry.validation, entry.test)):
        spellings = (f'"{split}"', f"'{split}'", f"tfds.Split.{split.upper()}")
        assert any(spelling in text for spelling in spellings)
    assert (entry.validation is None) == (name not in ("oxford_flowers102", "dtd", "fgvc_aircraft"))


def test_generated_entry_opens(birds):
    entry = ENTRIES["drawn_birds"]
    records = catalog.Records(birds, ["train"])
    assert len(records) == len(records.labels) == 27
    assert records.name(0).startswith("train_")
    assert Image.open(io.BytesIO(records.encoded(0))).size == (96, 96)
    assert catalog.class_names(birds, entry)[0] == "red_capped_goldbreast"


def test_a_data_set_is_prepared_once(birds, monkeypatch):
    monkeypatch.setattr(drawn_birds, "encoded_image", lambda *_: pytest.fail("drawn again"))
    catalog.builder_for(ENTRIES["drawn_birds"], birds.data_path.parents[1])


def test_labels_are_cached_next_to_the_data(birds):
    labels = catalog.Records(birds, ["test"]).labels
    cached = np.load(Path(birds.data_dir) / "labels_test.npy")
    np.testing.assert_array_equal(labels, cached)
    np.testing.assert_array_equal(labels, catalog.Records(birds, ["test"]).labels)


def test_cached_labels_of_another_number_of_images_are_not_used(birds):
    labels, file = catalog.Records(birds, ["test"]).labels, Path(birds.data_dir, "labels_test.npy")
    for other in (labels[:-1], np.append(labels, 0), labels[:0]):
        np.save(file, other)
        np.testing.assert_array_equal(catalog.Records(birds, ["test"]).labels, labels)
        np.testing.assert_array_equal(np.load(file), labels)


def test_each_split_has_its_own_fingerprint(birds):
    prints = [catalog.Records(birds, [split]).fingerprint() for split in birds.info.splits]
    assert len(set(prints)) == 3
    assert prints[0] == catalog.Records(birds, [next(iter(birds.info.splits))]).fingerprint()


@pytest.mark.parametrize("splits", itertools.permutations(("train", "validation", "test")))
def test_several_splits_keep_their_order_names_keys_and_bytes(birds, splits):
    records = catalog.Records(birds, splits)
    alone = {split: catalog.Records(birds, [split]) for split in splits}
    assert list(records.splits) == list(splits) and len(records) == 54
    assert np.concatenate(list(records.splits.values())).tolist() == list(range(54))
    for split, indices in records.splits.items():
        np.testing.assert_array_equal(records.labels[indices], alone[split].labels)
        assert all(records.name(index).startswith(f"{split}_") for index in indices)
        for read in ("name", "key", "encoded"):
            assert [getattr(records, read)(index) for index in indices] == [
                getattr(alone[split], read)(index) for index in range(len(alone[split]))
            ]


def test_the_fingerprint_of_several_splits_depends_on_each_split_and_their_order(birds):
    splits = (["train", "test"], ["test", "train"], ["train", "validation"])
    assert len({catalog.Records(birds, chosen).fingerprint() for chosen in splits}) == 3


def test_keys_and_fingerprints_of_earlier_versions_stay_valid(birds):
    """Fails if a run's record of its images, or the name of a feature store, changes."""
    records = catalog.Records(birds, ["train", "test"])
    train, test = (int(birds.info.splits[split].num_bytes) for split in ("train", "test"))
    assert records.key(28) == f"drawn_birds/1.0.0/test/{test}/1"
    prints = [
        f"drawn_birds/1.0.0/train/{train}/e1442f55bb17b04c709093f2c3cfc361",
        f"drawn_birds/1.0.0/test/{test}/4d191c62f3c9494849f707d52f295cb4",
    ]
    assert records.fingerprint() == repr(prints)


def test_reading_from_several_threads(birds):
    records = catalog.Records(birds, ["train"])
    indices = list(range(len(records))) * 8
    expected = [records.encoded(index) for index in indices]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert list(pool.map(catalog.Records(birds, ["train"]).encoded, indices)) == expected


def test_images_without_names_are_numbered(birds, monkeypatch):
    monkeypatch.setattr(catalog, "_NAMES", ("image/filename",))
    assert catalog.Records(birds, ["test"]).name(4) == "test/4"


def test_the_labels_of_a_read_only_data_set_are_not_cached(birds, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    cache = Path(birds.data_dir) / "labels_validation.npy"
    cache.unlink(missing_ok=True)
    monkeypatch.setattr(np, "save", refuse)
    assert len(catalog.Records(birds, ["validation"]).labels) == 9
    assert not cache.exists()


def test_tfds_s_default_folder_is_used(monkeypatch, tmp_path):
    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", lambda *_, **__: None)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    builder = catalog.builder_for(ENTRIES["dtd"])
    assert Path(builder.data_dir).is_relative_to(tmp_path)
    with monkeypatch.context() as patch:
        patch.delenv("TFDS_DATA_DIR")
        expected = tfds.core.constants.get_default_data_dir()
        assert Path("~/tensorflow_datasets").expanduser() == Path(expected)


def test_a_download_gives_up_after_a_few_retries(monkeypatch):
    """Fails if TFDS no longer reads the private constant that limits its retries."""
    retries = []

    class Session(requests.Session):
        def mount(self, prefix, adapter):
            super().mount(prefix, adapter)
            retries.append(adapter.max_retries.total)

        def get(self, url, **_):
            raise requests.ConnectionError(url)

    monkeypatch.setattr(requests, "Session", Session)
    before = downloader.MAX_RETRIES
    with (
        catalog._few_retries(),
        pytest.raises(requests.ConnectionError),
        downloader._open_url("https://birds.org/a.tgz"),
    ):
        pass
    assert retries[-2:] == [catalog.MAX_RETRIES] * 2  # after those of requests itself
    assert downloader.MAX_RETRIES == before > catalog.MAX_RETRIES


def failing(error: Exception):
    def download_and_prepare(*_, **__):
        raise error

    return download_and_prepare


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            requests.ConnectionError(request=requests.Request("GET", "https://birds.org/a.tgz")),
            "cub200: cannot be downloaded, birds.org does not answer",
        ),
        (OSError("Not enough disk space.\nNeeded: much"), "Not enough disk space."),
        (ImportError("cv2"), "pip install opencv-python-headless"),
        (tfds.download.DownloadError("HTTP code: 404"), "HTTP code: 404"),
        (NonMatchingChecksumError("wrong checksum"), "cannot be prepared in .*: wrong checksum"),
        (ExtractError("wrong archive"), "cannot be prepared in .*: wrong archive"),
    ],
)
def test_failed_downloads_are_reported_in_one_line(error, message, monkeypatch, tmp_path):
    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", failing(error))
    with pytest.raises(UserError) as caught:
        catalog.builder_for(ENTRIES["cub200"], tmp_path)
    assert re.search(message, str(caught.value)) and "\n" not in str(caught.value)


def test_what_has_no_server_is_not_downloaded_and_its_other_places_are_named(monkeypatch, tmp_path):
    monkeypatch.setattr(
        tfds.core.DatasetBuilder, "download_and_prepare", lambda *_, **__: pytest.fail("downloaded")
    )
    with pytest.raises(
        UserError, match=r"stanford_cars: its server is gone.*kaggle\.com.*data\.path"
    ):
        catalog.builder_for(ENTRIES["stanford_cars"], tmp_path)


def test_a_folder_of_tfds_is_recognised(birds, tmp_path):
    (tmp_path / "a file").touch()
    (tmp_path / "downloading" / "downloads").mkdir(parents=True)
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / ".cub200.lock").touch()
    folders = (tmp_path / "new", tmp_path / "empty", tmp_path / "downloading")
    assert all(map(catalog.is_data_dir, (*folders, birds.data_path.parents[1])))
    assert not any(map(catalog.is_data_dir, (tmp_path, tmp_path / "a file")))


def test_the_folder_of_tfds_is_read_where_it_holds_no_release(mocked, tmp_path):
    (tmp_path / "downloads").mkdir()
    dataset = open_all_images(DataConfig(name="cub200", path=str(tmp_path)))
    assert isinstance(dataset.images, catalog.Records) and len(dataset.class_names) == 200


def test_a_format_without_random_access_is_an_error(monkeypatch, tmp_path):
    monkeypatch.setattr(drawn_birds, "IMAGES_PER_SPECIES", {"train": 1})
    drawn_birds.DrawnBirds(data_dir=tmp_path, file_format="tfrecord").download_and_prepare()
    with pytest.raises(UserError, match="format without random access"):
        catalog.builder_for(ENTRIES["drawn_birds"], tmp_path)


def test_the_catalog_imports_neither_tfds_nor_tensorflow():
    code = (
        "import sys; from data import catalog;"
        "sys.exit(bool({'tensorflow', 'tensorflow_datasets'} & set(sys.modules)))"
    )
    root = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root).returncode == 0
