"""`inspect_data.py`: what it prints, for sound and for strange data."""

import errno
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data.bird_drawing import draw
from data.datasets import open_dataset


@pytest.fixture
def birds(tmp_path):
    """Drawn birds of two species, in class folders."""
    for species in range(2):
        (tmp_path / "birds" / f"species {species}").mkdir(parents=True)
        for number in range(6):
            rng = np.random.default_rng([species, number])
            path = tmp_path / "birds" / f"species {species}" / f"{number}.png"
            draw(species, rng, 64).save(path)
    return tmp_path / "birds"


@pytest.fixture
def split_birds(birds, tmp_path):
    """The birds in a folder for each split."""
    root = tmp_path / "split"
    for number, split in enumerate(["train", "train", "train", "val", "test", "test"]):
        for folder in birds.iterdir():
            (root / split / folder.name).mkdir(parents=True, exist_ok=True)
            shutil.copy(folder / f"{number}.png", root / split / folder.name)
    return root


@pytest.fixture
def inspect(command, tmp_path):
    """Runs `inspect_data.py` on a folder; returns what it printed, and the page."""

    def run(path, *arguments):
        page = tmp_path / "page.html"
        data = ["data=image_folder", f"data.path={path}"]
        outcome = command("inspect_data.py", *data, *arguments, "--output", page)
        assert outcome.status == 0, outcome.errors
        return outcome.output, page.read_text()

    return run


def test_it_prints_classes_splits_sizes_and_formats(inspect, split_birds):
    printed, page = inspect(split_birds)
    assert "2 classes, images: 6 train, 2 val, 4 test" in printed
    assert "train:      6 images, 3 a class" in printed
    assert "formats:    12 PNG" in printed and "width:      64, 64, 64 pixels" in printed
    assert "damaged images: 0" in printed and "near-duplicates across splits: 0" in printed
    assert "species 1" in page


def test_the_splits_are_those_of_the_seed(inspect, birds, make_config):
    config = make_config("data=image_folder", f"data.path={birds}", "seed=3")
    test = open_dataset(config.data, 3).keys()["test"]
    for name in test:
        (birds / name).write_bytes(b"")
    printed, _ = inspect(birds, "seed=3")
    assert all(f"  {name} (test): " in printed for name in test)


def test_copies_and_near_duplicates_are_named_with_their_splits(inspect, split_birds):
    train, test = split_birds / "train" / "species 0", split_birds / "test" / "species 0"
    shutil.copy(train / "0.png", split_birds / "test" / "species 1" / "copy.png")
    with Image.open(train / "1.png") as image:
        mirrored = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        mirrored.save(test / "mirrored.jpg", quality=60)
        mirrored.save(train / "mirrored.jpg", quality=95)
    printed, page = inspect(split_birds)
    assert "exact copies across splits: 1, 1 of them with different labels" in printed
    first = "train/species 0/0.png (train) labelled species 0"
    assert f"{first} = test/species 1/copy.png (test) labelled species 1" in printed
    assert "near-duplicates across splits: 2" in printed
    assert "near-duplicates within a split: 1" in printed
    assert "train/species 0/1.png (train) = test/species 0/mirrored.jpg (test)  " in printed
    assert page.count('<div class="pair">') + page.count('<div class="pair differing">') == 4


@pytest.mark.parametrize("skipped", ["true", "false"])
def test_damaged_images_are_named_with_the_reason(inspect, split_birds, skipped):
    damaged = split_birds / "val" / "species 0" / "3.png"
    damaged.write_bytes(damaged.read_bytes()[:300])
    (split_birds / "train" / "species 0" / "empty.jpg").touch()
    printed, page = inspect(split_birds, f"data.skip_damaged={skipped}")
    assert "damaged images: 2" in printed
    place = "left out" if skipped == "true" else "val"
    assert f"  val/species 0/3.png ({place}): " in printed and "species 0/empty.jpg" in page


