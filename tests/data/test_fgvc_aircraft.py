"""FGVC-Aircraft, from a small folder tree like the archive's."""

import io
import shutil
import tempfile
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from data.fgvc_aircraft import FgvcAircraft
from data.releases.fgvc_aircraft import BANNER

IMAGES = {"train": 4, "val": 2, "test": 3}
WIDTH, HEIGHT = 64, 68
LEVELS = {
    "variant": ("variants.txt", [f"7{i:02d}-100" for i in range(99)] + ["F/A-18"]),
    "family": ("families.txt", [f"Boeing 7{i:02d}" for i in range(70)]),
    "manufacturer": ("manufacturers.txt", [f"Maker {i}" for i in range(30)]),
}


def make_tree(root: Path) -> None:
    """Writes blue images with a red banner; their boxes begin at (2, 5) and end in the banner."""
    data = root / "fgvc-aircraft-2013b" / "data"
    (data / "images").mkdir(parents=True)
    for file, names in LEVELS.values():
        (data / file).write_text("".join(f"{name}\n" for name in names))
    pixels = np.full((HEIGHT, WIDTH, 3), (30, 90, 200), np.uint8)
    pixels[-BANNER:] = (220, 20, 20)
    boxes = []
    for number, (split, count) in enumerate(IMAGES.items()):
        images = [f"{number}00000{i}" for i in range(count)]
        for name in images:
            Image.fromarray(pixels).save(data / "images" / f"{name}.jpg", quality=90)
            boxes.append(f"{name} 2 5 33 {HEIGHT}\n")
        for level, (_, names) in LEVELS.items():
            lines = [f"{name} {names[-1 - i]}\n" for i, name in enumerate(images)]
            (data / f"images_{level}_{split}.txt").write_text("".join(lines))
    (data / "images_box.txt").write_text("".join(boxes))


class FgvcAircraftTest(tfds.testing.DatasetBuilderTestCase):
    """TFDS's own tests of a builder, at all three levels."""

    DATASET_CLASS = FgvcAircraft
    SPLITS = {"train": 4, "validation": 2, "test": 3}  # noqa: RUF012
    SKIP_CHECKSUMS = True  # none is recorded; see the builder

    @classmethod
    def setUpClass(cls):
        cls.EXAMPLE_DIR = tempfile.mkdtemp()
        make_tree(Path(cls.EXAMPLE_DIR))
        super().setUpClass()

    @classmethod
    def tearDownClass(cls):
        super().tearDownClass()
        shutil.rmtree(cls.EXAMPLE_DIR)


class StubDownloads:
    """Replaces TFDS's download manager; the archive is unpacked already."""

    def __init__(self, folder: Path):
        self.folder = folder

    def download_and_extract(self, url: str) -> Path:
        assert url.startswith("https://") and url.endswith("fgvc-aircraft-2013b.tar.gz")
        return self.folder


def examples(tmp_path, split: str) -> list[dict]:
    make_tree(tmp_path / "tree")
    builder = FgvcAircraft(data_dir=tmp_path / "data")
    generators = builder._split_generators(StubDownloads(tmp_path / "tree"))
    assert builder.info.features["label"].names == LEVELS["variant"][1]
    return [example for _, example in generators[split]]


def test_banner_is_cut_off_and_the_rest_is_kept(tmp_path):
    example = examples(tmp_path, "train")[0]
    pixels = np.asarray(Image.open(io.BytesIO(example["image"].getvalue())).convert("RGB"), int)
    assert pixels.shape == (HEIGHT - BANNER, WIDTH, 3)
    assert (
        np.abs(pixels - (30, 90, 200)).max() < 40
    )  # the banner bleeds faintly into the last lines
    assert np.abs(pixels[:-8] - (30, 90, 200)).max() < 8


def test_boxes_are_relative_to_what_remains(tmp_path):
    box = examples(tmp_path, "test")[0]["bbox"]
    expected = (4 / (HEIGHT - BANNER), 1 / WIDTH, 1.0, 33 / WIDTH)
    np.testing.assert_allclose((box.ymin, box.xmin, box.ymax, box.xmax), expected)


def test_labels_may_hold_spaces_and_slashes(tmp_path):
    assert [example["label"] for example in examples(tmp_path, "validation")] == [
        "F/A-18",
        "798-100",
    ]


def test_variant_is_the_default(tmp_path):
    assert FgvcAircraft(data_dir=tmp_path).builder_config.name == "variant"
