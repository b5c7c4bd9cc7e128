"""The generated data set through TFDS; its pictures are examined in test_bird_drawing.py."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds

from data import drawn_birds
from data.drawn_birds import DrawnBirds, encoded_picture

ROOT = Path(__file__).parents[2]
FEW = {"train": 3, "validation": 1, "test": 2}  # pictures a species


@pytest.fixture(scope="module")
def builder(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(drawn_birds, "PICTURES_PER_SPECIES", FEW)
        builder = DrawnBirds(data_dir=tmp_path_factory.mktemp("tfds"), file_format="array_record")
        builder.download_and_prepare()
    return builder


@pytest.mark.parametrize("split", FEW)
def test_splits_are_balanced(builder, split):
    labels = [row["label"] for row in builder.as_data_source(split)]
    np.testing.assert_array_equal(np.bincount(labels, minlength=9), FEW[split])


def test_pictures_are_stored_as_drawn(builder):
    raw = {"image": tfds.decode.SkipDecoding()}
    for row in builder.as_data_source("test", decoders=raw):
        split, index = row["id"].decode().split("_")
        assert row["image"] == encoded_picture(split, int(index))
        assert row["label"] == int(index) % 9


def test_pictures_decode_to_the_size_promised(builder):
    image = builder.as_data_source("train")[0]["image"]
    assert image.shape == (96, 96, 3) and image.dtype == np.uint8


def test_the_same_bytes_in_another_process():
    code = (
        "import hashlib; from data.drawn_birds import encoded_picture;"
        "print(hashlib.sha256(encoded_picture('test', 7)).hexdigest())"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout
        for _ in range(2)
    }
    assert len(digests) == 1


def test_no_picture_comes_twice():
    pictures = {encoded_picture(split, index) for split in FEW for index in range(20)}
    assert len(pictures) == 60


def test_info(builder):
    assert builder.info.features["label"].num_classes == 9
    assert "red_capped_bluebreast" in builder.info.features["label"].names
    assert "drawn_birds" in builder.info.citation and "second order" in builder.info.description
