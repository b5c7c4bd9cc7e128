"""NABirds (Van Horn et al. 2015): 48,562 photographs of 404 species of birds of North America.

Its 555 classes tell adults from juveniles and males from females where they differ. Its hierarchy
is not equally deep everywhere: only the perching birds are divided into families.
"""

from pathlib import Path

from conf.schema import DataConfig
from data.collection import Collection
from data.names import printable
from data.releases.hierarchy import Lineage, distinct_groups, distinct_names
from data.releases.numbered_lists import CLASSES, HIERARCHY, LABELS, LISTS, read_numbered_lists
from data.releases.release import Release, require
from data.releases.tables import Cell, look_up, read_table
from errors import UserError

SOURCE = "https://dl.allaboutbirds.org/nabirds"
LEVELS = ("species", "family", "order")
CITATION = """@inproceedings{vanhorn2015building,
  title = {Building a Bird Recognition App and Large Scale Dataset with Citizen Scientists: The
           Fine Print in Fine-Grained Dataset Collection},
  author = {Van Horn, Grant and Branson, Steve and Farrell, Ryan and Haber, Scott and Barry, Jessie
            and Ipeirotis, Panos and Perona, Pietro and Belongie, Serge},
  booktitle = {IEEE Conference on Computer Vision and Pattern Recognition (CVPR)},
  year = {2015}
}
"""


def _read(folder: Path, config: DataConfig, train_required: bool) -> Collection:
    if not (folder / HIERARCHY).is_file() and all((folder / name).is_file() for name in LISTS):
        raise UserError(
            f"data.path={printable(folder)}: has no {HIERARCHY}; if it is CUB-200-2011, "
            f"data=cub200 reads it, otherwise restore the file from {SOURCE}"
        )
    require(folder, (*LISTS, HIERARCHY), SOURCE)
    names = {key: cell.text for key, cell in read_table(folder / CLASSES).items()}
    labels = {label.text: label for label in read_table(folder / LABELS).values()}
    for label in labels.values():
        look_up(names, label, CLASSES)
    used = {key: names[key] for key in names if key in labels}  # the others are groups
    lineages = distinct_groups(_lineages(folder / HIERARCHY, names, list(used)))
    groups = {key: dict(zip(LEVELS, lineage, strict=True)) for key, lineage in lineages.items()}
    folders = {key: key.zfill(4) for key in used}
    return read_numbered_lists(
        folder, config, train_required, distinct_names(used), folders, groups, CITATION
    )


def _lineages(file: Path, names: dict[str, str], used: list[str]) -> dict[str, Lineage]:
    """Returns species, family and order of each class.

    The species is the group right above a class, and the order the one right below the root. The
    family is the group above the species: in an order without families, the order itself.
    """
    parents = read_table(file)
    for key, parent in parents.items():
        look_up(names, Cell(key, parent.place), CLASSES)
        look_up(names, parent, CLASSES)
    roots = [key for key in names if key not in parents]
    for key in roots[1:]:
        raise UserError(
            f"{printable(file)}: it lacks class {printable(key)} of {CLASSES}; restore it"
        )
    lineages: dict[str, Lineage] = {}
    for key in used:
        ancestors = [key]
        while ancestors[-1] in parents:
            above = parents[ancestors[-1]]
            if above.text in ancestors:
                group = printable(above.text)
                raise UserError(f"{above.place}: class {group} is a group of its own group")
            ancestors.append(above.text)
        groups = ancestors[1:-1]  # without the root
        if not groups:
            raise UserError(
                f"{printable(file)}: class {printable(key)} of {LABELS} belongs to no group; "
                "restore it"
            )
        species, family, order = groups[0], groups[min(1, len(groups) - 1)], groups[-1]
        lineages[key] = (names[species], names[family], names[order])
    return lineages


NABIRDS = Release("NABirds", (*LISTS, HIERARCHY), ("nabirds",), SOURCE, _read)
