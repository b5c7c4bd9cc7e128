"""Predictions of a model for images or their features."""

from collections.abc import Callable

import keras
import numpy as np

from data.inputs import Inputs
from data.pipeline import evaluation_batches, user_errors


def predict_indices(
    model: keras.Model,
    inputs: Inputs,
    indices: np.ndarray,
    batch_size: int,
    average_mirror: bool = False,
) -> np.ndarray:
    """Returns the outputs of `model` in the order of `indices`, float32 of shape (n, D).

    Args:
        model: A model from samples of `inputs` to probabilities or vectors.
        average_mirror: Whether to average the outputs for each image and its mirror image.
    """
    if not len(indices):  # Keras cannot predict an empty data set
        return np.empty((0, *model.output.shape[1:]), np.float32)
    no_labels, views = np.zeros(indices.max() + 1, np.int64), []
    for mirrored in [False, True] if average_mirror else [False]:
        batches = evaluation_batches(inputs, no_labels, indices, None, batch_size, mirrored)
        with user_errors():
            views.append(model.predict(batches, verbose=0))
    return np.mean(views, axis=0) if average_mirror else views[0]


def descriptor_model(describe: Callable, inputs: Inputs) -> keras.Model:
    """Builds a model that applies `describe` to samples of `inputs` and returns float32."""
    sample = keras.Input(inputs.shape)
    return keras.Model(sample, keras.layers.Identity(dtype="float32")(describe(sample)))
