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
    views = predict_views(model, inputs, indices, batch_size, average_mirror)
    return views.mean(axis=0) if average_mirror else views[0]


def predict_views(
    model: keras.Model, inputs: Inputs, indices: np.ndarray, batch_size: int, mirror: bool
) -> np.ndarray:
    """Returns the outputs of `predict_indices` before averaging, float32 of shape (views, n, D).

    Args:
        mirror: Whether to predict the mirror image of each image too, as the second view.
    """
    views = [False, True] if mirror else [False]
    if not len(indices):  # Keras cannot predict an empty data set
        return np.empty((len(views), 0, *model.output.shape[1:]), np.float32)
    no_labels, outputs = np.zeros(indices.max() + 1, np.int64), []
    for mirrored in views:
        batches = evaluation_batches(inputs, no_labels, indices, None, batch_size, mirrored)
        with user_errors():
            outputs.append(model.predict(batches, verbose=0))
    return np.stack(outputs) if mirror else outputs[0][None]  # which may be too large to copy


def descriptor_model(describe: Callable, inputs: Inputs) -> keras.Model:
    """Builds a model that applies `describe` to samples of `inputs` and returns float32."""
    sample = keras.Input(inputs.shape)
    return keras.Model(sample, keras.layers.Identity(dtype="float32")(describe(sample)))
