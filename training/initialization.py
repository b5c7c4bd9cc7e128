"""Where what is learned of descriptors begins: their principal axes, instead of chance.

A random projection of 10^5 dimensions to some hundred blurs every inner product, and a few hundred
pictures do not teach it better. Principal axes keep the training pictures' geometry; whitening
keeps from it what tells them apart, not what they all share: that is most of a descriptor's norm.
"""

from collections.abc import Callable

import keras
import numpy as np

from conf.schema import Config, EmbeddingInit
from data.datasets import Dataset
from data.inputs import Inputs
from models.adapter import LowRankAdapter
from models.parts import Parts
from training.standardization import mean_and_deviation, standardize

SMALLEST = 1e-6  # of a principal variance, relative to the largest: below it is rounding
PIECE = 4096  # dimensions whose inner products are taken at a time


def initialize_from_data(
    config: Config, dataset: Dataset, parts: Parts, inputs: Inputs, describe: Callable
) -> None:
    """Sets from training descriptors what `parts.linear` does not leave to chance: "standardize"
    and "embedding". Descriptors that are trained too have no statistics yet, and set nothing.

    Args:
        config: `head.standardize`, `head.embedding_init`, `data.mirror`.
        dataset: whose training split is read.
        parts: the model's.
        inputs: stage 1's.
        describe: from a batch of `inputs` to descriptors.
    """
    if parts.descriptor.trainable_weights:
        return
    train, size = dataset.splits["train"], config.trainer.batch_size
    if config.head.standardize:
        standardize(parts.linear, describe, inputs, train, size)
    if config.head.embedding is not None:
        views = 2 if config.data.mirror else 1
        initialize_embedding(
            parts.linear, config.head.embedding_init, describe, inputs, train, views, size
        )


def initialize_embedding(
    linear: keras.Model,
    how: EmbeddingInit,
    describe: Callable,
    inputs: Inputs,
    indices: np.ndarray,
    views: int,
    batch_size: int,
) -> None:
    """Sets the layer "embedding" of `linear` from descriptors of training samples.

    Units beyond the number of samples, or of dimensions, stay as they are drawn.

    Args:
        linear: from descriptors to embeddings; what stands before that layer counts.
        how: `random` leaves everything as it is drawn; `pca` projects on the principal axes of the
            second moment (of the covariance, where `linear` standardises); `whitening` divides
            each by its standard deviation too, so that on average the samples have unit norm.
        describe: from a batch of `inputs` to descriptors of shape (b, D).
        inputs: see `data/inputs.py`.
        rows: training samples; at most twice as many as there are units, evenly spaced, are read.
        views: 2 adds the mirrored ones.
        batch_size: samples that are described at a time.
    """
    if how is EmbeddingInit.random:
        return
    kernel = linear.get_layer("embedding").kernel
    units = kernel.shape[-1]
    indices = indices[:: -(-len(indices) // (2 * units))]
    samples = np.concatenate(
        [
            np.asarray(describe(inputs.evaluation(indices[start : start + batch_size], bool(view))))
            for view in range(views)
            for start in range(0, len(indices), batch_size)
        ]
    )
    mean, deviation = mean_and_deviation(linear)
    samples -= mean
    samples /= deviation
    axes, variances = _principal_axes(samples, units)
    if how is EmbeddingInit.whitening:
        axes /= np.sqrt(variances * len(variances)).astype(np.float32)
    drawn = keras.ops.convert_to_numpy(kernel).copy()
    drawn[:, : len(variances)] = axes
    kernel.assign(drawn)


def set_directions(adapter: LowRankAdapter, vectors: np.ndarray) -> None:
    """Has a built adapter change the directions in which `vectors`, (n, D), vary most.

    Where they vary in fewer than its rank it has no others.
    """
    centred = vectors - vectors.mean(axis=0, dtype=np.float64)
    axes, variances = _principal_axes(centred, adapter.rank)
    down = np.zeros(adapter.down.shape, np.float32)
    down[:, : len(variances)] = axes
    adapter.down.assign(down)


def _principal_axes(samples: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    """The axes of largest second moment, (D, k), and these, (k,), largest first."""
    count, size = samples.shape
    if size <= count:
        exact = samples.astype(np.float64)
        variances, axes = np.linalg.eigh(exact.T @ exact / count)
    else:  # the same from the inner products of the samples, which are fewer
        products = np.zeros((count, count))
        for start in range(0, size, PIECE):
            piece = samples[:, start : start + PIECE].astype(np.float64)
            products += piece @ piece.T
        variances, axes = np.linalg.eigh(products / count)
    kept = np.flatnonzero(variances > SMALLEST * variances[-1])[::-1][:most]
    variances, axes = variances[kept], axes[:, kept]
    if size > count:
        axes = samples.T @ (axes / np.sqrt(variances * count)).astype(np.float32)
    return axes.astype(np.float32), variances