def test_data_that_cannot_be_trained_on_are_inspected_all_the_same(inspect, birds):
    shutil.rmtree(birds / "species 1")
    printed, page = inspect(birds)
    assert "train.py refuses these data: " in printed and "one class only (species 0)" in printed
    assert "6 images" in printed and "one class only" in page


def test_a_class_may_lack_images_in_a_split(inspect, split_birds):
    shutil.rmtree(split_birds / "val" / "species 1")
    printed, _ = inspect(split_birds)
    assert "val:        1 images, 0 (species 1) to 1 (species 0) a class" in printed
    assert "1 of 2 classes have none" in printed


def test_names_may_hold_any_character(inspect, birds):
    strange = os.fsencode(birds) + b"/<b>\"caf\xe9'\n&"
    (birds / "species 0" / "0.png").unlink()  # the smallest and the largest class are named
    os.rename(birds / "species 0", strange)
    printed, page = inspect(birds)
    assert "caf\\udce9" in printed and "<b>" in printed
    assert "&lt;b&gt;&quot;caf\\udce9" in page and '<b>"' not in page


def test_a_list_of_images_is_inspected(command, split_birds, tmp_path):
    lines = [
        f"{path.relative_to(tmp_path)},{path.parent.name},{path.parts[-3]}"
        for path in sorted(split_birds.glob("*/*/*"))
    ]
    (tmp_path / "list.csv").write_text("\n".join(["path,label,split", *lines]))
    settings = ["data=image_list", f"data.path={tmp_path / 'list.csv'}"]
    outcome = command("inspect_data.py", *settings, "--output", tmp_path / "page.html")
    assert "images: 6 train, 2 val, 4 test" in outcome.output
    assert "written: " in outcome.output and (tmp_path / "page.html").exists()


def test_turned_images_have_their_upright_size(inspect, split_birds):
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    for path in split_birds.glob("*/*/*"):
        with Image.open(path) as image:
            image.resize((64, 48)).save(path, exif=exif)
    printed, _ = inspect(split_birds)
    assert "width:      48, 48, 48" in printed and "height:     64, 64, 64" in printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["data=image_folder", "data.path=nowhere"], "there is no such folder"),
        (["data=image_foldr"], "did you mean data=image_folder"),
        (["dat.path=x"], "did you mean data"),
        (["data.path", "x"], "has no =; write data.path=x"),
        (["seed=0,1"], "several values need a sweep"),
        (["data.image_size=0"], "must be"),
        (["--output", "."], "is a folder"),
    ],
)
def test_a_mistake_gets_one_line(command, arguments, message):
    outcome = command("inspect_data.py", *arguments)
    assert outcome.status == 2 and message in outcome.error


def test_an_empty_folder_is_an_error(command, tmp_path):
    (tmp_path / "empty").mkdir()
    data = ["data=image_folder", f"data.path={tmp_path / 'empty'}"]
    outcome = command("inspect_data.py", *data, "--output", tmp_path / "page.html")
    assert outcome.status == 2 and "it has no class folders" in outcome.error
    assert not (tmp_path / "page.html").exists()


def test_another_file_is_not_overwritten(command, birds, tmp_path):
    (tmp_path / "thesis.html").write_text("mine")
    data = ["data=image_folder", f"data.path={birds}"]
    outcome = command("inspect_data.py", *data, "--output", tmp_path / "thesis.html")
    assert outcome.status == 2 and "give another file" in outcome.error
    assert (tmp_path / "thesis.html").read_text() == "mine"


def test_the_summary_is_printed_even_if_the_page_cannot_be_written(
    command, birds, tmp_path, monkeypatch
):
    def full(path, mode="w", *arguments, **settings):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_text", full)
    data = ["data=image_folder", f"data.path={birds}"]
    outcome = command("inspect_data.py", *data, "--output", tmp_path / "page.html")
    assert outcome.status == 2 and "page.html: writing failed (No space left" in outcome.error
    assert "2 classes, images: " in outcome.output and "damaged images: 0" in outcome.output
    assert "written" not in outcome.output and not (tmp_path / "page.html").exists()
