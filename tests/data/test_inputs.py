"""The inputs of a model: images, or stored arrays."""

import numpy as np
import pytest

from conf.schema import Crop, DataConfig
from data.decoding import evaluation_view
from data.image_folder import read_folder
from data.inputs import ArrayInputs, ImageInputs
from errors import UserError


@pytest.fixture
def config() -> DataConfig:
    return DataConfig(name="image_folder", image_size=16, train_crop=Crop.random_resized)


@pytest.fixture
def inputs(image_folder_path, config) -> ImageInputs:
    return ImageInputs(read_folder(image_folder_path)[0], config)


def test_evaluation_returns_centre_crops_in_the_order_of_the_indices(inputs, config):
    batch = inputs.evaluation(np.array([9, 2, 2]))
    assert batch.shape == (3, *inputs.shape) == (3, 16, 16, 3)
    assert batch.dtype == inputs.dtype == np.uint8
    for view, index in zip(batch, [9, 2, 2], strict=True):
        expected = evaluation_view(inputs.source.encoded(index), "it", config)
        np.testing.assert_array_equal(view, expected)


def test_evaluation_can_mirror_images(inputs):
    indices = np.array([0, 5])
    np.testing.assert_array_equal(
        inputs.evaluation(indices, mirrored=True), inputs.evaluation(indices)[:, :, ::-1]
    )


def test_a_training_view_depends_only_on_seed_epoch_and_index(inputs):
    alone = inputs.training(np.array([7]), seed=1, epoch=2)[0]
    np.testing.assert_array_equal(inputs.training(np.array([3, 7]), seed=1, epoch=2)[1], alone)


@pytest.mark.parametrize(("seed", "epoch", "index"), [(0, 2, 7), (1, 3, 7), (1, 2, 8)])
def test_a_training_view_changes_with_seed_epoch_and_index(inputs, seed, epoch, index):
    views = [
        inputs.training(np.array([7]), seed=1, epoch=2),
        inputs.training(np.array([index]), seed=seed, epoch=epoch),
    ]
    assert (views[0] != views[1]).any()


def test_an_undecodable_image_is_named(tmp_path, draw_images, config):
    draw_images(tmp_path / "oak", 3)[1].write_bytes(b"no image")
    inputs = ImageInputs(read_folder(tmp_path)[0], config)
    with pytest.raises(UserError, match=r"oak/1\.png cannot be decoded"):
        inputs.training(np.arange(3), seed=0, epoch=0)


def stored(indices: list[int], views: int) -> ArrayInputs:
    """Inputs whose samples are their index and view."""
    indices = np.array(indices)

    def take(positions, view):
        return np.stack([indices[positions], view], axis=-1).astype(np.float32)

    return ArrayInputs(indices, take, (2,), np.float32, views)


def test_stored_views_are_read_by_the_image_s_index():
    inputs = stored([2, 5, 11, 12], views=2)
    assert inputs.evaluation(np.array([11, 2])).tolist() == [[11, 0], [2, 0]]
    assert inputs.evaluation(np.array([5]), mirrored=True).tolist() == [[5, 1]]


def test_with_one_view_stored_training_reads_that_one():
    batch = stored([2, 5, 11], views=1).training(np.array([11, 5]), seed=0, epoch=0)
    assert batch.tolist() == [[11, 0], [5, 0]]


def test_with_two_views_stored_training_takes_either_half_of_the_time():
    indices = np.arange(400)
    image, view = stored(list(indices), views=2).training(indices, seed=0, epoch=0).T
    np.testing.assert_array_equal(image, indices)
    assert 150 < view.sum() < 250


def test_the_stored_view_for_training_depends_only_on_seed_epoch_and_index():
    inputs, indices = stored(list(range(50)), views=2), np.arange(50)
    views = inputs.training(indices, seed=3, epoch=4)
    np.testing.assert_array_equal(inputs.training(indices[::-1], seed=3, epoch=4), views[::-1])
    assert (inputs.training(indices, seed=3, epoch=5) != views).any()
    assert (inputs.training(indices, seed=2, epoch=4) != views).any()
