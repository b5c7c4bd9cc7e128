"""Fixtures that several tests share."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

SIZE = 32  # pixels, of the made pictures
COLOURS = {"blue": (40, 60, 200), "green": (40, 180, 60), "red": (200, 50, 40)}


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real photographs and weights; without it the test is skipped.

    Where FGVC_SHARED is set, a missing folder is a failure: CI promises that it is there.
    """
    if "FGVC_SHARED" not in os.environ:
        pytest.skip("needs real photographs and weights; set FGVC_SHARED to their folder")
    folder = Path(os.environ["FGVC_SHARED"])
    assert (folder / "photos").is_dir(), f"FGVC_SHARED={folder} has no photos"
    return folder


def save_picture(path: Path, colour=(128, 128, 128), size=(SIZE, SIZE), seed: int = 0) -> Path:
    """A noisy picture of one colour; the noise depends on `seed`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).normal(0, 30, (size[1], size[0], 3))
    pixels = np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def picture_folder(tmp_path) -> Path:
    """Three classes that their colour tells apart, ten pictures each, as `class/picture.png`."""
    root = tmp_path / "pictures"
    for number, (name, colour) in enumerate(COLOURS.items()):
        for i in range(10):
            save_picture(root / name / f"{i}.png", colour, seed=100 * number + i)
    return root
