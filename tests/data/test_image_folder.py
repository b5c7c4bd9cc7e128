"""A folder of images with one sub-folder per class."""

import os

import numpy as np
import pytest

from data.image_folder import find_images, read_folder
from errors import UserError


@pytest.fixture
def flat(tmp_path, draw_images):
    """root/class/image"""
    draw_images(tmp_path / "tulip", 3)
    draw_images(tmp_path / "crocus", 2)
    return tmp_path


@pytest.fixture
def divided(tmp_path, draw_images):
    """root/split/class/image; the test split lacks one class."""
    draw_images(tmp_path / "train" / "tulip", 3)
    draw_images(tmp_path / "train" / "crocus", 2)
    draw_images(tmp_path / "val" / "crocus", 1)
    draw_images(tmp_path / "val" / "tulip", 2)
    draw_images(tmp_path / "test" / "tulip", 1)
    return tmp_path


def test_all_images_of_a_flat_folder_are_training_images(flat):
    images, class_names, splits = read_folder(flat)
    assert class_names == ["crocus", "tulip"]
    assert [images.name(i) for i in range(len(images))] == [
        "crocus/0.png",
        "crocus/1.png",
        "tulip/0.png",
        "tulip/1.png",
        "tulip/2.png",
    ]
    assert images.labels.tolist() == [0, 0, 1, 1, 1]
    assert images.labels.dtype == np.int64
    assert {name: indices.tolist() for name, indices in splits.items()} == {
        "train": [0, 1, 2, 3, 4]
    }


def test_a_divided_folder_keeps_its_own_splits(divided):
    images, class_names, splits = read_folder(divided)
    assert class_names == ["crocus", "tulip"]
    assert {name: len(indices) for name, indices in splits.items()} == {
        "train": 5,
        "val": 3,
        "test": 1,
    }
    assert images.labels[splits["val"]].tolist() == [0, 1, 1]
    assert images.labels[splits["test"]].tolist() == [1]
    assert images.name(splits["test"][0]) == "test/tulip/0.png"


def test_an_image_s_bytes_are_those_of_its_file(flat):
    images, _, _ = read_folder(flat)
    assert images.encoded(2) == (flat / "tulip" / "0.png").read_bytes()


def test_hidden_files_and_other_suffixes_are_ignored(flat):
    for name in (".hidden.png", "notes.txt", "image.png.part"):
        (flat / "tulip" / name).write_bytes(b"no image")
    (flat / ".cache").mkdir()
    (flat / "README.md").write_text("flowers")
    images, class_names, _ = read_folder(flat)
    assert class_names == ["crocus", "tulip"]
    assert len(images) == 5


def test_suffixes_may_be_upper_case(flat):
    (flat / "tulip" / "0.png").rename(flat / "tulip" / "0.PNG")
    assert len(read_folder(flat)[0]) == 5


def test_the_fingerprint_of_unchanged_images_is_the_same(flat):
    assert read_folder(flat)[0].fingerprint() == read_folder(flat)[0].fingerprint()


@pytest.mark.parametrize(
    "change",
    [
        lambda root: (root / "tulip" / "9.png").write_bytes(b"added"),
        lambda root: (root / "tulip" / "2.png").unlink(),
        lambda root: (root / "tulip" / "2.png").rename(root / "tulip" / "7.png"),
        lambda root: (root / "tulip" / "2.png").write_bytes(b"of another size"),
        lambda root: os.utime(root / "tulip" / "2.png", ns=(1, 1)),
    ],
    ids=["added", "removed", "renamed", "other bytes", "written again"],
)
def test_the_fingerprint_changes_with_the_images(flat, change):
    before = read_folder(flat)[0].fingerprint()
    change(flat)
    assert read_folder(flat)[0].fingerprint() != before


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(UserError, match=r"data\.path=.*/nowhere: there is no such folder"):
        read_folder(tmp_path / "nowhere")


def test_the_error_of_an_empty_folder_describes_the_layout(tmp_path):
    with pytest.raises(UserError, match=r"data\.path=.*no class folders.*put the images into"):
        read_folder(tmp_path)


def test_the_error_of_an_empty_class_lists_the_suffixes(flat):
    (flat / "iris").mkdir()
    with pytest.raises(UserError, match=r"/iris: it has no images .*\.jpg"):
        read_folder(flat)


def test_splits_without_training_are_refused(divided):
    (divided / "train").rename(divided / "training")
    with pytest.raises(UserError, match=r"data\.path=.*: has val, test but no train folder"):
        read_folder(divided)


def test_a_class_that_training_lacks_is_named(divided, draw_images):
    draw_images(divided / "val" / "iris", 1)
    with pytest.raises(UserError, match=r"/val/iris: train has no class of this name"):
        read_folder(divided)


def test_a_deleted_image_is_named(flat):
    images, _, _ = read_folder(flat)
    (flat / "crocus" / "0.png").unlink()
    with pytest.raises(UserError, match=r"crocus/0\.png cannot be read: No such file"):
        images.encoded(0)


def test_find_images_takes_an_image_or_all_images_below_a_folder(divided):
    one = divided / "val" / "crocus" / "0.png"
    assert find_images(one) == [one]
    (divided / "notes.txt").write_text("no image")
    images = find_images(divided / "val")
    assert [path.relative_to(divided / "val").as_posix() for path in images] == [
        "crocus/0.png",
        "tulip/0.png",
        "tulip/1.png",
    ]


def test_find_images_ignores_hidden_files_as_training_does(flat):
    (flat / "tulip" / "._0.png").write_bytes(b"no image")
    assert len(find_images(flat)) == 5
