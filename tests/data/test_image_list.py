"""A list of images: a CSV file with paths, labels, splits and coarse labels."""

import dataclasses
import json
import os
import subprocess
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pytest

from conf.schema import BoxFormat, DataConfig, Region
from data.datasets import open_all_images, open_dataset
from data.image_list import main, read_list, write_list
from data.inputs import ImageInputs
from errors import UserError


@pytest.fixture
def images(tmp_path, draw_images):
    """Two classes of four images, in nested folders, where a test writes its list."""
    draw_images(tmp_path / "a" / "ash", 4)
    draw_images(tmp_path / "b" / "oak", 4)
    return tmp_path


def paths(folder: str, count: int = 4) -> list[str]:
    return [f"{folder}/{number}.png" for number in range(count)]


def lines(separator: str = ",", *columns: str) -> list[str]:
    """A line for each image of `images`: path, label, and the given columns."""
    labelled = [(path, "ash") for path in paths("a/ash")] + [(p, "oak") for p in paths("b/oak")]
    return [separator.join([*each, *columns]) for each in labelled]


def write(folder: Path, *texts: str, encoding: str = "utf-8") -> Path:
    file = folder / "list.csv"
    file.write_bytes("\n".join(texts).encode(encoding))
    return file


def config(file: Path, **options) -> DataConfig:
    return DataConfig(name="image_list", path=str(file), **options)


def names(collection) -> list[str]:
    return [collection.images.name(index) for index in range(len(collection.images))]


# What is read


@pytest.mark.parametrize("separator", [",", ";", "\t", ", ", " ; "])
@pytest.mark.parametrize("header", ["path{}label", "Label{}Path", None])
def test_any_separator_with_or_without_a_header(images, separator, header):
    content = lines(separator)
    if header and header.startswith("Label"):
        content = [separator.join(reversed(line.split(separator))) for line in content]
    if header:
        content = [header.format(separator), *content]
    collection = read_list(config(write(images, *content)))
    assert collection.class_names == ["ash", "oak"]
    assert names(collection) == [*paths("a/ash"), *paths("b/oak")]
    assert collection.images.labels.tolist() == [0] * 4 + [1] * 4
    assert {name: indices.tolist() for name, indices in collection.splits.items()} == {
        "train": list(range(8))
    }
    assert collection.levels == {}
    assert collection.images.encoded(5) == (images / "b" / "oak" / "1.png").read_bytes()


def test_columns_by_name_and_those_that_are_not_read(images, caplog):
    caplog.set_level("INFO")
    file = write(images, "species,file,author,part", *[
        f"{label},{path},me,{part}"
        for (path, label), part in zip(
            [(p, "ash") for p in paths("a/ash")] + [(p, "oak") for p in paths("b/oak")],
            ["train", "TRAIN", "dev", "test"] * 2,
            strict=True,
        )
    ])  # fmt: skip
    collection = read_list(
        config(file, path_column="file", label_column="species", split_column="part")
    )
    assert {name: len(indices) for name, indices in collection.splits.items()} == {
        "train": 4,
        "val": 2,
        "test": 2,
    }
    assert caplog.messages == [f"{file}, line 1: columns that are not read: author"]


def test_columns_by_number(images):
    file = write(images, *(f"x,{line.split(',')[1]},{line.split(',')[0]},g" for line in lines()))
    collection = read_list(config(file, path_column="3", label_column="2", coarse_column="4"))
    assert names(collection)[0] == "a/ash/0.png"
    assert collection.levels == {"coarse": ["g", "g"]}


def test_without_a_header_the_third_and_fourth_columns_are_split_and_coarse_label(images):
    collection = read_list(config(write(images, *lines(",", "train", "trees"))))
    assert list(collection.splits) == ["train"]
    assert collection.levels == {"coarse": ["trees", "trees"]}


def test_columns_that_are_switched_off(images):
    file = write(images, "path,label,split,coarse", *lines(",", "night", "trees"))
    collection = read_list(config(file, split_column=None, coarse_column=None))
    assert list(collection.splits) == ["train"]
    assert collection.levels == {}


def test_coarse_labels_name_the_group_of_each_class(images):
    content = [*lines(",", "trees")[:4], *lines(",", "wood")[4:]]
    collection = read_list(config(write(images, "path,label,coarse", *content)))
    assert collection.levels == {"coarse": ["trees", "wood"]}


