"""The lists of CUB-200-2011 and NABirds: each line has the number of an image or of a class."""

from pathlib import Path

from conf.schema import DataConfig
from data.collection import Collection
from data.image_list import ImageList
from data.names import printable
from data.releases.tables import box, look_up, numbers, read_table, same_keys
from errors import UserError

IMAGES, LABELS, SPLITS = "images.txt", "image_class_labels.txt", "train_test_split.txt"
BOXES, CLASSES = "bounding_boxes.txt", "classes.txt"
LISTS = (IMAGES, LABELS, SPLITS, BOXES, CLASSES)
HIERARCHY = "hierarchy.txt"  # NABirds has it, CUB has not
SPLIT_NAMES = {"1": "train", "0": "test"}


def read_numbered_lists(
    folder: Path,
    config: DataConfig,
    train_required: bool,
    names: dict[str, str],
    folders: dict[str, str],
    groups: dict[str, dict[str, str]],
    citation: str,
) -> Collection:
    """Reads the images, labels, splits and boxes (left, top, width, height).

    Args:
        folder: of the lists.
        config: the configuration of the data.
        train_required: see `ImageList.collection`.
        names: the name of each class, by number, in the order of the labels.
        folders: the folder of the images of each class, by number.
        groups: the coarser classes of each class, by number, see `ImageList.add`.
        citation: BibTeX.

    Raises:
        UserError: the lists contradict each other, or an image is missing.
    """
    paths = read_table(folder / IMAGES)
    labels, splits, boxes = (read_table(folder / name) for name in (LABELS, SPLITS, BOXES))
    for name, table in ((LABELS, labels), (SPLITS, splits), (BOXES, boxes)):
        same_keys(folder / name, table, folder / IMAGES, paths)
    images = ImageList(folder, not config.skip_damaged)
    for key, (path, place) in paths.items():
        label = look_up(names, labels[key], CLASSES)
        if path.partition("/")[0] != folders[labels[key].text]:
            raise UserError(
                f"{labels[key].place}: image {printable(key)} is of {printable(label)}, but "
                f"{place} has {printable(path)}; restore one of the two files"
            )
        split = look_up(SPLIT_NAMES, splits[key], "0 (test), 1 (train)", "split")
        left, top, width, height = numbers(boxes[key], 4)
        sides = box((left, top, left + width, top + height), boxes[key].place)
        images.add(place, f"images/{path}", label, split, groups.get(labels[key].text), sides)
    return images.collection(list(names.values()), train_required, citation)
