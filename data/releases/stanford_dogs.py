"""Stanford Dogs (Khosla et al. 2011): 20,580 photographs of 120 breeds of dogs."""

import xml.etree.ElementTree as ElementTree
from pathlib import Path

from conf.schema import DataConfig, Region
from data.collection import Box, Collection
from data.image_list import ImageList, Place
from data.names import class_name, printable
from data.releases.release import Release, first_file, first_folder, require
from data.releases.tables import box, integers, read_mat
from errors import UserError, os_reason

SOURCE = "http://vision.stanford.edu/aditya86/ImageNetDogs/"
LISTS = {"train": "train_list.mat", "test": "test_list.mat"}
LIST_FOLDERS = ("", "lists/")
IMAGES = ("images/Images", "Images")  # the first as Kaggle has it
BOXES = ("annotations/Annotation", "Annotation")
SIDES = ("xmin", "ymin", "xmax", "ymax")
CITATION = """@inproceedings{khosla2011novel,
  title = {Novel Dataset for Fine-Grained Image Categorization},
  author = {Khosla, Aditya and Jayadevaprakash, Nityananda and Yao, Bangpeng and Fei-Fei, Li},
  booktitle = {First Workshop on Fine-Grained Visual Categorization (CVPR)},
  year = {2011}
}
"""


def _read(folder: Path, config: DataConfig, train_required: bool) -> Collection:
    """The boxes, a file an image, are read only for `data.crop=box`."""
    lists = {
        split: first_file(folder, [where + name for where in LIST_FOLDERS]) or name
        for split, name in LISTS.items()
    }
    require(folder, lists.values(), SOURCE)
    images = ImageList(folder, not config.skip_damaged)
    names: dict[int, str] = {}
    where, annotations = first_folder(folder, IMAGES), folder / first_folder(folder, BOXES)
    for split, name in lists.items():
        file = folder / name
        columns = read_mat(file, "file_list", "annotation_list", "labels")
        if len({len(column) for column in columns}) > 1:
            raise UserError(f"{printable(file)}: its variables have different lengths; restore it")
        paths, annotated, labels = (*columns[:2], integers(file, columns[2]))
        for number, (path, annotation, label) in enumerate(
            zip(paths, annotated, labels, strict=True), 1
        ):
            place = Place(file, number, "image")
            breed = class_name(str(path).partition("/")[0])
            if names.setdefault(label, breed) != breed:
                raise UserError(f"{place}: class {label} is {breed}, but also {names[label]}")
            boxed = config.crop is Region.box
            sides = _box(annotations / str(annotation), place) if boxed else None
            images.add(place, f"{where}/{path}", breed, split, None, sides)
    class_names = [names[label] for label in sorted(names)]
    return images.collection(class_names, train_required, CITATION)


def _box(file: Path, place: Place) -> Box:
    """The smallest box that encloses all dogs of an image."""
    try:
        boxes = ElementTree.parse(file).getroot().iter("bndbox")
        sides = [[float(each.findtext(side, "")) for side in SIDES] for each in boxes]
        lefts, tops, rights, bottoms = zip(*sides, strict=True)
    except OSError as error:
        raise UserError(
            f"{place}: its box {printable(file)} cannot be read ({os_reason(error)}); restore "
            f"{BOXES[-1]} from {SOURCE}, or set data.crop=image"
        ) from error
    except (ElementTree.ParseError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"{printable(file)}: it has no box ({reason}); restore it, or set data.crop=image"
        ) from error
    return box((min(lefts), min(tops), max(rights), max(bottoms)), place)


STANFORD_DOGS = Release(
    "Stanford Dogs",
    tuple(where + name for name in LISTS.values() for where in LIST_FOLDERS),
    ("stanford_dogs", "StanfordDogs", "stanford-dogs-dataset"),
    SOURCE,
    _read,
)