def test_paths_are_relative_to_the_list_or_to_the_root_or_absolute(images, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    file = write(elsewhere, *lines())
    with pytest.raises(UserError, match=r"line 1: there is no file a/ash/0.png in .*elsewhere"):
        read_list(config(file))
    expected = names(read_list(config(file, root=str(images))))
    assert expected == names(read_list(config(write(images, *lines()))))
    absolute = write(elsewhere, *(f"{images}/{line}" for line in lines()))
    assert names(read_list(config(absolute))) == [f"{images}/{name}" for name in expected]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_encodings_of_spreadsheets(images, draw_images, encoding):
    draw_images(images / "c", 1)
    file = write(images, "path,label", *lines(), "c/0.png,Bärlauch 蒜", encoding=encoding)
    assert read_list(config(file)).class_names == ["Bärlauch 蒜", "ash", "oak"]


def test_unusual_names(images, draw_images):
    (image,) = draw_images(images / "c", 1)
    unusual = ["with, comma; and.png", ' "quoted".png', "caf\udce9.png", "line\nbreak.png", "ö.png"]
    unusual.append(unicodedata.normalize("NFD", "é.png"))
    for name in unusual:
        os.link(image, images / "c" / name)
    output = images / "written.csv"
    assert write_list(images, output) == 9 + len(unusual)
    collection = read_list(config(output))
    assert set(collection.images.files) == {
        *paths("a/ash"), *paths("b/oak"), "c/0.png", *(f"c/{name}" for name in unusual),
    }  # fmt: skip
    assert collection.class_names == ["a", "b", "c"]
    assert collection.images.encoded(len(collection.images) - 1)


def test_spaces_around_cells_blank_lines_and_repeated_lines_are_ignored(images, caplog):
    caplog.set_level("INFO")
    file = write(
        images, "", "path , label ", *(line.replace(",", " , ") for line in lines()), "", " , ",
        "./a/ash/0.png,ash", "a//ash/../ash/1.png,ash",
    )  # fmt: skip
    collection = read_list(config(file))
    assert len(collection.images) == 8
    assert collection.class_names == ["ash", "oak"]
    assert caplog.messages == [f"{file}, line 13: 2 lines repeat another one and are ignored"]


def test_numbers_as_labels_are_sorted_as_text_like_the_names_of_folders(images):
    numbered = zip(paths("a/ash"), ("10", "9", "2", "1"), strict=True)
    content = [",".join(line) for line in numbered]
    assert read_list(config(write(images, *content))).class_names == ["1", "10", "2", "9"]


# Boxes


@pytest.mark.parametrize(
    ("header", "cells", "options"),
    [
        ("box", "10 20 30.5 60", {}),
        ("box", "'10,20,20.5,40'", {"box_format": BoxFormat.xywh}),
        ("x1,y1,x2,y2", "10,20,30.5,60", {"box_columns": ["x1", "y1", "x2", "y2"]}),
        ("w,h,X,Y", "20.5,40,10,20",
         {"box_columns": ["x", "y", "w", "h"], "box_format": BoxFormat.xywh}),
        (None, "train,g,10 20 30.5 60", {}),
        (None, "10,20,30.5,60", {"box_columns": ["3", "4", "5", "6"]}),
    ],
)  # fmt: skip
def test_boxes_in_one_column_or_four(images, header, cells, options):
    content = lines(",", cells.replace("'", '"'))
    header = [] if header is None else [f"path,label,{header}"]
    collection = read_list(config(write(images, *header, *content), **options))
    assert [collection.images.box(index) for index in range(8)] == [(10, 20, 30.5, 60)] * 8


def test_without_boxes_there_are_none(images):
    assert read_list(config(write(images, *lines()))).images.box(0) is None


@pytest.mark.parametrize(
    ("box", "options", "message"),
    [
        ("1 2 3", {}, "line 2: the box '1 2 3' must be four numbers"),
        ("", {}, "line 2: the box '' must be four numbers"),
        ("1 2 x 4", {}, "line 2: the box '1 2 x 4' must be four numbers"),
        ("10 20 10 60", {}, "line 2: the box '10 20 10 60' has no area as data.box_format=xyxy"),
        ("1 2 nan 4", {}, "has no area"),
        ("1 2 inf 4", {}, "has no area"),
        ("1 2 -3 4", {"box_format": BoxFormat.xywh}, "has no area as data.box_format=xywh"),
        ("1 2 3 4", {"box_columns": ["x", "y"]}, "data.box_columns=x,y: give one column, or four"),
        ("1 2 3 4", {"box_columns": ["where"]}, r"no column where \(data.box_columns\)"),
    ],
)
def test_a_box_that_is_not_as_it_should_be(images, box, options, message):
    file = write(images, "path,label,box", *lines(",", box))
    with pytest.raises(UserError, match=message):
        read_list(config(file, **options))


def test_two_boxes_of_one_image_contradict_each_other(images):
    file = write(images, "path,label,box", *lines(",", "1 2 3 4"), "a/ash/0.png,ash,1 2 3 5")
    with pytest.raises(UserError, match="is ash, train, box 1 2 3 5, but ash, train, box 1 2 3 4"):
        read_list(config(file))


def test_the_crop_of_boxes_needs_boxes(images):
    with pytest.raises(UserError, match=r"data.crop=box: .*list.csv has no boxes; set data.crop="):
        open_dataset(config(write(images, *lines()), crop=Region.box), 0)
    boxes = config(write(images, "path,label,box", *lines(",", "2 3 20 21")), crop=Region.box)
    dataset = open_dataset(boxes, 0)
    whole = ImageInputs(dataset.images, dataclasses.replace(boxes, crop=Region.image))
    of_boxes = ImageInputs(dataset.images, boxes).evaluation(dataset.splits["test"])
    assert not np.array_equal(of_boxes, whole.evaluation(dataset.splits["test"]))


# What is refused, in one line that names the line


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a/ash/9.png,ash,train,trees", "line 4: there is no file a/ash/9.png in .* \\(1 of 3 are"),
        ("a/ash,ash,train,trees", "line 4: there is no file a/ash in"),
        (",ash,train,trees", "line 4: the path is empty"),
        ("a/ash/2.png, ,train,trees", "line 4: the label is empty"),
        ("a/ash/2.png,ash,train,", "line 4: the coarse label is empty"),
        ("a/ash/2.png,ash,holdout,trees", "line 4: the split 'holdout' is unknown; known are"),
        ("a/ash/2.png,ash,,trees", "line 4: the split '' is unknown"),
        ("a/ash/2.png,ash,train", "line 4: it has 3 cells instead of 4; put a cell that contains"),
        ("a/ash/2.png,ash,train,trees,x", "line 4: it has 5 cells instead of 4"),
        ("a/ash/0.png,oak,train,trees", "line 4: a/ash/0.png is oak, train, trees, but ash, train"),
        ("a/ash/0.png,ash,test,trees", "line 4: a/ash/0.png is ash, test, trees, but .* line 2;"),
        ("a/ash/2.png,ash,train,wood", "line 4: class ash belongs to wood, but to trees in .* 2;"),
        ("a/ash/2.png,yew,test,trees", "line 4: class yew has no training images"),
    ],
)  # fmt: skip
def test_a_line_that_is_not_as_it_should_be(images, line, message):
    good = [f"{path},ash,train,trees" for path in paths("a/ash", 2)]
    file = write(images, "path,label,split,coarse", *good, line)
    with pytest.raises(UserError, match=rf"^.*list\.csv, {message}.*$"):
        read_list(config(file))


