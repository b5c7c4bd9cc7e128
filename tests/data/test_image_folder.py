"""A folder of images with one sub-folder per class."""

import logging
import os
import shutil
import unicodedata

import numpy as np
import pytest
from PIL import Image

from data.image_folder import FORMATS, find_images, read_folder
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


# Images that are listed, and files that are passed over


def names(images) -> list[str]:
    return [images.name(index) for index in range(len(images))]


def test_what_is_passed_over_is_counted_in_one_line(flat, caplog):
    for name in (".hidden.png", "notes.txt", "image.png.part", "raw.NEF"):
        (flat / "tulip" / name).write_bytes(b"II*\0" if name == "raw.NEF" else b"no image")
    (flat / ".cache").mkdir()
    (flat / "README.md").write_text("flowers")
    os.mkfifo(flat / "tulip" / "pipe.png")
    with caplog.at_level(logging.INFO):
        images, class_names, _ = read_folder(flat)
    assert class_names == ["crocus", "tulip"]
    assert len(images) == 5
    [message] = [record.getMessage() for record in caplog.records]
    assert message == (
        f"{flat}: passed over: 1 broken links or special files (such as {flat}/tulip/pipe.png), "
        f"1 hidden (such as {flat}/tulip/.hidden.png), "
        f"2 not images (such as {flat}/tulip/image.png.part), "
        f"1 outside of class folders (such as {flat}/README.md), "
        f"1 raw images of cameras (such as {flat}/tulip/raw.NEF)"
    )


def test_a_folder_of_images_alone_gives_no_line(flat, caplog):
    with caplog.at_level(logging.INFO):
        read_folder(flat)
    assert not caplog.records


def test_images_in_sub_folders_belong_to_the_class_above(divided, draw_images):
    draw_images(divided / "train" / "tulip" / "2019" / "may", 2)
    draw_images(divided / "train" / "crocus" / "train", 1)
    images, class_names, splits = read_folder(divided)
    assert class_names == ["crocus", "tulip"]
    listed = names(images)
    assert listed[:3] == [f"train/crocus/{name}.png" for name in ("0", "1", "train/0")]
    assert listed[3:8] == [
        f"train/tulip/{name}.png" for name in ("0", "1", "2", "2019/may/0", "2019/may/1")
    ]
    assert images.labels[splits["train"]].tolist() == [0, 0, 0, 1, 1, 1, 1, 1]


@pytest.mark.parametrize("file_format", FORMATS)
@pytest.mark.parametrize("name", ["5.jfif", "5", "5.txt", "5.part.1"])
def test_an_image_is_recognised_by_its_content(flat, file_format, name):
    Image.new("RGB", (8, 8)).save(flat / "tulip" / name, file_format)
    assert f"tulip/{name}" in names(read_folder(flat)[0])


@pytest.mark.parametrize("content", [b"", b"BM is a text", b"\xff\xd8", b"RIFF....WAVE", b"MZ"])
def test_other_content_is_no_image(flat, content):
    (flat / "tulip" / "5").write_bytes(content)
    assert len(read_folder(flat)[0]) == 5


@pytest.mark.parametrize("name", ["__MACOSX", "@eaDir", ".ipynb_checkpoints"])
def test_folders_that_systems_add_are_hidden(flat, draw_images, name):
    draw_images(flat / name, 1)
    draw_images(flat / "tulip" / name, 1)
    images, class_names, _ = read_folder(flat)
    assert class_names == ["crocus", "tulip"]
    assert len(images) == 5


# Links


def test_linked_classes_sub_folders_and_images_are_read(flat, tmp_path_factory, draw_images):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    draw_images(elsewhere, 2)
    (flat / "iris").symlink_to(elsewhere, target_is_directory=True)
    (flat / "crocus" / "more").symlink_to(elsewhere, target_is_directory=True)
    (flat / "crocus" / "7.png").symlink_to(elsewhere / "0.png")
    images, class_names, _ = read_folder(flat)
    assert class_names == ["crocus", "iris", "tulip"]
    assert len(images) == 5 + 2 + 2 + 1
    assert [path.relative_to(flat).as_posix() for path in find_images(flat)] == names(images)


def test_a_link_to_a_folder_above_does_not_end_in_a_loop(flat, caplog):
    (flat / "tulip" / "again").symlink_to(flat / "tulip", target_is_directory=True)
    (flat / "tulip" / "itself").symlink_to("itself")
    with caplog.at_level(logging.INFO):
        assert len(read_folder(flat)[0]) == 5
    assert "1 links to their own parent folder" in caplog.text


@pytest.mark.parametrize("target", ["gone.png", "/nowhere/at/all.png", "7.png"])
def test_a_link_without_a_target_is_named_when_it_is_read(flat, target):
    (flat / "tulip" / "7.png").symlink_to(target)
    images, _, _ = read_folder(flat)
    assert images.fingerprint() == images.fingerprint()
    with pytest.raises(UserError, match=r"/tulip/7\.png cannot be read .*skip_damaged=true"):
        images.encoded(names(images).index("tulip/7.png"))


