"""The same model in operations that every inference runtime has."""

import math

import keras
import numpy as np

from errors import UserError
from layers import (
    CompactBilinearPooling,
    SecondOrderPooling,
    feature_maps,
    folded_triangle,
    matrix_functions,
)
from layers.full_matrix import FullMatrix

TINY = 1e-30


def portable(model: keras.Model) -> keras.Model:
    """`model` without eigendecompositions, which neither ONNX nor TensorFlow Lite has.

    An exact root becomes as many Newton-Schulz steps as bring it there in float32, on the channels'
    side: about five times the steps of iSQRT-COV. All trained weights are shared with `model`.

    Raises:
        UserError: Tensor Sketch, whose Fourier transforms they do not have either.
    """

    def replace(layer):
        if isinstance(layer, CompactBilinearPooling) and layer.method == "tensor_sketch":
            raise UserError(
                "head.method=tensor_sketch: its Fourier transforms exist in keras and savedmodel "
                "only; head.method=random_maclaurin exists everywhere"
            )
        if isinstance(layer, SecondOrderPooling):
            return PortablePooling(layer)
        if isinstance(layer, keras.layers.Normalization):
            return _rescaling(layer)
        return layer

    return keras.models.clone_model(model, clone_function=replace, recursive=True)


def _rescaling(layer: keras.layers.Normalization) -> keras.layers.Rescaling:
    """The same with constants: the converter to ONNX makes inputs of that layer's statistics."""
    deviation = np.maximum(np.sqrt(layer.variance), keras.backend.epsilon())
    scale = np.ravel(1.0 / deviation)
    return keras.layers.Rescaling(scale, -np.ravel(layer.mean) * scale, name=layer.name)


class PortablePooling(keras.layers.Layer):
    """What a `SecondOrderPooling` computes, by matrix products and a gather alone.

    Args:
        pooling: the layer.

    Input shape, output shape: the layer's.
    """

    def __init__(self, pooling: SecondOrderPooling):
        super().__init__(name=pooling.name, dtype=pooling.dtype_policy)
        self.pooling = pooling

    def build(self, input_shape):
        self.pooling.build(input_shape)

    def call(self, maps, mask=None):
        feature_maps.refuse_mask(mask, self)
        pooling = self.pooling
        features = feature_maps.flatten_positions(maps, pooling.data_format)
        y = matrix_functions.normalized_positions(features, pooling.centered)
        squares = keras.ops.sum(keras.ops.square(y), axis=(1, 2), keepdims=True)
        scale = keras.ops.sqrt(keras.ops.maximum(squares, TINY))
        y = y / scale  # (B, N, C), so that y'y has the trace 1
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
    """(6) of `matrix_functions`, for trace 1."""
    transposed = keras.ops.transpose(y, (0, 2, 1))
    if y.shape[1] is None or y.shape[1] >= y.shape[2]:
        return matrix_functions.newton_schulz_iteration(transposed @ y, iterations)[0]
    _, z = matrix_functions.newton_schulz_iteration(y @ transposed, iterations)
    return transposed @ z @ y


def _folded(matrix, weight):
    """(B, C, C) -> (B, D) as `FoldedTriangle(weight)` does, which reads and writes diagonals."""
    odd = matrix.shape[2] % 2
    matrix = keras.ops.pad(matrix, [[0, 0], [0, odd], [0, odd]])
    channels = matrix.shape[2]
    indices, columns = folded_triangle.order(channels)
    flat = keras.ops.reshape(matrix, (-1, channels * channels))
    weights = np.where(indices == columns, 1.0, weight)
    return keras.ops.take(flat, indices * channels + columns, axis=1) * keras.ops.cast(
        weights, matrix.dtype
    )


def steps(epsilon: float) -> int:
    """Newton-Schulz steps to the root of a matrix of trace 1 with no eigenvalue below `epsilon`.

    A step takes a small x, the square root of an eigenvalue on its way to 1, to 1.5 x; six more
    square the error away.
    """
    return math.ceil(-0.5 * math.log(max(epsilon, 1e-7)) / math.log(1.5)) + 6