def test_an_endless_quotation_is_an_error(images):
    file = write(images, *lines(), '"a/ash/0.png,ash', *("filler" * 20 for _ in range(2000)))
    with pytest.raises(UserError, match=r"line \d+: "):
        read_list(config(file))


@pytest.mark.parametrize(
    ("header", "options", "message"),
    [
        ("file,species", {}, "line 1: it neither names an image nor is a header"),
        ("path,species", {}, r"no column label \(data.label_column\); the .* are path, species"),
        ("path,label", {"split_column": "fold"}, r"no column fold \(data.split_column\)"),
        ("path,label", {"coarse_column": "family"}, r"no column family \(data.coarse_column\)"),
        ("path,path", {"label_column": "path"}, "line 1: several columns are called path"),
        ("file,species", {"path_column": "3"}, "line 1: it neither names an image"),
    ],
)  # fmt: skip
def test_a_header_without_a_wanted_column(images, header, options, message):
    with pytest.raises(UserError, match=message):
        read_list(config(write(images, header, *lines()), **options))


def test_a_list_without_training_images_serves_for_evaluation_only(images):
    file = write(images, "path,label,split", *lines(",", "test"))
    with pytest.raises(UserError, match="neither this line nor another one has the split train"):
        open_dataset(config(file), 0)
    assert len(open_all_images(config(file)).splits["test"]) == 8


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda file: None, "list.csv: cannot be read .No such file"),
        (lambda file: file.mkdir(), "list.csv: is a folder; data=image_folder reads folders"),
        (lambda file: file.write_text("\n\n"), "list.csv: it has no lines"),
    ],
)
def test_a_list_that_cannot_be_read(tmp_path, make, message):
    make(tmp_path / "list.csv")
    with pytest.raises(UserError, match=message):
        read_list(config(tmp_path / "list.csv"))


