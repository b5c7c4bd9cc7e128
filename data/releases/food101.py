"""Food-101 (Bossard et al. 2014): 101,000 photographs of 101 dishes."""

from pathlib import Path

from conf.schema import DataConfig
from data.collection import Collection
from data.image_list import ImageList, Place
from data.names import printable
from data.releases.release import Release, first_file, require
from data.releases.tables import Cell, look_up, read_json, read_names, same_keys
from errors import UserError

SOURCE = "http://data.vision.ee.ethz.ch/cvl/food-101.tar.gz"
CLASSES = "meta/classes.txt"
SPLITS = ("train", "test")
CITATION = """@inproceedings{bossard2014food,
  title = {Food-101 -- Mining Discriminative Components with Random Forests},
  author = {Bossard, Lukas and Guillaumin, Matthieu and Van Gool, Luc},
  booktitle = {European Conference on Computer Vision (ECCV)},
  year = {2014}
}
"""


def _read(folder: Path, config: DataConfig, train_required: bool) -> Collection:
    """Each list is there as text and as JSON; one of them is enough, both have to agree."""
    texts = [first_file(folder, _names(split)) or _names(split)[0] for split in SPLITS]
    require(folder, (CLASSES, *texts), SOURCE)
    names = {name: name for name in read_names(folder / CLASSES)}
    images, used = ImageList(folder, not config.skip_damaged), set()
    for split in SPLITS:
        for path, place in _listed(folder, split).items():
            label = look_up(names, Cell(path.rpartition("/")[0], place), CLASSES)
            used.add(label)
            images.add(place, f"images/{path}.jpg", label, split)
    same_keys(folder / CLASSES, names, folder / texts[0], used)
    return images.collection(list(names), train_required, CITATION)


def _names(split: str) -> tuple[str, str]:
    return f"meta/{split}.txt", f"meta/{split}.json"


def _listed(folder: Path, split: str) -> dict[str, Place]:
    """Returns where each image of a split is listed."""
    text, tree = (folder / name for name in _names(split))
    lists = []
    if text.is_file():
        lists.append(read_names(text))
    if tree.is_file():
        lists.append({path: Place(tree, i, "image") for i, path in enumerate(_paths(tree), 1)})
    if len(lists) == 2:
        same_keys(text, lists[0], tree, lists[1])
    return lists[0]


def _paths(file: Path) -> list[str]:
    content = read_json(file)
    if not isinstance(content, dict) or not all(
        isinstance(each, list) for each in content.values()
    ):
        raise UserError(f"{printable(file)}: it is no mapping from classes to images; restore it")
    for name, paths in content.items():
        for path in paths:
            if not isinstance(path, str) or path.rpartition("/")[0] != name:
                raise UserError(
                    f"{printable(file)}: {printable(str(path))} is listed under {printable(name)}"
                )
    return [path for paths in content.values() for path in paths]


FOOD101 = Release(
    "Food-101",
    (CLASSES, *(name for split in SPLITS for name in _names(split))),
    ("food-101", "food-101/food-101"),
    SOURCE,
    _read,
)
