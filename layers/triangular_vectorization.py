"""Symmetric matrices as vectors of half the length."""

import keras
import numpy as np

from . import matrices
from .backend import constant


@keras.saving.register_keras_serializable(package="fgvc")
class TriangularVectorization(keras.layers.Layer):
    """Writes the upper triangle of a symmetric matrix as a vector that keeps inner products.

    Off-diagonal entries are multiplied by sqrt(2), so that two vectors have the inner product of
    their matrices. A linear classifier or a distance gives the same result with half the weights.

    The order is that of `numpy.triu_indices`: (0,0), (0,1), ..., (0,C-1), (1,1), (1,2), ...,
    (C-1,C-1). It never changes, because saved classifiers depend on it.

    Input shape:
        `(batch, channels, channels)`, each matrix symmetric.

    Output shape:
        `(batch, channels * (channels + 1) / 2)`.

    Example:

    >>> m = np.array([[[1.0, 2.0], [2.0, 3.0]]], "float32")
    >>> np.asarray(TriangularVectorization()(m)).round(4)
    array([[1.    , 2.8284, 3.    ]], dtype=float32)

    Raises:
        ValueError: If the input is not a batch of square matrices of a static size.
    """

    def build(self, input_shape):
        matrices.check_square(input_shape, self)

    def call(self, inputs):
        matrix = keras.ops.cast(inputs, self.compute_dtype)
        channels = matrix.shape[-1]
        rows, columns = np.triu_indices(channels)
        flat = keras.ops.reshape(matrix, (-1, channels * channels))
        index = constant(rows * channels + columns, matrix, "int32")
        triangle = keras.ops.take(flat, index, axis=1)
        on_diagonal = constant(rows == columns, matrix, "bool")
        return keras.ops.where(on_diagonal, triangle, triangle * 2**0.5)

    def compute_output_shape(self, input_shape):
        return (input_shape[0], input_shape[1] * (input_shape[1] + 1) // 2)
