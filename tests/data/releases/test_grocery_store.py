"""Grocery Store from the authors' lists, on a small copy of their layout and on the real one."""

import shutil

import pytest
from made_releases import GROCERY_STORE_FOLDERS, make_grocery_store

from conf.schema import DataConfig
from data.datasets import open_all_images, open_dataset
from errors import UserError

APPLE = next(iter(GROCERY_STORE_FOLDERS))


def config(folder, **options) -> DataConfig:
    return DataConfig(name="grocery_store", path=str(folder), **options)


@pytest.fixture
def release(tmp_path, draw_images):
    return make_grocery_store(tmp_path, draw_images)


def test_the_official_splits_and_the_order_of_the_classes(release):
    dataset = open_dataset(config(release), seed=0)
    assert dataset.class_names == ["Royal-Gala", "Anjou", "Pink-Lady"]
    assert dataset.levels == {"coarse": ["Apple", "Pear", "Apple"]}
    keys = dataset.keys()
    assert {split: len(keys[split]) for split in keys} == {"train": 9, "val": 2, "test": 6}
    assert all(key.startswith(f"{split}/") for split in keys for key in keys[split])
    assert dataset.labels[dataset.splits["test"]].tolist() == [0, 0, 1, 1, 2, 2]
    assert "klasson2019" in dataset.citation
    assert dataset.summary() == (
        "grocery_store: 3 classes (2 coarse), images: 9 train, 2 val (2 of the classes), 6 test"
    )


def test_the_folder_of_the_repository_is_accepted(release, tmp_path_factory):
    repository = tmp_path_factory.mktemp("repository")
    shutil.copytree(release, repository / "dataset")
    assert open_dataset(config(repository), 0).keys() == open_dataset(config(release), 0).keys()


def test_a_limited_number_of_classes_keeps_their_coarse_classes(release):
    dataset = open_dataset(config(release, limit_classes=2), 0)
    assert dataset.levels == {"coarse": ["Apple", "Pear"]}


@pytest.mark.parametrize("name", ["classes.csv", "train.txt", "val.txt", "test.txt"])
def test_a_missing_file_is_named(release, name):
    (release / name).unlink()
    with pytest.raises(UserError, match=f"has no {name}; restore it from https://github.com"):
        open_dataset(config(release), 0)


@pytest.mark.parametrize(
    ("name", "line", "message"),
    [
        ("train.txt", "train/nothing.png, 0, 0", "train.txt, line 10: there is no file train/noth"),
        ("train.txt", f"train/{APPLE}/0.png, 3, 0", "line 10: class 3 is not in classes.csv"),
        ("train.txt", f"train/{APPLE}/0.png, x, 0", "line 10: class x is not in classes.csv"),
        ("train.txt", f"train/{APPLE}/0.png, 0, 2", "0.png is Royal-Gala, train, Pear, but"),
        ("train.txt", f"train/{APPLE}/0.png 0 0", "line 10: it has 1 cells instead of 3"),
        ("test.txt", f"train/{APPLE}/0.png, 0, 0", "Royal-Gala, test, Apple, but .* train, A"),
        (
            "classes.csv",
            "Anjou,x,Pear,2",
            "classes.csv, line 5: expected a name, a number",
        ),
        ("classes.csv", "Bosc,1,Pear,2", "classes.csv, line 5: class 1 has two names"),
        ("classes.csv", "Lime,3,Lime,2", "classes.csv, line 5: coarse class 2 has two names"),
    ],
)
def test_a_line_that_is_wrong_is_named(release, name, line, message):
    with (release / name).open("a") as file:
        file.write(line + "\n")
    with pytest.raises(UserError, match=message):
        open_dataset(config(release), 0)


def test_a_class_without_training_images(release):
    (release / "train.txt").write_text("".join((release / "train.txt").open().readlines()[:6]))
    with pytest.raises(UserError, match=r"val\.txt, line 2: class Pink-Lady has no train"):
        open_dataset(config(release), 0)
    assert len(open_all_images(config(release)).indices) == 14


@pytest.mark.shared
def test_the_release_itself(shared):
    dataset = open_dataset(config(shared / "photos" / "grocery_store"), seed=0)
    assert dataset.summary() == (
        "grocery_store: 81 classes (43 coarse), images: 2640 train, 296 val (60 of the classes), "
        "2485 test"
    )
    for split, keys in dataset.keys().items():
        lines = (shared / "photos" / "grocery_store" / f"{split}.txt").read_text().splitlines()
        assert sorted(keys) == sorted(line.split(",")[0] for line in lines)
    named = zip(dataset.labels, dataset.images.files, strict=True)
    assert all(f"/{dataset.class_names[label]}/" in file for label, file in named)
