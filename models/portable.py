"""Models in operations that every inference runtime supports."""

import math

import keras
import numpy as np

from errors import UserError
from layers import (
    CompactBilinearPooling,
    SecondOrderPooling,
    SpectralPooling,
    feature_maps,
    matrix_functions,
)
from layers.folded_triangle import order
from layers.full_matrix import FullMatrix
from layers.matrices import transpose

TINY = 1e-30


def portable(model: keras.Model) -> keras.Model:
    """Rebuilds `model` without eigendecompositions, which ONNX and TensorFlow Lite lack.

    An exact root becomes a Newton-Schulz iteration of `steps` steps on the C x C matrix, which
    reaches float32 precision. The trained weights are shared with `model`.

    Raises:
        UserError: `model` has a Tensor Sketch, which needs Fourier transforms, or a
            `SpectralPooling`.
    """

    def replace(layer):
        if isinstance(layer, CompactBilinearPooling) and layer.method == "tensor_sketch":
            raise UserError(
                "head.method=tensor_sketch: only the formats keras and savedmodel have its Fourier "
                "transforms; head.method=random_maclaurin can be exported to every format"
            )
        if isinstance(layer, SpectralPooling):
            raise UserError(
                "head.pooling=spectral: only the formats keras and savedmodel have its "
                "eigendecomposition; head.pooling=second_order head.root=exact can be exported to "
                "every format"
            )
        if isinstance(layer, SecondOrderPooling):
            return PortablePooling(layer)
        if isinstance(layer, keras.layers.Normalization):
            return _rescaling(layer)
        return layer

    return keras.models.clone_model(model, clone_function=replace, recursive=True)


def _rescaling(layer: keras.layers.Normalization) -> keras.layers.Rescaling:
    """Returns an equal layer with constants: the ONNX converter makes inputs of statistics."""
    deviation = np.maximum(np.sqrt(layer.variance), keras.backend.epsilon())
    scale = np.ravel(1.0 / deviation)
    return keras.layers.Rescaling(scale, -np.ravel(layer.mean) * scale, name=layer.name)


class PortablePooling(keras.layers.Layer):
    """Computes the output of a `SecondOrderPooling` layer with matrix products and a gather.

    Args:
        pooling: The layer to replace.

    Input shape, output shape: those of `pooling`.
    """

    def __init__(self, pooling: SecondOrderPooling):
        super().__init__(name=pooling.name, dtype=pooling.dtype_policy)
        self.pooling = pooling

    def build(self, input_shape):
        self.pooling.build(input_shape)

    def call(self, maps, mask=None):  # a cloned call has the arguments of the original one
        feature_maps.refuse_mask(mask, self)
        pooling = self.pooling
        features = feature_maps.flatten_positions(maps, pooling.data_format)
        y = matrix_functions.normalized_positions(features, pooling.centered)
        squares = keras.ops.sum(keras.ops.square(y), axis=(1, 2), keepdims=True)
        scale = keras.ops.sqrt(keras.ops.maximum(squares, TINY))
        y = y / scale  # (B, N, C); y'y has trace 1
        if pooling.root is None:
            root = scale * FullMatrix().product(y, y)  # the moment itself
        elif pooling.root == "newton_schulz":
            root = _newton_schulz(y, pooling.iterations)
        else:
            ridge = pooling.epsilon * keras.ops.eye(y.shape[2], dtype=y.dtype)
            matrix = FullMatrix().product(y, y) + ridge
            root, _ = matrix_functions.newton_schulz_iteration(matrix, steps(pooling.epsilon))
        root = scale * root
        return _folded(root, pooling.off_diagonal) if pooling.triangular else root

    def compute_output_shape(self, input_shape):
        return self.pooling.compute_output_shape(input_shape)


def _newton_schulz(y, iterations):
    """Equation (6) of `matrix_functions`, for trace 1."""
    transposed = transpose(y)
    if y.shape[1] is None or y.shape[1] >= y.shape[2]:
        return matrix_functions.newton_schulz_iteration(transposed @ y, iterations)[0]
    _, z = matrix_functions.newton_schulz_iteration(y @ transposed, iterations)
    return transposed @ z @ y


def _folded(matrix, weight):
    """Folds (B, C, C) to (B, D) like `FoldedTriangle(weight)`, which reads and writes diagonals."""
    odd = matrix.shape[2] % 2
    matrix = keras.ops.pad(matrix, [[0, 0], [0, odd], [0, odd]])
    channels = matrix.shape[2]
    i, j = order(channels)
    flat = keras.ops.reshape(matrix, (-1, channels * channels))
    weights = keras.ops.cast(np.where(i == j, 1.0, weight), matrix.dtype)
    return weights * keras.ops.take(flat, i * channels + j, axis=1)


def steps(epsilon: float) -> int:
    """Number of Newton-Schulz steps for a matrix of trace 1 with eigenvalues of at least `epsilon`.

    A step multiplies the square root x of a small eigenvalue by 1.5 until x is close to 1. In six
    more steps the error falls quadratically below float32 precision.
    """
    return math.ceil(-0.5 * math.log(max(epsilon, 1e-7)) / math.log(1.5)) + 6
