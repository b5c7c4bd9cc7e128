"""CUB-200-2011 (Wah et al. 2011): 11,788 photographs of 200 species of birds."""

from pathlib import Path

from conf.schema import DataConfig
from data.collection import Collection
from data.names import printable
from data.releases.numbered_lists import CLASSES, HIERARCHY, LABELS, LISTS, read_numbered_lists
from data.releases.release import Release, require
from data.releases.tables import read_table, same_keys
from errors import UserError

SOURCE = "https://data.caltech.edu/records/65de6-vp158"
CITATION = """@techreport{wah2011caltech,
  title = {The Caltech-UCSD Birds-200-2011 Dataset},
  author = {Wah, Catherine and Branson, Steve and Welinder, Peter and Perona, Pietro and
            Belongie, Serge},
  number = {CNS-TR-2011-001},
  institution = {California Institute of Technology},
  year = {2011}
}
"""


def _read(folder: Path, config: DataConfig, train_required: bool) -> Collection:
    if (folder / HIERARCHY).is_file():
        raise UserError(
            f"data.path={printable(folder)}: it has {HIERARCHY}, so it is NABirds; data=nabirds "
            "reads it"
        )
    require(folder, LISTS, SOURCE)
    classes = read_table(folder / CLASSES)
    used = {label.text for label in read_table(folder / LABELS).values()}
    same_keys(folder / CLASSES, classes, folder / LABELS, used)
    names = {key: cell.text for key, cell in classes.items()}
    return read_numbered_lists(folder, config, train_required, names, names, {}, CITATION)


CUB200 = Release("CUB-200-2011", LISTS, ("CUB_200_2011",), SOURCE, _read)
