"""From the configuration to a data set: image folders, and behaviour common to all data sets."""

import numpy as np
import pytest

from conf.schema import DataConfig
from data.datasets import open_dataset
from errors import UserError


def folder(path, **options) -> DataConfig:
    return DataConfig(name="image_folder", path=str(path), **options)


@pytest.fixture
def own_images(tmp_path, draw_images):
    """Two classes of ten images, which a test may change."""
    for name in ("ash", "oak"):
        draw_images(tmp_path / name, 10)
    return tmp_path


# An image folder


def test_a_flat_folder_is_split_by_fractions_of_each_class(own_images):
    dataset = open_dataset(folder(own_images, val_fraction=0.25, test_fraction=0.2), seed=0)
    assert dataset.class_names == ["ash", "oak"]
    sizes = {name: np.bincount(dataset.labels[indices]) for name, indices in dataset.splits.items()}
    assert {name: size.tolist() for name, size in sizes.items()} == {
        "train": [6, 6],
        "val": [2, 2],
        "test": [2, 2],  # val is taken from the other 16
    }
    np.testing.assert_array_equal(dataset.indices, np.arange(20))


def test_splits_depend_only_on_the_seed(own_images):
    first, again, other = (open_dataset(folder(own_images), seed) for seed in (0, 0, 1))
    for split in ("train", "val", "test"):
        np.testing.assert_array_equal(first.splits[split], again.splits[split])
    assert first.splits["test"].tolist() != other.splits["test"].tolist()


def test_the_splits_of_a_folder_are_kept_and_a_missing_one_is_added(tmp_path, draw_images):
    for split, count in (("train", 10), ("test", 3)):
        for name in ("ash", "oak"):
            draw_images(tmp_path / split / name, count)
    dataset = open_dataset(folder(tmp_path, val_fraction=0.2, test_fraction=0.5), seed=0)
    assert {name: len(indices) for name, indices in dataset.splits.items()} == {
        "train": 16,
        "val": 4,
        "test": 6,
    }
    assert all(dataset.images.name(index).startswith("test/") for index in dataset.splits["test"])
    assert all(dataset.images.name(index).startswith("train/") for index in dataset.splits["val"])


def test_without_a_validation_fraction_val_is_empty(own_images):
    dataset = open_dataset(folder(own_images, val_fraction=0.0), seed=0)
    assert len(dataset.splits["val"]) == 0
    assert len(dataset.splits["train"]) == 16


def test_limit_is_the_number_of_images_of_each_class_and_split(own_images):
    dataset = open_dataset(folder(own_images, limit=1), seed=0)
    assert {name: dataset.labels[indices].tolist() for name, indices in dataset.splits.items()} == {
        "train": [0, 1],
        "val": [0, 1],
        "test": [0, 1],
    }


def test_shots_are_random_training_images_and_leave_the_other_splits_alone(own_images):
    whole = open_dataset(folder(own_images), seed=0)
    one, three, all_of_them = (
        open_dataset(folder(own_images, shots=shots), seed=0) for shots in (1, 3, 100)
    )
    assert one.labels[one.splits["train"]].tolist() == [0, 1]
    assert three.labels[three.splits["train"]].tolist() == [0] * 3 + [1] * 3
    assert set(one.splits["train"]) < set(three.splits["train"]) < set(whole.splits["train"])
    np.testing.assert_array_equal(all_of_them.splits["train"], whole.splits["train"])
    for split in ("val", "test"):
        np.testing.assert_array_equal(one.splits[split], whole.splits[split])


def test_shots_depend_on_the_seed_also_where_the_splits_do_not(tmp_path, draw_images):
    for split in ("train", "val", "test"):
        for name in ("ash", "oak"):
            draw_images(tmp_path / split / name, 10)
    first, again, other = (open_dataset(folder(tmp_path, shots=3), seed) for seed in (0, 0, 1))
    assert first.splits["train"].tolist() == again.splits["train"].tolist()
    assert first.splits["train"].tolist() != other.splits["train"].tolist()


def test_all_numbers_of_shots_share_the_stored_features_of_all_images(own_images):
    whole, few = (open_dataset(folder(own_images, shots=shots), 0) for shots in (None, 2))
    np.testing.assert_array_equal(few.indices, whole.indices)
    assert few.fingerprint() == whole.fingerprint()


def test_the_fingerprint_does_not_depend_on_the_splits(own_images):
    config = folder(own_images)
    first, other = open_dataset(config, 0), open_dataset(config, 1)
    assert first.fingerprint() == other.fingerprint()


def test_fewer_or_different_images_have_a_different_fingerprint(own_images):
    whole = open_dataset(folder(own_images), 0).fingerprint()
    assert open_dataset(folder(own_images, limit=1), 0).fingerprint() != whole
    (own_images / "oak" / "3.png").write_bytes(b"a different image")
    assert open_dataset(folder(own_images), 0).fingerprint() != whole


# Damaged images


def test_skip_damaged_leaves_out_and_names_damaged_images(own_images):
    whole = (own_images / "oak" / "3.png").read_bytes()
    (own_images / "oak" / "3.png").write_bytes(whole[: len(whole) // 2])
    (own_images / "ash" / "7.png").write_bytes(b"")
    dataset = open_dataset(folder(own_images, skip_damaged=True), seed=0)
    assert dataset.damaged == ("ash/7.png", "oak/3.png")
    used = [dataset.images.name(index) for index in dataset.indices]
    assert len(used) == 18
    assert not set(used) & set(dataset.damaged)


def test_without_skip_damaged_images_are_not_decoded(own_images):
    (own_images / "oak" / "3.png").write_bytes(b"")
    assert open_dataset(folder(own_images), seed=0).damaged == ()


def test_a_class_whose_images_are_all_damaged_is_named(own_images):
    for path in (own_images / "oak").iterdir():
        path.write_bytes(b"no image")
    with pytest.raises(UserError, match="class 'oak' has no training images"):
        open_dataset(folder(own_images, skip_damaged=True), seed=0)


# Errors


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"test_fraction": 0.0}, r"data\.test_fraction=0: the test split would be empty"),
        ({"test_fraction": 1.0}, r"data\.test_fraction=1\.0: must be at least 0 and below 1"),
        ({"val_fraction": -0.2}, r"data\.val_fraction=-0\.2: must be at least 0 and below 1"),
    ],
)
def test_a_split_fraction_out_of_range_names_its_key(own_images, options, message):
    with pytest.raises(UserError, match=message):
        open_dataset(folder(own_images, **options), seed=0)


def test_an_unknown_data_set_lists_the_known_ones():
    with pytest.raises(UserError, match=r"data\.name=birds: unknown; known are image_folder"):
        open_dataset(DataConfig(name="birds"), seed=0)


def test_a_single_class_is_an_error(tmp_path, draw_images):
    draw_images(tmp_path / "ash", 5)
    with pytest.raises(UserError, match=r"has one class only \(ash\).*at least two"):
        open_dataset(folder(tmp_path), seed=0)


def test_a_class_too_small_to_split_names_class_and_key(own_images, draw_images):
    draw_images(own_images / "elm", 1)
    with pytest.raises(UserError, match=r"'elm' has too few .*\(1 left\).*data\.test_fraction"):
        open_dataset(folder(own_images), seed=0)
    draw_images(own_images / "elm", 2)
    with pytest.raises(UserError, match=r"'elm' has too few .*\(1 left\).*data\.val_fraction"):
        open_dataset(folder(own_images), seed=0)