# Names


@pytest.mark.parametrize("name", ["caf\udce9.png", "a\nb.png", "\x1b[31m.png"])
def test_names_that_cannot_be_written_are_escaped(flat, name):
    (flat / "tulip" / "0.png").rename(flat / "tulip" / name)
    images, _, _ = read_folder(flat)
    escaped = next(each for each in names(images) if "\\" in each)
    assert escaped.isprintable()
    assert escaped.encode("latin-1").decode("unicode_escape") == f"tulip/{name}"
    (flat / "tulip" / name).write_bytes(b"the file")
    assert images.encoded(names(images).index(escaped)) == b"the file"


def test_a_class_name_in_two_unicode_forms_is_one_class(divided, draw_images):
    draw_images(divided / "train" / unicodedata.normalize("NFC", "orchidée"), 2)
    draw_images(divided / "test" / unicodedata.normalize("NFD", "orchidée"), 1)
    images, class_names, splits = read_folder(divided)
    assert class_names == ["crocus", unicodedata.normalize("NFC", "orchidée"), "tulip"]
    assert images.labels[splits["test"]].tolist() == [1, 2]


def test_two_folders_of_one_class_are_refused(flat, draw_images):
    for form in ("NFC", "NFD"):
        draw_images(flat / unicodedata.normalize(form, "orchidée"), 1)
    with pytest.raises(UserError, match="two folders are called orchidée, in different Unicode"):
        read_folder(flat)


# Split folders


@pytest.mark.parametrize("name", ["val", "valid", "validation", "dev", "Valid", "VALIDATION"])
def test_split_folders_may_have_other_names(divided, name):
    (divided / "val").rename(divided / name)
    (divided / "train").rename(divided / "Training")
    (divided / "test").rename(divided / "TEST")
    images, class_names, splits = read_folder(divided)
    assert class_names == ["crocus", "tulip"]
    assert {split: len(indices) for split, indices in splits.items()} == {
        "train": 5,
        "val": 3,
        "test": 1,
    }
    assert images.name(splits["val"][0]) == f"{name}/crocus/0.png"


@pytest.mark.parametrize(
    ("first", "second"), [("val", "dev"), ("test", "Test"), ("train", "training")]
)
def test_two_folders_of_one_split_are_refused(divided, draw_images, first, second):
    draw_images(divided / second / "tulip", 1)
    message = rf"data\.path=.*: ({first} and {second}|{second} and {first}) both hold the"
    with pytest.raises(UserError, match=message):
        read_folder(divided)


@pytest.mark.parametrize("name", ["extra", "holdout", "validate"])
def test_a_folder_beside_the_splits_is_refused_if_it_has_images(divided, draw_images, name):
    draw_images(divided / name / "tulip", 1)
    with pytest.raises(
        UserError, match=f"{name} lies beside the split folders .*split_folders=fal"
    ):
        read_folder(divided)


def test_a_folder_beside_the_splits_is_named_if_it_has_none(divided, caplog):
    (divided / "annotations").mkdir()
    (divided / "annotations" / "boxes.xml").write_text("<boxes/>")
    with caplog.at_level(logging.INFO):
        assert len(read_folder(divided)[0]) == 9
    assert f"1 folders without images (such as {divided}/annotations)" in caplog.text


def test_without_split_folders_they_are_classes(flat, draw_images):
    draw_images(flat / "test", 2)
    draw_images(flat / "train" / "local", 1)
    _, class_names, splits = read_folder(flat, split_folders=False)
    assert class_names == ["crocus", "test", "train", "tulip"]
    assert {split: len(indices) for split, indices in splits.items()} == {"train": 8}


def test_a_test_folder_alone_is_enough_without_training(divided):
    shutil.rmtree(divided / "train")
    shutil.rmtree(divided / "val")
    with pytest.raises(UserError, match=r"has test but no train folder"):
        read_folder(divided)
    images, class_names, splits = read_folder(divided, train_required=False)
    assert class_names == ["tulip"]
    assert names(images) == ["test/tulip/0.png"]
    assert list(splits) == ["test"]


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


def test_the_error_of_an_empty_class_lists_the_formats(flat):
    (flat / "iris").mkdir()
    with pytest.raises(UserError, match=r"/iris: it has no images .*JPEG"):
        read_folder(flat)


def test_splits_without_training_are_refused(divided):
    shutil.rmtree(divided / "train")
    with pytest.raises(UserError, match=r"data\.path=.*: has val, test but no train folder"):
        read_folder(divided)


def test_a_class_that_training_lacks_is_named(divided, draw_images):
    draw_images(divided / "val" / "iris", 1)
    with pytest.raises(UserError, match=r"/val/iris: train has no class of this name"):
        read_folder(divided)


def test_a_deleted_image_is_named(flat):
    images, _, _ = read_folder(flat)
    (flat / "crocus" / "0.png").unlink()
    with pytest.raises(UserError, match=r"crocus/0\.png cannot be read \(No such file"):
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
