"""What a model can read: pictures, or arrays that were stored."""

import numpy as np
import pytest

from conf.schema import Crop, DataConfig
from data.image_folder import read_folder
from data.inputs import ArrayInputs, PictureInputs
from data.pictures import evaluation_view
from errors import UserError


@pytest.fixture
def config() -> DataConfig:
    return DataConfig(name="image_folder", image_size=16, train_crop=Crop.random_resized)


@pytest.fixture
def inputs(picture_folder, config) -> PictureInputs:
    return PictureInputs(read_folder(picture_folder)[0], config)


def test_pictures_for_evaluation_are_centre_crops_in_the_order_asked_for(inputs, config):
    batch = inputs.evaluation(np.array([9, 2, 2]))
    assert batch.shape == (3, *inputs.shape) == (3, 16, 16, 3)
    assert batch.dtype == inputs.dtype == np.uint8
    for view, row in zip(batch, [9, 2, 2], strict=True):
        expected = evaluation_view(inputs.source.encoded(row), "it", config)
        np.testing.assert_array_equal(view, expected)


def test_pictures_for_evaluation_may_be_mirrored(inputs):
    rows = np.array([0, 5])
    np.testing.assert_array_equal(
        inputs.evaluation(rows, mirrored=True), inputs.evaluation(rows)[:, :, ::-1]
    )


def test_a_training_view_depends_on_seed_epoch_and_row_alone(inputs):
    alone = inputs.training(np.array([7]), seed=1, epoch=2)[0]
    np.testing.assert_array_equal(inputs.training(np.array([3, 7]), seed=1, epoch=2)[1], alone)


@pytest.mark.parametrize(("seed", "epoch", "row"), [(0, 2, 7), (1, 3, 7), (1, 2, 8)])
def test_a_training_view_changes_with_seed_epoch_and_row(inputs, seed, epoch, row):
    views = [
        inputs.training(np.array([7]), seed=1, epoch=2),
        inputs.training(np.array([row]), seed=seed, epoch=epoch),
    ]
    assert (views[0] != views[1]).any()


def test_an_undecodable_picture_is_named(tmp_path, draw_pictures, config):
    draw_pictures(tmp_path / "oak", 3)[1].write_bytes(b"no picture")
    inputs = PictureInputs(read_folder(tmp_path)[0], config)
    with pytest.raises(UserError, match=r"oak/1\.png cannot be decoded"):
        inputs.training(np.arange(3), seed=0, epoch=0)


def stored(rows: list[int], views: int) -> ArrayInputs:
    """Arrays that say which picture and which view they are."""
    rows = np.array(rows)

    def take(positions, view):
        return np.stack([rows[positions], view], axis=-1).astype(np.float32)

    return ArrayInputs(rows, take, (2,), np.float32, views)


def test_stored_views_are_found_by_the_picture_s_row():
    inputs = stored([2, 5, 11, 12], views=2)
    assert inputs.evaluation(np.array([11, 2])).tolist() == [[11, 0], [2, 0]]
    assert inputs.evaluation(np.array([5]), mirrored=True).tolist() == [[5, 1]]


def test_with_one_view_stored_training_reads_that_one():
    batch = stored([2, 5, 11], views=1).training(np.array([11, 5]), seed=0, epoch=0)
    assert batch.tolist() == [[11, 0], [5, 0]]


def test_with_two_views_stored_training_takes_either_half_of_the_time():
    rows = np.arange(400)
    picture, view = stored(list(rows), views=2).training(rows, seed=0, epoch=0).T
    np.testing.assert_array_equal(picture, rows)
    assert 150 < view.sum() < 250


def test_the_stored_view_that_training_takes_depends_on_seed_epoch_and_row_alone():
    inputs, rows = stored(list(range(50)), views=2), np.arange(50)
    views = inputs.training(rows, seed=3, epoch=4)
    np.testing.assert_array_equal(inputs.training(rows[::-1], seed=3, epoch=4), views[::-1])
    assert (inputs.training(rows, seed=3, epoch=5) != views).any()
    assert (inputs.training(rows, seed=2, epoch=4) != views).any()
