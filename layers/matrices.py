"""Batches of matrices: transposes and diagonals.

Products are written as `a @ b`: Keras' PyTorch backend computes `ops.matmul` of float64 in float32.
"""

import keras
import numpy as np
from keras import ops


def check_square(shape, layer):
    """Raise unless `shape` is (batch, channels, channels) with a static number of channels."""
    if len(shape) != 3 or shape[1] != shape[2] or shape[1] is None:
        raise ValueError(
            f"{layer.__class__.__name__} takes square matrices of a static size, "
            f"(batch, channels, channels). Received: shape={tuple(shape)}"
        )


def transpose(matrix):
    """(B, N, C) -> (B, C, N)."""
    return ops.transpose(matrix, (0, 2, 1))


def diagonal(matrix):
    """(B, C, C) -> (B, C)."""
    return ops.diagonal(matrix, axis1=1, axis2=2)


def with_diagonal(matrix, values):
    """Replace the diagonals of (B, C, C) by (B, C), without another pass over the matrix."""
    size = matrix.shape[-1] or ops.shape(matrix)[-1]
    if keras.backend.backend() == "jax":  # which transposes only a scatter to unique indices
        index = np.arange(size)
        return matrix.at[:, index, index].set(values, unique_indices=True)
    rows = ops.arange(ops.shape(matrix)[0] * size)
    entries = ops.stack([rows, rows % size], axis=1)
    flat = ops.scatter_update(ops.reshape(matrix, (-1, size)), entries, ops.reshape(values, (-1,)))
    return ops.reshape(flat, (-1, size, size))
