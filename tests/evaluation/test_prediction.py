"""Predictions of a model for a split."""

import keras
import numpy as np
import pytest

from data.datasets import Dataset
from data.inputs import ArrayInputs
from evaluation.prediction import predict_indices, predict_split


class Labelled:
    labels = np.array([0, 1, 0, 1, 1])


def doubled_model() -> keras.Model:
    vector = keras.Input((2,))
    return keras.Model(vector, keras.layers.Rescaling(2.0)(vector))


@pytest.mark.parametrize(("average_mirror", "expected"), [(False, 0), (True, 5)])
def test_predictions_have_the_order_of_the_split_and_can_average_the_mirror_image(
    average_mirror, expected
):
    def take(indices, views):  # the mirrored view is larger by 5
        return np.stack([indices + 5.0 * views, views], axis=-1).astype(np.float32)

    inputs = ArrayInputs(np.arange(5), take, (2,), np.float32, 2)
    splits = {"train": np.arange(2), "val": np.arange(0), "test": np.array([2, 3, 4])}
    dataset = Dataset("made", Labelled(), ["ant", "bee"], splits, "")
    predictions = predict_split(doubled_model(), inputs, dataset, "test", 2, average_mirror)
    assert predictions.dtype == np.float32
    np.testing.assert_allclose(predictions[:, 0], [4 + expected, 6 + expected, 8 + expected])


def test_no_indices_give_no_predictions():
    inputs = ArrayInputs(np.arange(5), lambda indices, views: indices, (2,), np.float32, 1)
    dataset = Dataset("made", Labelled(), ["ant", "bee"], {}, "")
    predictions = predict_indices(doubled_model(), inputs, dataset, np.arange(0), 2)
    assert predictions.shape == (0, 2) and predictions.dtype == np.float32
