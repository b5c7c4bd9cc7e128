"""Files for TensorBoard's projector."""

import numpy as np
import pytest
from google.protobuf import text_format
from PIL import Image
from tensorboard.plugins.projector import ProjectorConfig

from data.datasets import open_dataset
from reporting import projector


@pytest.fixture
def opened(folder_config, image_folder_path) -> tuple:
    config = folder_config(image_folder_path).data
    return open_dataset(config, 0), config


def test_every_file_that_the_configuration_names_has_all_images(opened, tmp_path):
    dataset, config = opened
    indices = dataset.splits["test"]
    vectors = np.arange(3 * len(indices), dtype=np.float32).reshape(-1, 3)
    projector.write(tmp_path, "test", vectors, dataset, "test", config)
    text = (tmp_path / "projector_config.pbtxt").read_text()
    [embedding] = text_format.Parse(text, ProjectorConfig()).embeddings
    np.testing.assert_allclose(np.loadtxt(tmp_path / embedding.tensor_path), vectors)
    header, *lines = (tmp_path / embedding.metadata_path).read_text().splitlines()
    assert header == "class\tpicture"
    assert lines[0] == f"blue\t{dataset.images.name(indices[0])}" and len(lines) == len(indices)
    sheet = Image.open(tmp_path / embedding.sprite.image_path)
    assert sheet.size == (3 * 64, 3 * 64)  # six images
    assert list(embedding.sprite.single_image_dim) == [64, 64]
    red, green, blue = np.asarray(sheet)[:64, :64].mean(axis=(0, 1))
    assert blue > max(red, green), "the first image is at the upper left"


def test_a_large_split_is_subsampled(opened, tmp_path, monkeypatch):
    monkeypatch.setattr(projector, "MAX_POINTS", 3)
    dataset, config = opened
    projector.write(tmp_path, "test", np.eye(6), dataset, "test", config)
    np.testing.assert_allclose(np.loadtxt(tmp_path / "vectors.tsv"), np.eye(6)[::2])
