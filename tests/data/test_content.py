"""Exact copies of images across splits, classes and data sets."""

import shutil

import pytest

from conf.schema import DataConfig
from data.content import copies_between, copies_within, hash_images
from data.datasets import open_dataset


@pytest.fixture
def divided(tmp_path, draw_images):
    """Two classes with images for training, validation and test."""
    for split, count in {"train": 4, "val": 2, "test": 2}.items():
        for number, name in enumerate(("ash", "oak")):
            draw_images(tmp_path / split / name, count, (90, 60 * number, len(split)))
    return tmp_path


def hashed(root):
    dataset = open_dataset(DataConfig(name="image_folder", path=str(root)), 0)
    hash_images(dataset, dataset.indices)
    return dataset


def test_images_that_differ_are_not_mentioned(divided):
    assert copies_within(hashed(divided)) == ""


@pytest.mark.parametrize(
    ("source", "copy", "message"),
    [
        (
            "train/ash/0.png",
            "test/ash/7.png",
            "1 of an image in another split, such as test/ash/7.png (test) of train/ash/0.png "
            "(train)",
        ),
        (
            "train/ash/0.png",
            "train/oak/7.png",
            "1 of an image with another label, such as train/oak/7.png (oak) of train/ash/0.png "
            "(ash)",
        ),
        (
            "val/oak/1.png",
            "test/ash/7.png",
            "1 of an image in another split, such as test/ash/7.png (test) of val/oak/1.png (val); "
            "1 of an image with another label, such as test/ash/7.png (ash) of val/oak/1.png (oak)",
        ),
    ],
)
def test_copies_across_splits_and_labels_are_described_in_one_line(divided, source, copy, message):
    shutil.copyfile(divided / source, divided / copy)
    assert (
        copies_within(hashed(divided)) == f"image_folder: images that are exact copies: {message}"
    )


def test_a_copy_in_the_same_split_and_class_is_not_mentioned(divided):
    shutil.copyfile(divided / "train/ash/0.png", divided / "train/ash/7.png")
    assert copies_within(hashed(divided)) == ""


def test_copies_in_another_data_set_are_described(divided, tmp_path_factory):
    other = shutil.copytree(divided, tmp_path_factory.mktemp("other") / "images")
    shutil.rmtree(other / "train" / "oak")
    for split in ("val", "test"):
        shutil.rmtree(other / split / "oak")
    (other / "train" / "elm").mkdir()
    (other / "train" / "elm" / "0.png").write_bytes(b"new")
    assert copies_between(hashed(divided), hashed(other)) == (
        "image_folder: images that are exact copies: 8 of an image of the reference, such as "
        "train/ash/0.png of train/ash/0.png"
    )
