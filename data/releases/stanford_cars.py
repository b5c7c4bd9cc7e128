"""Stanford Cars (Krause et al. 2013): 16,185 photographs of 196 models of cars.

The authors' server is gone, and copies have other layouts: the images of the two splits with the
development kit, all images with `cars_annos.mat`, and class folders with CSV files. Boxes count
pixels from 1.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from conf.schema import DataConfig
from data.collection import Collection
from data.image_list import ImageList, Place, read_lines, read_text
from data.names import printable
from data.releases.release import Release, first_file, first_folder, require
from data.releases.tables import Cell, box_from_one, fields, look_up, read_mat, read_names
from errors import UserError

SOURCE = (
    "https://github.com/pytorch/vision/issues/7545 (the development kit and the labels of the "
    "test images, for the images of https://www.kaggle.com/datasets/jessicali9530/"
    "stanford-cars-dataset), or https://www.kaggle.com/datasets/jutrera/"
    "stanford-car-dataset-by-classes-folder"
)
ALL, ALL_IMAGES = "cars_annos.mat", "car_ims"
KIT = {
    "train": "cars_train_annos.mat",
    "test": "cars_test_annos_withlabels.mat",
    "names": "cars_meta.mat",
}
KIT_FOLDERS = ("", "devkit/", "car_devkit/devkit/")
KIT_FILES = tuple(where + name for name in KIT.values() for where in KIT_FOLDERS)
TABLES = {"train": "anno_train.csv", "test": "anno_test.csv", "names": "names.csv"}
SIDES = ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2")
CITATION = """@inproceedings{krause20133d,
  title = {3D Object Representations for Fine-Grained Categorization},
  author = {Krause, Jonathan and Stark, Michael and Deng, Jia and Fei-Fei, Li},
  booktitle = {4th International IEEE Workshop on 3D Representation and Recognition (3dRR-13)},
  year = {2013}
}
"""

Car = tuple[Place, str, Any, str, tuple]  # path, number of the class, split, box


def _read(folder: Path, config: DataConfig, train_required: bool) -> Collection:
    if (folder / ALL).is_file() and (folder / ALL_IMAGES).is_dir():
        names, cars = _all_images(folder)
    elif first_file(folder, TABLES.values()) and not first_file(folder, KIT_FILES):
        names, cars = _class_folders(folder)
    else:
        names, cars = _development_kit(folder)
    numbered = {str(number): name for number, name in enumerate(names, 1)}
    images, used = ImageList(folder, not config.skip_damaged), set()
    for place, path, number, split, sides in cars:
        name = look_up(numbered, Cell(str(number), place), "the list of the names of the classes")
        used.add(name)
        images.add(place, path, name, split, None, box_from_one(sides, place))
    for number, name in numbered.items():
        if name not in used:
            raise UserError(
                f"data.path={printable(folder)}: class {number}, {printable(name)}, has no images; "
                "restore the lists"
            )
    return images.collection(names, train_required, CITATION)


def _development_kit(folder: Path) -> tuple[list[str], Iterator[Car]]:
    """`cars_train/` and `cars_test/`, also with a folder of the same name in them."""
    kit = {
        key: first_file(folder, [where + name for where in KIT_FOLDERS]) or name
        for key, name in KIT.items()
    }
    require(folder, kit.values(), SOURCE)

    def cars() -> Iterator[Car]:
        for split in ("train", "test"):
            file, name = folder / kit[split], f"cars_{split}"
            where = first_folder(folder, (f"{name}/{name}", name))
            (structs,) = read_mat(file, "annotations")
            columns = fields(file, structs, "fname", "class", *SIDES)
            for number, (path, label, *sides) in enumerate(zip(*columns, strict=True), 1):
                yield Place(file, number, "image"), f"{where}/{path}", label, split, tuple(sides)

    return _names(folder / kit["names"]), cars()


def _all_images(folder: Path) -> tuple[list[str], Iterator[Car]]:
    file = folder / ALL

    def cars() -> Iterator[Car]:
        (structs,) = read_mat(file, "annotations")
        columns = fields(file, structs, "relative_im_path", "class", "test", *SIDES)
        for number, (path, label, test, *sides) in enumerate(zip(*columns, strict=True), 1):
            split = "test" if test else "train"
            yield Place(file, number, "image"), str(path), label, split, tuple(sides)

    return _names(file), cars()


def _class_folders(folder: Path) -> tuple[list[str], Iterator[Car]]:
    """`car_data/car_data/train/CLASS/IMAGE`; the lists have the names of the images alone."""
    require(folder, TABLES.values(), SOURCE)
    where = first_folder(folder, ("car_data/car_data", "car_data"))
    names = list(read_names(folder / TABLES["names"]))
    numbered = {str(number): name for number, name in enumerate(names, 1)}

    def cars() -> Iterator[Car]:
        for split in ("train", "test"):
            file, listed = folder / TABLES[split], set()
            for line, cells in read_lines(file, read_text(file)):
                place = Place(file, line)
                if len(cells) != 6:
                    raise UserError(f"{place}: it has {len(cells)} cells instead of 6")
                name, *sides, label = (cell.strip() for cell in cells)
                class_name = look_up(numbered, Cell(label, place), TABLES["names"])
                # A slash cannot be part of the name of a folder.
                path = f"{where}/{split}/{class_name.replace('/', '-')}/{name}"
                listed.add(name)
                yield place, path, label, split, tuple(sides)
            present = (folder / where / split).glob("*/*.jpg")
            unlisted = [path for path in present if path.name not in listed]
            if unlisted:
                raise UserError(
                    f"{printable(file)}: it lacks {printable(min(unlisted))} ({len(unlisted)} "
                    "images are lacking); restore it"
                )

    return names, cars()


def _names(file: Path) -> list[str]:
    return [str(name) for name in read_mat(file, "class_names")[0]]


STANFORD_CARS = Release(
    "Stanford Cars",
    (
        *KIT_FILES,
        *TABLES.values(),
        ALL,
    ),
    (
        "stanford_cars",
        "stanford-cars-dataset",
        "stanford-car-dataset-by-classes-folder",
    ),
    SOURCE,
    _read,
)
