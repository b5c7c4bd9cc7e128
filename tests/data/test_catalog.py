"""The catalog: every entry opens, on TFDS's mock where it would be downloaded."""

import concurrent.futures
import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import requests
import tensorflow_datasets as tfds
from PIL import Image

from data import catalog, drawn_birds
from data.catalog import ENTRIES
from errors import UserError

DOWNLOADED = [name for name in ENTRIES if name != "drawn_birds"]


def fake_source(builder, split, decoders=None, **_):
    """Two tiny pictures of each class, in place of what TFDS would read."""
    features = builder.info.features
    assert isinstance(decoders["image"], tfds.decode.SkipDecoding)
    file = io.BytesIO()
    Image.new("RGB", (48, 40), (90, 140, 60)).save(file, "JPEG")
    known = ("id", "file_name", "image/filename", "image/file_name")
    names = [key for key in known if key in features]
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
    """The data set that needs no network, in small."""
    with pytest.MonkeyPatch.context() as patch:
        few = {"train": 3, "validation": 1, "test": 2}
        patch.setattr(drawn_birds, "IMAGES_PER_SPECIES", few)
        return catalog.builder_for(ENTRIES["drawn_birds"], tmp_path_factory.mktemp("tfds"))


@pytest.mark.parametrize("name", DOWNLOADED)
def test_downloadable_entries_open(name, mocked, tmp_path):
    entry = ENTRIES[name]
    builder = catalog.builder_for(entry, tmp_path)
    assert len(catalog.class_names(builder, entry)) == entry.num_classes
    assert builder.info.citation.strip().startswith("@")
    for split in filter(None, (entry.train, entry.validation, entry.test)):
        records = catalog.records(builder, split)
        assert len(records) == 2 * entry.num_classes
        assert records.labels.dtype == np.int64
        np.testing.assert_array_equal(np.unique(records.labels), np.arange(entry.num_classes))
        assert Image.open(io.BytesIO(records.encoded(3))).size == (48, 40)
        assert records.name(3) == "3.jpg"


@pytest.mark.parametrize("name", DOWNLOADED)
def test_splits_are_those_of_the_builder(name, tmp_path):
    """Read from TFDS's sources, so that an update of TFDS which renames a split is noticed."""
    entry = ENTRIES[name]
    if entry.module:
        __import__(entry.module)
    source = Path(tfds.builder_cls(entry.tfds_name.split("/")[0].split(":")[0]).code_path)
    text = source.read_text()
    for split in filter(None, (entry.train, entry.validation, entry.test)):
        spellings = (f'"{split}"', f"'{split}'", f"tfds.Split.{split.upper()}")
        assert any(spelling in text for spelling in spellings)
    assert (entry.validation is None) == (name not in ("oxford_flowers102", "dtd", "fgvc_aircraft"))


def test_generated_entry_opens(birds):
    entry = ENTRIES["drawn_birds"]
    records = catalog.records(birds, "train")
    assert len(records) == len(records.labels) == 27
    assert records.name(0).startswith("train_")
    assert Image.open(io.BytesIO(records.encoded(0))).size == (96, 96)
    assert catalog.class_names(birds, entry)[0] == "red_capped_goldbreast"


def test_prepared_once(birds, monkeypatch):
    monkeypatch.setattr(drawn_birds, "encoded_image", lambda *_: pytest.fail("drawn again"))
    catalog.builder_for(ENTRIES["drawn_birds"], birds.data_path.parents[1])


def test_labels_are_kept_beside_the_data(birds):
    labels = catalog.records(birds, "test").labels
    kept = np.load(Path(birds.data_dir) / "labels_test.npy")
    np.testing.assert_array_equal(labels, kept)
    np.testing.assert_array_equal(labels, catalog.records(birds, "test").labels)


def test_fingerprints_tell_splits_apart(birds):
    prints = [catalog.records(birds, split).fingerprint() for split in birds.info.splits]
    assert len(set(prints)) == 3
    assert prints[0] == catalog.records(birds, next(iter(birds.info.splits))).fingerprint()


def test_reading_from_several_threads(birds):
    records = catalog.records(birds, "train")
    indices = list(range(len(records))) * 8
    expected = [records.encoded(index) for index in indices]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert list(pool.map(catalog.records(birds, "train").encoded, indices)) == expected


def test_images_without_names_are_numbered(birds, monkeypatch):
    monkeypatch.setattr(catalog, "_NAMES", ("image/filename",))
    assert catalog.records(birds, "test").name(4) == "test/4"


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
    ],
)
def test_failed_downloads_are_reported_in_one_line(error, message, monkeypatch, tmp_path):
    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", failing(error))
    with pytest.raises(UserError) as caught:
        catalog.builder_for(ENTRIES["cub200"], tmp_path)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_another_format_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(drawn_birds, "IMAGES_PER_SPECIES", {"train": 1})
    drawn_birds.DrawnBirds(data_dir=tmp_path, file_format="tfrecord").download_and_prepare()
    with pytest.raises(UserError, match="format without random access"):
        catalog.builder_for(ENTRIES["drawn_birds"], tmp_path)


def test_listing_imports_neither_tfds_nor_tensorflow():
    code = (
        "import sys; from data import catalog;"
        "sys.exit(bool({'tensorflow', 'tensorflow_datasets'} & set(sys.modules)))"
    )
    root = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root).returncode == 0
