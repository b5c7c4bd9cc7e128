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
from PIL.JpegImagePlugin import JpegImageFile

from data.releases.fgvc_aircraft import CITATION, LEVELS, without_banner

URL = "https://www.robots.ox.ac.uk/~vgg/data/fgvc-aircraft/archives/fgvc-aircraft-2013b.tar.gz"


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
            citation=CITATION,
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
            encoded = without_banner((folder / "images" / f"{name}.jpg").read_bytes())
            image = JpegImageFile(io.BytesIO(encoded))
            box = _relative(boxes[name], image.width, image.height)
            yield name, {"image": io.BytesIO(encoded), "label": label, "id": name, "bbox": box}


def _annotations(file: epath.Path) -> list[tuple[str, str]]:
    """The lines of an annotation file: the image's name, a space, and its annotation."""
    lines = (line.strip().partition(" ") for line in file.read_text("utf-8").splitlines())
    return [(name, annotation) for name, _, annotation in lines]


def _relative(box: str, width: int, height: int) -> tfds.features.BBox:
    """Converts a box in pixels, counted from (1, 1), to fractions of the image."""
    xmin, ymin, xmax, ymax = map(float, box.split())
    top, left = (ymin - 1) / height, (xmin - 1) / width
    return tfds.features.BBox(min(top, 1.0), left, min(ymax / height, 1.0), min(xmax / width, 1.0))
