"""Centring and scaling descriptors before their linear classifier.

Descriptors of unit norm share a large common part, along which a softmax classifier learns fast
and uselessly, and differ by little, along which it learns slowly. Subtracting their mean and
dividing by one number leaves the classifier as affine as it was, and what it can express; only
gradient descent gets there sooner. A scale for each dimension would weigh noise up: one serves all.
"""

from collections.abc import Callable

import keras
import numpy as np

from data.inputs import Inputs

MOST_SAMPLES = 1024  # enough for a mean


def standardize(
    linear: keras.Model,
    describe: Callable,
    inputs: Inputs,
    indices: np.ndarray,
    batch_size: int,
    variance: float = 1.0,
) -> None:
    """Sets the "standardize" layer of `linear` from descriptors of training samples.

    Args:
        linear: the classifier's linear part, with a `keras.layers.Normalization` of this name.
        describe: from a batch of `inputs` to descriptors of shape (b, D).
        inputs: see `data/inputs.py`.
        rows: training samples; at most `MOST_SAMPLES`, evenly spaced, are read.
        variance: what the descriptors then have, over all their dimensions. Default: 1.
    """
    indices = indices[:: -(-len(indices) // MOST_SAMPLES)]
    total, squares = 0.0, 0.0
    for start in range(0, len(indices), batch_size):
        batch = inputs.evaluation(indices[start : start + batch_size])
        vectors = np.asarray(describe(batch), np.float64)
        total, squares = total + vectors.sum(axis=0), squares + np.square(vectors).sum(axis=0)
    mean = total / len(indices)
    spread = np.sum(squares / len(indices) - mean**2)
    layer = linear.get_layer("standardize")
    layer.adapt_mean.assign(mean)
    layer.adapt_variance.assign(np.full_like(mean, max(spread / variance, 1e-12)))
    layer.finalize_state()


def mean_and_deviation(linear: keras.Model) -> tuple[np.ndarray, np.ndarray]:
    """What the "standardize" layer of `linear` subtracts and divides by; 0 and 1 without one."""
    layers = {layer.name: layer for layer in linear.layers}
    if "standardize" not in layers:
        shape = linear.input.shape[1:]
        return np.zeros(shape, np.float32), np.ones(shape, np.float32)
    layer = layers["standardize"]
    return np.ravel(layer.mean), np.ravel(np.sqrt(layer.variance))
