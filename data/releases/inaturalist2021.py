"""iNaturalist 2021 (Van Horn et al. 2021): photographs of 10,000 species.

2,686,843 images to train, or 500,000 in its small version, and 100,000 to validate. The labels of
the authors' test images are not public, and papers report the accuracy on the validation images:
these are the test split here, and the validation split is drawn from the training images.
"""

from pathlib import Path
from typing import NamedTuple

from conf.schema import DataConfig
from data.collection import Collection
from data.image_list import ImageList, Place
from data.names import printable
from data.releases.hierarchy import Lineage, distinct_groups, distinct_names
from data.releases.release import Release, first_file, require
from data.releases.tables import Cell, look_up, read_json, same_keys
from errors import UserError

SOURCE = "https://github.com/visipedia/inat_comp/tree/master/2021"
TRAIN, TEST = ("train.json", "train_mini.json"), "val.json"
# The rank "class" is called otherwise here, so that its accuracy is not taken for that of classes.
LEVELS = {
    "genus": "genus",
    "family": "family",
    "order": "order",
    "taxonomic_class": "class",
    "phylum": "phylum",
    "kingdom": "kingdom",
}
CITATION = """@inproceedings{vanhorn2021benchmarking,
  title = {Benchmarking Representation Learning for Natural World Image Collections},
  author = {Van Horn, Grant and Cole, Elijah and Beery, Sara and Wilber, Kimberly and
            Belongie, Serge and Mac Aodha, Oisin},
  booktitle = {IEEE Conference on Computer Vision and Pattern Recognition (CVPR)},
  year = {2021}
}
"""


class Annotations(NamedTuple):
    """The content of a JSON file of the release.

    Attributes:
        names: the name of each species, by the number of its category.
        lineages: its genus, family and so on, by the number of its category.
        paths: the path of each image, by its number.
        labels: the number of its category, by the number of the image.
    """

    names: dict[str, str]
    lineages: dict[str, Lineage]
    paths: dict[int, str]
    labels: dict[int, str]


def _read(folder: Path, config: DataConfig, train_required: bool) -> Collection:
    """Reads `train.json`, or `train_mini.json` if there are no images of `train.json`."""
    with_images = [name for name in TRAIN if (folder / name.removesuffix(".json")).is_dir()]
    train = first_file(folder, (*with_images, *TRAIN)) or " or ".join(TRAIN)
    require(folder, (train, TEST), SOURCE)
    parsed = {split: _parsed(folder / name) for split, name in (("train", train), ("test", TEST))}
    if parsed["train"][:2] != parsed["test"][:2]:
        raise UserError(
            f"{printable(folder)}: {train} and {TEST} have different categories; restore them"
        )
    names, lineages = distinct_names(parsed["train"].names), parsed["train"].lineages
    groups = {
        key: dict(zip(LEVELS, lineage, strict=True))
        for key, lineage in distinct_groups(lineages).items()
    }
    images, used = ImageList(folder, not config.skip_damaged), set()
    for split, list_name in (("train", train), ("test", TEST)):
        for number, (image, path) in enumerate(parsed[split].paths.items(), 1):
            label = parsed[split].labels[image]
            used.add(label)
            place = Place(folder / list_name, number, "image")
            name = look_up(names, Cell(label, place), "its categories")
            images.add(place, path, name, split, groups[label])
    same_keys(folder / train, used, folder / f"the categories of {train}", names)
    return images.collection(list(names.values()), train_required, CITATION)


def _parsed(file: Path) -> Annotations:
    content = read_json(file)
    try:
        categories = {str(each["id"]): each for each in content["categories"]}
        parsed = Annotations(
            {key: str(each["name"]) for key, each in categories.items()},
            {
                key: tuple(str(each[rank]) for rank in LEVELS.values())
                for key, each in categories.items()
            },
            {each["id"]: str(each["file_name"]) for each in content["images"]},
            {each["image_id"]: str(each["category_id"]) for each in content["annotations"]},
        )
        repeated = (
            len(parsed.names) < len(content["categories"])
            or len(parsed.paths) < len(content["images"])
            or len(parsed.labels) < len(content["annotations"])
        )
    except (KeyError, TypeError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise UserError(
            f"{printable(file)}: it is not as in the release ({reason}); restore it"
        ) from error
    if repeated:
        raise UserError(f"{printable(file)}: it has a category or an image twice; restore it")
    lacking = parsed.labels.keys() ^ parsed.paths.keys()
    if lacking:
        raise UserError(
            f"{printable(file)}: image {next(iter(lacking))} is not both in its images and in its "
            "annotations; restore it"
        )
    return parsed


INATURALIST2021 = Release(
    "iNaturalist 2021",
    (*TRAIN, TEST),
    ("inaturalist2021", "inat2021", "2021"),
    SOURCE,
    _read,
)
