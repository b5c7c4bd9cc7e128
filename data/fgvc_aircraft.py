"""FGVC-Aircraft 2013b (Maji et al. 2013) as a TFDS data set; TFDS itself has none.

    builder = FgvcAircraft(config="family", data_dir="...", file_format="array_record")
    builder.download_and_prepare()

The archive (2.75 GB) comes from the authors' server over HTTPS. Its checksum is not recorded
here, so TFDS does not verify the download; a damaged archive still fails to unpack.
"""

import inspect
import io
from collections.abc import Iterator
from typing import ClassVar

import tensorflow_datasets as tfds
from etils import epath
from PIL.JpegImagePlugin import JpegImageFile, get_sampling

URL = "https://www.robots.ox.ac.uk/~vgg/data/fgvc-aircraft/archives/fgvc-aircraft-2013b.tar.gz"
BANNER = 20  # pixels at the bottom of each image; it names the photographer

_CITATION = """
@techreport{maji13fine-grained,
  title = {Fine-Grained Visual Classification of Aircraft},
  author = {S. Maji and J. Kannala and E. Rahtu and M. Blaschko and A. Vedaldi},
  year = {2013},
  archivePrefix = {arXiv},
  eprint = {1306.5151},
  primaryClass = {cs-cv},
}
"""


# The levels of the hierarchy of aircraft: the file with the names of the classes, and their number.
# A level's name is also part of the names of the annotation files.
LEVELS = {
    "variant": ("variants.txt", 100),  # the default
    "family": ("families.txt", 70),
    "manufacturer": ("manufacturers.txt", 30),
}


class FgvcAircraft(tfds.core.GeneratorBasedBuilder):
    """10,000 photographs of aircraft, 100 of each of 100 variants (such as Boeing 737-700), which
    group into 70 families and 30 manufacturers; a third each to train, to validate and to test. The
    banner of 20 pixels at the bottom that names the photographer is cut off, as the authors ask;
    bounding boxes are relative to what remains. For non-commercial research only: the photographers
    keep the copyright.
    """

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar = {"1.0.0": "2013b, without the banners."}
    BUILDER_CONFIGS: ClassVar = [tfds.core.BuilderConfig(name=level) for level in LEVELS]

    def _info(self) -> tfds.core.DatasetInfo:
        _, num_classes = LEVELS[self.builder_config.name]
        features = {
            "image": tfds.features.Image(encoding_format="jpeg"),
            "label": tfds.features.ClassLabel(num_classes=num_classes),
            "id": tfds.features.Text(),
            "bbox": tfds.features.BBoxFeature(),
        }
        return self.dataset_info_from_configs(
            description=inspect.getdoc(type(self)),
            features=tfds.features.FeaturesDict(features),
            supervised_keys=("image", "label"),
            homepage="https://www.robots.ox.ac.uk/~vgg/data/fgvc-aircraft/",
            citation=_CITATION,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager):
        folder = epath.Path(dl_manager.download_and_extract(URL)) / "fgvc-aircraft-2013b" / "data"
        file, _ = LEVELS[self.builder_config.name]
        names = (folder / file).read_text("utf-8").splitlines()
        self.info.features["label"].names = [name.strip() for name in names]
        official = {"train": "train", "validation": "val", "test": "test"}
        return {split: self._generate_examples(folder, name) for split, name in official.items()}

    def _generate_examples(self, folder: epath.Path, official: str) -> Iterator[tuple[str, dict]]:
        boxes = dict(_annotations(folder / "images_box.txt"))
        level = self.builder_config.name
        for name, label in _annotations(folder / f"images_{level}_{official}.txt"):
            image = JpegImageFile(io.BytesIO((folder / "images" / f"{name}.jpg").read_bytes()))
            width, height = image.width, image.height - BANNER
            # The quantization tables and blocks of the image keep almost all of its quality.
            file, tables = io.BytesIO(), image.quantization
            cropped = image.crop((0, 0, width, height))
            cropped.save(file, "JPEG", qtables=tables, subsampling=get_sampling(image))
            file.seek(0)
            box = _relative(boxes[name], width, height)
            yield name, {"image": file, "label": label, "id": name, "bbox": box}


def _annotations(file: epath.Path) -> list[tuple[str, str]]:
    """The lines of an annotation file: the image's name, a space, and its annotation."""
    lines = (line.strip().partition(" ") for line in file.read_text("utf-8").splitlines())
    return [(name, annotation) for name, _, annotation in lines]


def _relative(box: str, width: int, height: int) -> tfds.features.BBox:
    """Converts a box in pixels, counted from (1, 1), to fractions of the image."""
    xmin, ymin, xmax, ymax = map(float, box.split())
    top, left = (ymin - 1) / height, (xmin - 1) / width
    return tfds.features.BBox(min(top, 1.0), left, min(ymax / height, 1.0), min(xmax / width, 1.0))
