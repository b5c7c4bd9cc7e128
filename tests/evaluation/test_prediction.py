"""Predictions of a model for images or their features."""

import keras
import numpy as np
import pytest

from data.inputs import ArrayInputs
from evaluation.prediction import predict_indices


def doubled_model() -> keras.Model:
    vector = keras.Input((2,))
    return keras.Model(vector, keras.layers.Rescaling(2.0)(vector))


@pytest.mark.parametrize(("average_mirror", "expected"), [(False, 0), (True, 5)])
def test_predictions_have_the_order_of_the_indices_and_can_average_the_mirror_image(
    average_mirror, expected
):
    def take(indices, views):  # the mirrored view is larger by 5
        return np.stack([indices + 5.0 * views, views], axis=-1).astype(np.float32)

    inputs = ArrayInputs(np.arange(5), take, (2,), np.float32, 2)
    predictions = predict_indices(doubled_model(), inputs, np.array([3, 2, 4]), 2, average_mirror)
    assert predictions.dtype == np.float32
    np.testing.assert_allclose(predictions[:, 0], [6 + expected, 4 + expected, 8 + expected])


def test_no_indices_give_no_predictions():
    inputs = ArrayInputs(np.arange(5), lambda indices, views: indices, (2,), np.float32, 1)
    predictions = predict_indices(doubled_model(), inputs, np.arange(0), 2)
    assert predictions.shape == (0, 2) and predictions.dtype == np.float32