def test_a_root_that_is_no_folder(images):
    with pytest.raises(UserError, match=r"data.root=/nowhere: there is no such folder"):
        read_list(config(write(images, *lines()), root="/nowhere"))


def test_missing_files_are_left_out_with_skip_damaged(images):
    file = write(images, *lines(), "a/ash/9.png,ash")
    dataset = open_dataset(config(file, skip_damaged=True, val_fraction=0), 0)
    assert dataset.damaged == ("a/ash/9.png",)
    assert len(dataset.indices) == 8


# The same images as a folder and as a list


@pytest.fixture(params=["flat", "split"])
def own_folder(request, tmp_path, draw_images):
    """Three classes, with or without split folders and nested folders."""
    for split in ("train", "test") if request.param == "split" else ("",):
        for name in ("ash", "oak", "yew"):
            draw_images(tmp_path / "images" / split / name, 9)
            draw_images(tmp_path / "images" / split / name / "more", 3)
    return tmp_path / "images"


def test_a_folder_and_its_list_are_the_same_data_set(own_folder):
    file = own_folder / "images.csv"
    write_list(own_folder, file)
    lists = file.read_text().splitlines()
    file.write_text("\n".join([lists[0], *reversed(lists[1:])]))  # in any order
    of_folder = open_dataset(DataConfig(name="image_folder", path=str(own_folder)), 3)
    of_list = open_dataset(config(file), 3)
    assert of_list.keys() == of_folder.keys()
    assert of_list.class_names == of_folder.class_names
    assert of_list.fingerprint() == of_folder.fingerprint()
    np.testing.assert_array_equal(of_list.labels, of_folder.labels)


def test_a_list_in_another_folder_names_the_images_from_there(own_folder, tmp_path):
    output = tmp_path / "lists" / "own.csv"
    output.parent.mkdir()
    write_list(own_folder, output)
    assert all(name.startswith("../images/") for name in names(read_list(config(output))))


# The command


def test_the_command_writes_a_list_once(own_folder, capsys, monkeypatch):
    count = len(list(own_folder.rglob("*.png")))
    main([str(own_folder)])
    output = own_folder / "images.csv"
    assert capsys.readouterr().out == f"{output}: {count} images\n"
    assert len(output.read_text().splitlines()) == count + 1
    with pytest.raises(SystemExit, match="exists already"):
        main([str(own_folder)])
    monkeypatch.chdir(own_folder.parent)
    main([str(own_folder), "--output", "other.csv", "--no-split-folders"])
    assert Path("other.csv").read_text().startswith("path,label\n")


def test_the_command_reports_a_folder_that_is_missing(tmp_path):
    with pytest.raises(SystemExit, match=r"error: data.path=.*nowhere: there is no such folder"):
        main([str(tmp_path / "nowhere")])


SIZE = """
import json, resource, sys, time
from conf.schema import BoxFormat, DataConfig, Region
from data.datasets import open_dataset
started = time.perf_counter()
dataset = open_dataset(DataConfig(name="image_list", path=sys.argv[1]), 0)
seconds = time.perf_counter() - started
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(json.dumps([len(dataset.indices), len(dataset.class_names), seconds, peak]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("classes", [10_000])
def test_a_list_of_half_a_million_images_opens_without_reading_one(tmp_path, classes):
    with (tmp_path / "list.csv").open("w") as file:
        file.write("path,label\n")
        for name in range(classes):
            folder = tmp_path / "images" / f"class {name}"
            folder.mkdir(parents=True)
            for number in range(500_000 // classes):
                (folder / f"a rather long name of an image {number:06}.jpg").touch()
                file.write(f"images/{folder.name}/a rather long name of an image {number:06}.jpg,")
                file.write(f"{folder.name}\n")
    command = [sys.executable, "-c", SIZE, str(tmp_path / "list.csv")]
    root = Path(__file__).parents[2]
    output = subprocess.run(command, cwd=root, capture_output=True, check=True, text=True).stdout
    images, class_count, seconds, peak = json.loads(output)
    assert (images, class_count) == (500_000, classes)
    assert peak < 2**30
    assert seconds < 60  # 10 on an idle machine
