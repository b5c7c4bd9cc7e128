"""Sets weights from training descriptors, before gradient descent starts.

The descriptors of a training split, or an evenly spaced part of it, give

- the layer "standardize" its mean and its scale. Descriptors of unit norm share a large common
  part, along which a softmax classifier learns fast and uselessly, and differ by little, along
  which it learns slowly. Subtracting the mean and dividing by one number changes nothing that a
  linear classifier can express, and gradient descent gets there sooner. All dimensions share one
  scale, since a scale for each dimension would amplify noise.
- the layer "embedding" its principal axes. A random projection of 10^5 dimensions to a few hundred
  blurs every inner product, and a few hundred images do not teach it better. Principal axes keep
  the geometry of the training images; whitening gives the differences between images the same
  weight as the part that all images share, which is most of a descriptor's norm.
- a `LowRankAdapter` its directions.
"""

from collections.abc import Callable, Iterator

import keras
import numpy as np

from conf.schema import Config, EmbeddingInit
from data.datasets import Dataset
from data.inputs import Inputs
from models.model_layers import LowRankAdapter
from models.parts import Parts
from training.gram_matrix import column_blocks, gram_matrix

MAX_SAMPLES = 1024  # enough for a mean
MIN_VARIANCE = 1e-6  # of a principal axis, relative to the largest; smaller ones are rounding


def initialize_from_data(
    config: Config, dataset: Dataset, parts: Parts, inputs: Inputs, describe: Callable
) -> None:
    """Initialises the layers "standardize" and "embedding" of `parts.linear`, where it has them.

    Does nothing if the descriptors are trained too: their statistics will change.

    Args:
        config: reads `head.standardize`, `head.embedding`, `head.embedding_init`, `data.mirror` and
            `trainer.batch_size`.
        dataset: its training split is read.
        parts: the parts of the model.
        inputs: the inputs of stage 1.
        describe: maps a batch of `inputs` to descriptors of shape (b, D).
    """
    if parts.descriptor.trainable_weights:
        return
    train = dataset.splits["train"]
    if config.head.standardize:
        standardize(parts.linear, describe, inputs, train, config.trainer.batch_size)
    if config.head.embedding is not None:
        initialize_embedding(config, parts.linear, describe, inputs, train)


def standardize(
    linear: keras.Model,
    describe: Callable,
    inputs: Inputs,
    indices: np.ndarray,
    batch_size: int,
    variance: float = 1.0,
) -> None:
    """Sets the layer "standardize" of `linear`, a `Normalization`.

    Args:
        linear: maps descriptors to logits or embeddings.
        describe: maps a batch of `inputs` to descriptors of shape (b, D).
        inputs: see `data/inputs.py`.
        indices: training samples; at most `MAX_SAMPLES` of them, evenly spaced, are read.
        batch_size: samples that are described at a time.
        variance: sum of the variances of all dimensions afterwards. Default: 1.
    """
    indices = averaged_samples(indices)
    total, squares = 0.0, 0.0
    for batch in _descriptors(describe, inputs, indices, batch_size):
        vectors = batch.astype(np.float64)
        total, squares = total + vectors.sum(axis=0), squares + np.square(vectors).sum(axis=0)
    mean = np.asarray(total / len(indices))
    spread = np.sum(squares / len(indices) - mean**2)
    set_statistics(linear, mean, max(spread / variance, 1e-12))


def set_statistics(linear: keras.Model, mean: np.ndarray, variance: float) -> None:
    """Sets the mean, (D,), and the variance that all dimensions share, of "standardize"."""
    layer = linear.get_layer("standardize")
    layer.adapt_mean.assign(mean)
    layer.adapt_variance.assign(np.full_like(mean, variance))
    layer.finalize_state()


def averaged_samples(indices: np.ndarray) -> np.ndarray:
    """Returns at most `MAX_SAMPLES` of the samples, evenly spaced."""
    return evenly_spaced(indices, MAX_SAMPLES)


def embedded_samples(indices: np.ndarray, units: int) -> np.ndarray:
    """Returns at most twice as many of the samples as an embedding has units, evenly spaced."""
    return evenly_spaced(indices, 2 * units)


