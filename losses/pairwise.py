"""What the losses share, as pure functions: labels, pairs, and the distances between embeddings."""

import keras
import numpy as np
from keras import ops

METRICS = ("L2", "squared-L2", "angular")
RULES = ("skip", "original")
NOISE = 32  # units of rounding, relative to the squared norms, below which a distance is 0


def at_least_float32(x):
    """`x` as a tensor; half precision becomes float32."""
    x = ops.convert_to_tensor(x)
    if keras.backend.standardize_dtype(x.dtype) in ("float32", "float64"):
        return x
    return ops.cast(x, "float32")


def wide_dtype():
    """float64, or float32 on JAX unless it was told to have float64 (JAX_ENABLE_X64=1)."""
    if keras.backend.backend() == "jax":
        import jax

        return "float64" if jax.config.jax_enable_x64 else "float32"
    return "float64"


def check_embeddings(shape, loss):
    """Raise unless `shape` is (batch, dimensions)."""
    if len(shape) != 2:
        raise ValueError(
            f"{loss.__class__.__name__} takes embeddings of shape (batch, dimensions). Received: "
            f"shape={tuple(shape)}"
        )


def label_vector(labels, loss):
    """Integer labels of shape (B,) or (B, 1) as a vector (B,)."""
    labels = ops.convert_to_tensor(labels)
    if len(labels.shape) == 1:
        return labels
    if len(labels.shape) == 2 and labels.shape[1] == 1:
        return labels[:, 0]
    raise ValueError(
        f"{loss.__class__.__name__} takes integer labels of shape (batch,) or (batch, 1), not "
        f"one-hot ones. Received: shape={tuple(labels.shape)}"
    )


def pairs(labels):
    """Two Boolean matrices (B, B): who is another sample of the same class, who of another."""
    same = labels[:, None] == labels[None, :]
    others = ops.logical_not(ops.eye(ops.shape(labels)[0], dtype="bool"))
    return ops.logical_and(same, others), ops.logical_not(same)


def pairwise_distances(x, metric):
    """The distances (B, B) between the rows of `x` (B, D).

    They come from one matrix product, which cancels where rows share a large part: so `x` is
    centred first, and multiplied in float64. What is left of rounding is set to zero, so that
    equal rows are at distance 0 and their gradient is 0, the square root's included. The gradient
    is one matrix product again: written out, it passes the matrix half as often.

    Args:
        x: embeddings, float32 or float64.
        metric: "L2", "squared-L2" or "angular" (1 - cosine; a zero row is at distance 1 from all).

    Returns:
        Distances in `wide_dtype()`.
    """
    x = ops.cast(x, wide_dtype())
    if metric == "angular":
        squares = ops.sum(ops.square(x), axis=1, keepdims=True)
        return _one_minus_products(x * ops.rsqrt(ops.where(squares > 0, squares, 1.0)))
    x = x - ops.stop_gradient(ops.mean(x, axis=0))  # distances do not see a shift
    return _squared_or_root(x, root=metric == "L2")


def _one_minus_products(x):
    @ops.custom_gradient
    def function(x):
        distances = 1.0 - x @ ops.transpose(x)
        distances = ops.where(distances <= NOISE * _epsilon(x), 0.0, distances)

        def gradient(*args, upstream=None):
            g = args[0] if upstream is None else upstream
            weights = _symmetric(ops.where(distances == 0, 0.0, g))
            return -(weights @ x)

        return distances, gradient

    return function(x)


def _squared_or_root(x, root):
    @ops.custom_gradient
    def function(x):
        squares = ops.sum(ops.square(x), axis=1)
        sums = squares[:, None] + squares
        distances = sums - 2.0 * x @ ops.transpose(x)
        distances = ops.where(distances <= NOISE * _epsilon(x) * sums, 0.0, distances)
        if root:
            distances = ops.sqrt(distances)

        def gradient(*args, upstream=None):
            g = args[0] if upstream is None else upstream
            # d|x_i - x_j|^2 = 2 (x_i - x_j) (dx_i - dx_j), and 0 where the distance is.
            factor = ops.divide_no_nan(0.5, distances) if root else ops.sign(distances)
            weights = _symmetric(factor * g)
            totals = ops.sum(weights, axis=1, keepdims=True)
            return 2.0 * (totals * x - weights @ x)

        return distances, gradient

    return function(x)


def _symmetric(matrix):
    return matrix + ops.transpose(matrix)


def _epsilon(x):
    return float(np.finfo(keras.backend.standardize_dtype(x.dtype)).eps)


def is_traced(x):
    """Whether `x` stands for values that are not known yet, as inside a graph."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.is_symbolic_tensor(x)
    if keras.backend.backend() == "jax":
        import jax

        return isinstance(x, jax.core.Tracer)
    return False


# Outside of a graph JAX would compile a condition and a loop anew at every call.


def either(condition, true_function, false_function):
    """What one of two functions returns."""
    if is_traced(condition):
        return ops.cond(condition, true_function, false_function)
    return true_function() if condition else false_function()


def repeated(times, function, value):
    """`value = function(value, step)`, for `times` steps from 0."""
    if is_traced(times):
        return ops.fori_loop(0, times, lambda step, value: function(value, step), value)
    for step in range(int(times)):
        value = function(value, step)
    return value
