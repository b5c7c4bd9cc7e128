"""FGVC-Aircraft 2013b (Maji et al. 2013): 10,000 photographs of 100 variants of aircraft.

The banner at the bottom that names the photographer is cut off, as the authors ask.
"""

import dataclasses
import io
from pathlib import Path

from PIL.JpegImagePlugin import JpegImageFile, get_sampling

from conf.schema import DataConfig
from data.collection import Collection
from data.decoding import UndecodableError
from data.image_folder import FolderImages
from data.image_list import ImageList
from data.releases.release import Release, require
from data.releases.tables import box_from_one, look_up, numbers, read_names, read_table, same_keys

SOURCE = "https://www.robots.ox.ac.uk/~vgg/data/fgvc-aircraft/"
BANNER = 20  # pixels at the bottom of each image
# The levels of the hierarchy of aircraft: the file with the names of the classes, and their number.
# A level's name is also part of the names of the annotation files.
LEVELS = {
    "variant": ("variants.txt", 100),  # the classes
    "family": ("families.txt", 70),
    "manufacturer": ("manufacturers.txt", 30),
}
SPLITS = ("train", "val", "test")
BOXES = "images_box.txt"
LISTS = (
    *(file for file, _ in LEVELS.values()),
    *(f"images_{level}_{split}.txt" for level in LEVELS for split in SPLITS),
    BOXES,
)
CITATION = """@techreport{maji13fine-grained,
  title = {Fine-Grained Visual Classification of Aircraft},
  author = {S. Maji and J. Kannala and E. Rahtu and M. Blaschko and A. Vedaldi},
  year = {2013},
  archivePrefix = {arXiv},
  eprint = {1306.5151},
  primaryClass = {cs-cv},
}
"""


class AircraftImages(FolderImages):
    """Photographs without their banners, with the bytes that TFDS stores in this project."""

    def encoded(self, index: int) -> bytes:
        encoded = super().encoded(index)
        try:
            return without_banner(encoded)
        # Damaged files make Pillow raise exceptions of many types.
        except Exception as error:
            raise UndecodableError(self.name(index), str(error)) from error


def without_banner(encoded: bytes) -> bytes:
    """Cuts the lowest `BANNER` pixels off a JPEG; its quality stays almost the same."""
    image, file = JpegImageFile(io.BytesIO(encoded)), io.BytesIO()
    cropped = image.crop((0, 0, image.width, image.height - BANNER))
    # The quantization tables and blocks of the image keep almost all of its quality.
    cropped.save(file, "JPEG", qtables=image.quantization, subsampling=get_sampling(image))
    return file.getvalue()


def _read(folder: Path, config: DataConfig, train_required: bool) -> Collection:
    """Boxes count pixels from 1; their last pixel is part of them."""
    require(folder, LISTS, SOURCE)
    names = {level: read_names(folder / file) for level, (file, _) in LEVELS.items()}
    known = {level: {name: name for name in names[level]} for level in LEVELS}
    boxes = read_table(folder / BOXES)
    files = {split: _files(folder, split) for split in SPLITS}
    tables = {
        split: {level: read_table(file) for level, file in files[split].items()} for split in SPLITS
    }
    for split in SPLITS:
        for level in LEVELS:
            first, other = files[split]["variant"], files[split][level]
            same_keys(other, tables[split][level], first, tables[split]["variant"])
    listed = {name for split in SPLITS for name in tables[split]["variant"]}
    same_keys(folder / BOXES, boxes, folder / "images_variant_*.txt", listed)
    images = ImageList(folder, not config.skip_damaged)
    used: dict[str, set[str]] = {level: set() for level in LEVELS}
    for split in SPLITS:
        for name, variant in tables[split]["variant"].items():
            groups = {
                level: look_up(known[level], tables[split][level][name], file, level)
                for level, (file, _) in LEVELS.items()
            }
            for level, group in groups.items():
                used[level].add(group)
            sides = box_from_one(numbers(boxes[name], 4), boxes[name].place)
            label = groups.pop("variant")
            images.add(variant.place, f"images/{name}.jpg", label, split, groups, sides)
    for level, (file, _) in LEVELS.items():
        same_keys(folder / f"images_{level}_*.txt", used[level], folder / file, known[level])
    collection = images.collection(list(names["variant"]), train_required, CITATION)
    whole = collection.images
    assert isinstance(whole, FolderImages)
    cut = AircraftImages(whole.root, whole.files, whole.labels, whole.boxes)
    return dataclasses.replace(collection, images=cut)


def _files(folder: Path, split: str) -> dict[str, Path]:
    return {level: folder / f"images_{level}_{split}.txt" for level in LEVELS}


FGVC_AIRCRAFT = Release(
    "FGVC-Aircraft",
    LISTS,
    ("data", "fgvc-aircraft-2013b/data"),
    SOURCE,
    _read,
)