def evenly_spaced(indices: np.ndarray, most: int) -> np.ndarray:
    """Returns at most `most` of the samples."""
    return indices[:: -(-len(indices) // most)]


def mean_and_deviation(linear: keras.Model) -> tuple[np.ndarray, np.ndarray]:
    """Returns the numbers that "standardize" subtracts and divides by, (D,); 0 and 1 if `linear`
    has no such layer."""
    for layer in linear.layers:
        if layer.name == "standardize":
            return np.ravel(layer.mean), np.ravel(np.sqrt(layer.variance))
    shape = linear.input.shape[1:]
    return np.zeros(shape, np.float32), np.ones(shape, np.float32)


def initialize_embedding(
    config: Config, linear: keras.Model, describe: Callable, inputs: Inputs, indices: np.ndarray
) -> None:
    """Initialises the layer "embedding" of `linear` with the principal axes of the descriptors.

    If there are more units than samples or dimensions, the other units keep their random weights.

    Args:
        config: reads `trainer.batch_size`; `data.mirror`, which adds the mirrored images; and
            `head.embedding_init`: `random` changes nothing; `pca` projects on the principal axes of
            the second moment (of the covariance, if `linear` standardises); `whitening` also
            divides each axis by its standard deviation, so that the mean squared norm of the
            samples is 1.
        linear: maps descriptors to embeddings; a layer "standardize" comes first, if there is one.
        describe: maps a batch of `inputs` to descriptors of shape (b, D).
        inputs: see `data/inputs.py`.
        indices: training samples; `embedded_samples` of them are read.
    """
    if config.head.embedding_init is EmbeddingInit.random:
        return
    kernel = linear.get_layer("embedding").kernel
    units = kernel.shape[-1]
    indices = embedded_samples(indices, units)
    batches = list(_descriptors(describe, inputs, indices, config.trainer.batch_size))
    if config.data.mirror:
        batches += _descriptors(describe, inputs, indices, config.trainer.batch_size, mirrored=True)
    samples = np.concatenate(batches)
    mean, deviation = mean_and_deviation(linear)
    samples -= mean
    samples /= deviation
    axes, variances = _principal_axes(samples, units)
    if config.head.embedding_init is EmbeddingInit.whitening:
        axes /= np.sqrt(variances * len(variances)).astype(np.float32)
    weights = keras.ops.convert_to_numpy(kernel).copy()
    weights[:, : len(variances)] = axes
    kernel.assign(weights)


def initialize_adapter(adapter: LowRankAdapter, vectors: np.ndarray) -> None:
    """Lets a built adapter change the directions along which `vectors`, (n, D), vary most.

    If they vary along fewer directions than the adapter's rank, its other directions are 0.
    """
    centred = vectors - vectors.mean(axis=0, dtype=np.float64)
    axes, variances = _principal_axes(centred, adapter.rank)
    down = np.zeros(adapter.down.shape, np.float32)
    down[:, : len(variances)] = axes
    adapter.down.assign(down)


def _descriptors(
    describe: Callable, inputs: Inputs, indices: np.ndarray, batch_size: int, mirrored: bool = False
) -> Iterator[np.ndarray]:
    for start in range(0, len(indices), batch_size):
        yield np.asarray(describe(inputs.evaluation(indices[start : start + batch_size], mirrored)))


def _principal_axes(samples: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns at most `most` principal axes, (D, k), and their second moments, (k,), largest first.

    The samples X, (n, D), have the second moment XᵀX/n. XXᵀ/n has the same eigenvalues except
    zeros, and is used if it is smaller: an eigenvector u of it gives the axis Xᵀu, up to its norm.
    """
    count, size = samples.shape
    matrix = samples if size > count else samples.T
    blocks = (matrix[:, c].astype(np.float64) for c in column_blocks(matrix.shape[1]))
    variances, axes = np.linalg.eigh(gram_matrix(blocks) / count)
    kept = np.flatnonzero(variances > MIN_VARIANCE * variances[-1])[::-1][:most]
    variances, axes = variances[kept], axes[:, kept]
    if size > count:
        axes = samples.T @ (axes / np.sqrt(variances * count)).astype(np.float32)
    return axes.astype(np.float32), variances
