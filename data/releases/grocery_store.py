"""Grocery Store (Klasson et al. 2019): 5,421 photographs, 81 fine and 42 coarse classes.

It is read from a clone of https://github.com/marcusklasson/GroceryStoreDataset, with the authors'
splits. 21 of the classes have no validation images.
"""

from pathlib import Path

from conf.schema import DataConfig
from data.collection import Collection
from data.image_list import ImageList, Place, read_lines, read_text
from data.releases.release import Release, require
from errors import UserError

SOURCE = "https://github.com/marcusklasson/GroceryStoreDataset"
CLASSES = "classes.csv"
LISTS = {split: f"{split}.txt" for split in ("train", "val", "test")}
CITATION = """@inproceedings{klasson2019hierarchical,
  title = {A Hierarchical Grocery Store Image Dataset with Visual and Semantic Labels},
  author = {Klasson, Marcus and Zhang, Cheng and Kjellstr{\\"o}m, Hedvig},
  booktitle = {IEEE Winter Conference on Applications of Computer Vision (WACV)},
  year = {2019}
}
"""


def _read(folder: Path, config: DataConfig, train_required: bool) -> Collection:
    require(folder, (CLASSES, *LISTS.values()), SOURCE)
    names, coarse_names = _class_names(folder / CLASSES)
    images = ImageList(folder, not config.skip_damaged)
    for split, name in LISTS.items():
        file = folder / name
        for number, cells in read_lines(file, read_text(file)):
            place = Place(file, number)
            if len(cells) != 3:
                raise UserError(f"{place}: it has {len(cells)} cells instead of 3")
            label, coarse = _name(names, cells[1], place), _name(coarse_names, cells[2], place)
            images.add(place, cells[0], label, split, {"coarse": coarse})
    class_names = [names[number] for number in sorted(names)]
    return images.collection(class_names, train_required, CITATION)


def _class_names(file: Path) -> tuple[dict[int, str], dict[int, str]]:
    """Returns the names of the fine and of the coarse classes, by number."""
    names: dict[int, str] = {}
    coarse_names: dict[int, str] = {}
    lines = read_lines(file, read_text(file))
    next(lines, None)  # the header
    for number, cells in lines:
        place = Place(file, number)
        if len(cells) < 4 or not (cells[1].isdecimal() and cells[3].isdecimal()):
            raise UserError(f"{place}: expected a name, a number, a coarse name, a number")
        name, coarse_name = cells[0], cells[2]
        if names.setdefault(int(cells[1]), name) != name:
            raise UserError(f"{place}: class {cells[1]} has two names")
        if coarse_names.setdefault(int(cells[3]), coarse_name) != coarse_name:
            raise UserError(f"{place}: coarse class {cells[3]} has two names")
    return names, coarse_names


def _name(names: dict[int, str], cell: str, place: Place) -> str:
    number = cell.strip()
    if not number.isdecimal() or int(number) not in names:
        raise UserError(f"{place}: class {number} is not in {CLASSES}")
    return names[int(number)]


GROCERY_STORE = Release("Grocery Store", (CLASSES, *LISTS.values()), ("dataset",), SOURCE, _read)
