"""Content hashes and exact copies."""

import shutil

import pytest
import tensorflow_datasets as tfds

from conf.schema import DataConfig
from data.content import content_hash, copies_between, copies_within, hash_images
from data.datasets import open_dataset


@pytest.fixture
def divided(tmp_path, draw_images):
    """A folder of two classes with all three splits, without copies."""
    for number, split in enumerate(("train", "val", "test")):
        for shift, name in enumerate(("ash", "oak")):
            draw_images(tmp_path / "own" / split / name, 3, (60 + 50 * number, 90, 60 + 9 * shift))
    return tmp_path / "own"


def hashed(path):
    dataset = open_dataset(DataConfig(name="image_folder", path=str(path)), seed=0)
    hash_images(dataset, dataset.indices)
    return dataset


def test_the_hash_depends_on_the_bytes_alone(divided):
    encoded = (divided / "test" / "ash" / "0.png").read_bytes()
    assert content_hash(encoded) == content_hash(bytes(encoded))
    assert content_hash(encoded) != content_hash(encoded[:-1])
    assert len(content_hash(b"")) == 32


def test_only_images_without_a_hash_are_read(divided):
    dataset = hashed(divided)
    shutil.rmtree(divided)
    hash_images(dataset, dataset.indices)
    assert sorted(dataset.hashes) == dataset.indices.tolist()


def test_images_of_tfds_are_compared_too(tmp_path):
    def source(builder, split, **_):
        """Two images of each class; the second one is the same in all classes and splits."""
        labels = range(builder.info.features["label"].num_classes)
        images = [(b"%s %d" % (split.encode(), label), label) for label in labels]
        images += [(b"the same", label) for label in labels]
        return [{"image": image, "label": label, "file_name": "1.jpg"} for image, label in images]

    with tfds.testing.mock_data(as_data_source_fn=source):
        dataset = open_dataset(DataConfig(name="dtd", path=str(tmp_path)), seed=0)
        hash_images(dataset, dataset.indices)
    described = copies_within(dataset)
    assert f"{2 * 47} of an image in another split" in described
    assert f"{3 * 47 - 3} of an image with another label" in described


def test_data_without_copies_have_nothing_to_say(divided):
    assert copies_within(hashed(divided)) == ""


@pytest.mark.parametrize(
    ("original", "copy", "described"),
    [
        (
            "train/oak/1.png",
            "test/oak/new.png",
            "1 of an image in another split, such as "
            "test/oak/new.png (test) of train/oak/1.png (train)",
        ),
        (
            "val/ash/2.png",
            "test/ash/0.png",
            "1 of an image in another split, such as test/ash/0.png (test) of val/ash/2.png (val)",
        ),
        (
            "train/ash/1.png",
            "train/oak/1.png",
            "1 of an image with another label, such as "
            "train/oak/1.png (oak) of train/ash/1.png (ash)",
        ),
        (
            "train/ash/1.png",
            "val/oak/1.png",
            "1 of an image in another split, such as "
            "val/oak/1.png (val) of train/ash/1.png (train); 1 of an image with another label, "
            "such as val/oak/1.png (oak) of train/ash/1.png (ash)",
        ),
    ],
)
def test_copies_across_splits_and_labels_are_counted_with_an_example(
    divided, original, copy, described
):
    shutil.copy(divided / original, divided / copy)
    assert copies_within(hashed(divided)) == (
        f"image_folder: images that are exact copies: {described}"
    )


def test_copies_in_one_split_of_one_class_do_not_matter(divided):
    shutil.copy(divided / "train/ash/1.png", divided / "train/ash/2.png")
    assert copies_within(hashed(divided)) == ""


def test_each_copy_is_counted(divided):
    for number in range(3):
        shutil.copy(divided / "train/ash/1.png", divided / f"test/ash/{number}.png")
    assert "3 of an image in another split, such as test/ash/0.png" in copies_within(
        hashed(divided)
    )


def test_copies_of_another_data_set_are_described(divided, tmp_path, draw_images):
    for name, colour in {"grey": (90, 90, 90), "white": (220, 220, 220)}.items():
        draw_images(tmp_path / "reference" / name, 5, colour)
    assert copies_between(hashed(divided), hashed(tmp_path / "reference")) == ""
    shutil.copy(divided / "test/ash/0.png", tmp_path / "reference" / "grey" / "3.png")
    assert copies_between(hashed(divided), hashed(tmp_path / "reference")) == (
        "image_folder: images that are exact copies: 1 of an image of the reference, such as "
        "test/ash/0.png of grey/3.png"
    )
