"""The generated data set in TFDS; test_bird_drawing.py tests the drawings."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds

from data import drawn_birds
from data.drawn_birds import DrawnBirds, encoded_image

ROOT = Path(__file__).parents[2]
FEW = {"train": 3, "validation": 1, "test": 2}  # images per species


@pytest.fixture(scope="module")
def builder(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(drawn_birds, "IMAGES_PER_SPECIES", FEW)
        builder = DrawnBirds(data_dir=tmp_path_factory.mktemp("tfds"), file_format="array_record")
        builder.download_and_prepare()
    return builder


@pytest.mark.parametrize("split", FEW)
def test_splits_are_balanced(builder, split):
    labels = [record["label"] for record in builder.as_data_source(split)]
    np.testing.assert_array_equal(np.bincount(labels, minlength=9), FEW[split])


def test_images_are_stored_as_drawn(builder):
    raw = {"image": tfds.decode.SkipDecoding()}
    for record in builder.as_data_source("test", decoders=raw):
        split, index = record["id"].decode().split("_")
        assert record["image"] == encoded_image(split, int(index))
        assert record["label"] == int(index) % 9


def test_images_decode_to_the_declared_size(builder):
    image = builder.as_data_source("train")[0]["image"]
    assert image.shape == (96, 96, 3) and image.dtype == np.uint8


def test_another_process_generates_the_same_bytes():
    code = (
        "import hashlib; from data.drawn_birds import encoded_image;"
        "print(hashlib.sha256(encoded_image('test', 7)).hexdigest())"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout
        for _ in range(2)
    }
    assert len(digests) == 1


def test_no_two_images_are_equal():
    images = {encoded_image(split, index) for split in FEW for index in range(20)}
    assert len(images) == 60


def test_the_builder_s_information(builder):
    assert builder.info.features["label"].num_classes == 9
    assert "red_capped_bluebreast" in builder.info.features["label"].names
    assert "drawn_birds" in builder.info.citation and "second order" in builder.info.description
