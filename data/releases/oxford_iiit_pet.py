"""Oxford-IIIT Pet (Parkhi et al. 2012): 7,349 photographs of 37 breeds of cats and dogs.

The release has boxes of the heads, but only of training images: it is read without boxes.
"""

from pathlib import Path

from conf.schema import DataConfig
from data.collection import Collection
from data.image_list import ImageList
from data.names import class_name, printable
from data.releases.release import Release, require
from data.releases.tables import Cell, look_up, read_table, same_keys
from errors import UserError

SOURCE = "https://www.robots.ox.ac.uk/~vgg/data/pets/"
ALL = "annotations/list.txt"
LISTS = {"train": "annotations/trainval.txt", "test": "annotations/test.txt"}
SPECIES = {"1": "cat", "2": "dog"}
CITATION = """@inproceedings{parkhi2012cats,
  title = {Cats and Dogs},
  author = {Parkhi, Omkar M. and Vedaldi, Andrea and Zisserman, Andrew and Jawahar, C. V.},
  booktitle = {IEEE Conference on Computer Vision and Pattern Recognition (CVPR)},
  year = {2012}
}
"""


def _read(folder: Path, config: DataConfig, train_required: bool) -> Collection:
    """The lists of the splits have the lines of `list.txt`: image, class, species, breed."""
    require(folder, (ALL, *LISTS.values()), SOURCE)
    every = read_table(folder / ALL)
    splits = {split: read_table(folder / name) for split, name in LISTS.items()}
    images = ImageList(folder, not config.skip_damaged)
    names: dict[int, str] = {}
    for split, table in splits.items():
        for name, cell in table.items():
            line = printable(f"{name} {cell.text}")
            if name not in every or every[name].text != cell.text:
                raise UserError(
                    f"{cell.place}: {ALL} has no line {line!r}; restore one of the two files"
                )
            label, species, *_ = (*cell.text.split(), "")
            if not label.isdecimal():
                raise UserError(f"{cell.place}: class {printable(label)} is no number")
            breed = class_name(name.rpartition("_")[0])
            if names.setdefault(int(label), breed) != breed:
                other = names[int(label)]
                raise UserError(f"{cell.place}: class {label} is {breed}, but also {other}")
            kind = look_up(SPECIES, Cell(species, cell.place), "1 (cat), 2 (dog)", "species")
            images.add(cell.place, f"images/{name}.jpg", breed, split, {"species": kind})
    listed = {name for table in splits.values() for name in table}
    lists = folder / "annotations" / "trainval.txt and test.txt"
    same_keys(lists, listed, folder / ALL, every)
    class_names = [names[label] for label in sorted(names)]
    return images.collection(class_names, train_required, CITATION)


OXFORD_IIIT_PET = Release(
    "Oxford-IIIT Pet", (ALL, *LISTS.values()), ("oxford-iiit-pet",), SOURCE, _read
)
