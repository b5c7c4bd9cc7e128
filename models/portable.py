"""Models in operations that every inference runtime supports."""

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
from layers.matrix_products import by_products
from layers.spectral_functions import Root

TINY = 1e-30  # a map of a smaller trace is a zero map
LEAST_EPSILON = 1e-7  # takes the place of 0, for which products do not converge


def portable(model: keras.Model, dtype: str = "float32") -> keras.Model:
    """Rebuilds `model` without eigendecompositions, which ONNX and TensorFlow Lite lack.

    Matrix functions are computed by matrix products alone, from the smaller one of the N x N and
    the C x C matrix. The trained weights are shared with `model`.

    Args:
        model: The model to rebuild.
        dtype: `"float64"` or `"float32"`, the type of those products.

    Raises:
        UserError: `model` has a Tensor Sketch, which needs Fourier transforms, or a
            `SpectralPooling` with a function that needs an eigendecomposition.
    """

    def replace(layer):
        if isinstance(layer, CompactBilinearPooling) and layer.method == "tensor_sketch":
            raise UserError(
                "head.method=tensor_sketch: only the formats keras and savedmodel have its Fourier "
                "transforms; head.method=random_maclaurin can be exported to every format"
            )
        if isinstance(layer, (SecondOrderPooling, SpectralPooling)):
            return PortablePooling(layer, dtype)
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
    """Computes the output of a pooling layer with matrix products and a gather.

    Args:
        pooling: The `SecondOrderPooling` or `SpectralPooling` to replace.
        dtype: `"float64"` or `"float32"`, the type of the products of N x N or C x C matrices.

    Input shape, output shape: those of `pooling`.

    Raises:
        UserError: the function of `pooling` needs an eigendecomposition.
    """

    def __init__(self, pooling: SecondOrderPooling | SpectralPooling, dtype: str = "float32"):
        super().__init__(name=pooling.name, dtype=pooling.dtype_policy)
        self.pooling = pooling
        self.products = None
        if isinstance(pooling, SpectralPooling) or pooling.root == "exact":
            self.products = by_products(_function(pooling), dtype)
            if self.products is None:
                raise UserError(
                    f"head.function={pooling.function}: only the formats keras and savedmodel have "
                    "its eigendecomposition; root, inverse, max_exp and head.exponent=0.25 or 0.5 "
                    "can be exported to every format"
                )

    def build(self, input_shape):
        self.pooling.build(input_shape)

    def call(self, maps, mask=None):  # a cloned call has the arguments of the original one
        feature_maps.refuse_mask(mask, self)
        pooling = self.pooling
        x = feature_maps.flatten_positions(maps, pooling.data_format)
        x = matrix_functions.center(x) if pooling.centered else x
        if getattr(pooling, "augmented", False):
            x = keras.ops.concatenate([x, keras.ops.ones_like(x[:, :, :1])], axis=2)
        y = matrix_functions.normalized_positions(x)
        trace = keras.ops.sum(keras.ops.square(y), axis=(1, 2), keepdims=True)
        known, trace = keras.ops.cast(trace > TINY, y.dtype), keras.ops.maximum(trace, TINY)
        y = y * keras.ops.rsqrt(trace)  # (B, N, C); y'y has trace 1
        shift = 0.0  # of the diagonal
        if self.products is not None:
            factor = known * trace**self.products.function.degree
            matrix, shift = _by_products(y, self.products, factor)
        elif pooling.root is None:
            matrix = trace * FullMatrix().product(y, y)  # the moment itself
        else:
            matrix = keras.ops.sqrt(trace) * _newton_schulz(y, pooling.iterations)
        if pooling.triangular:
            return _folded(matrix, shift, pooling.off_diagonal)
        return matrix + shift * keras.ops.eye(matrix.shape[2], dtype=matrix.dtype)

    def compute_output_shape(self, input_shape):
        return self.pooling.compute_output_shape(input_shape)


def _function(pooling):
    """Returns the function of eigenvalues that a layer computes."""
    if isinstance(pooling, SpectralPooling):
        function = pooling.of_eigenvalues()
    else:
        function = Root(pooling.epsilon)
    return Root(LEAST_EPSILON) if isinstance(function, Root) and not function.epsilon else function


def _by_products(y, products, factor):
    """Returns a matrix (B, C, C), and what to add to its diagonal, (B, 1, 1) or 0.

    Together they are f of y'y times `factor`, for y (B, N, C) of trace 1: (4) of
    `layers.matrix_products`.
    """
    wide = keras.ops.cast(y, products.dtype)
    transposed = transpose(wide)
    if y.shape[1] is None or y.shape[1] >= y.shape[2]:
        return factor * keras.ops.cast(products.value(transposed @ wide)[0], y.dtype), 0.0
    slope, _ = products.slope(wide @ transposed)
    product = transpose(y) @ (factor * keras.ops.cast(slope @ wide, y.dtype))
    return product, factor * products.function.at_zero


def _newton_schulz(y, iterations):
    """Equation (6) of `matrix_functions`, for trace 1."""
    transposed = transpose(y)
    if y.shape[1] is None or y.shape[1] >= y.shape[2]:
        return matrix_functions.newton_schulz_iteration(transposed @ y, iterations)[0]
    _, z = matrix_functions.newton_schulz_iteration(y @ transposed, iterations)
    return transposed @ z @ y


def _folded(matrix, shift, weight):
    """Folds (B, C, C) to (B, D) like `FoldedTriangle(weight)`, which reads and writes diagonals.

    `shift` is added to the diagonal.
    """
    odd = matrix.shape[2] % 2
    matrix = keras.ops.pad(matrix, [[0, 0], [0, odd], [0, odd]]) if odd else matrix
    channels = matrix.shape[2]
    i, j = order(channels)
    flat = keras.ops.reshape(matrix, (-1, channels * channels))
    weights = keras.ops.cast(np.where(i == j, 1.0, weight), matrix.dtype)
    on_diagonal = keras.ops.cast((i == j) & (i < channels - odd), matrix.dtype)
    shift = keras.ops.reshape(shift, (-1, 1))
    return weights * keras.ops.take(flat, i * channels + j, axis=1) + shift * on_diagonal
