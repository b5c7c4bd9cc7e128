"""What several tests share: small made pictures, and configurations as the commands compose them."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from hypothesis import settings
from PIL import Image

from conf.schema import Config, checked

CONF = Path(__file__).parents[1] / "conf"
COLOURS = {"blue": (40, 60, 200), "green": (40, 200, 60), "red": (200, 60, 40)}

settings.register_profile("repeatable", deadline=None, derandomize=True)
settings.load_profile("repeatable")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real photographs and weights; a test that asks for it is marked `shared`."""
    if "FGVC_SHARED" not in os.environ:
        pytest.skip("FGVC_SHARED names no folder of photographs and weights")
    return Path(os.environ["FGVC_SHARED"])


@pytest.fixture(scope="session")
def make_config():
    """`make_config("head=average", "seed=1")` is what `train.py head=average seed=1` runs."""

    def make(*overrides: str) -> Config:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            return checked(compose("config", list(overrides)))

    return make


@pytest.fixture(scope="session")
def draw_pictures():
    """`draw_pictures(folder, 5, (200, 60, 40))` fills a folder with noisy pictures of a colour."""

    def draw(folder: Path, count: int, colour=(120, 120, 120), size=(24, 20)) -> list[Path]:
        folder.mkdir(parents=True, exist_ok=True)
        paths = [folder / f"{number}.png" for number in range(count)]
        for number, path in enumerate(paths):
            noise = np.random.default_rng([*colour, number]).integers(-30, 30, (*size[::-1], 3))
            Image.fromarray((np.array(colour) + noise).astype(np.uint8)).save(path)
        return paths

    return draw


@pytest.fixture(scope="session")
def picture_folder(tmp_path_factory, draw_pictures) -> Path:
    """Three classes, told apart by their colour, of eight pictures each; not to be changed."""
    root = tmp_path_factory.mktemp("pictures")
    for name, colour in COLOURS.items():
        draw_pictures(root / name, 8, colour)
    return root


@pytest.fixture(scope="session")
def folder_config(make_config):
    """The configuration of a small, quick run on a folder of pictures."""

    def make(path: Path, *overrides: str) -> Config:
        return make_config(
            "data=image_folder", f"data.path={path}", "data.image_size=16",
            "backbone=vgg16_random", "backbone.tap=block1_conv1", "trainer.batch_size=4",
            *overrides,
        )

    return make
