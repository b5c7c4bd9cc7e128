"""Pairs of samples, and the distances between their embeddings."""

import numpy as np
from keras import ops

from .backend import custom_gradient, mean, widest_float

METRICS = ("L2", "squared-L2", "angular")


def pairs(labels):
    """Return the positive and the negative pairs as two Boolean matrices (B, B).

    A positive pair is two different samples of one class, a negative pair two of different classes.
    """
    same = labels[:, None] == labels[None, :]
    others = ops.logical_not(ops.eye(ops.shape(labels)[0], dtype="bool"))
    return ops.logical_and(same, others), ops.logical_not(same)


def pairwise_distances(x, metric):
    """Return the distances (B, B) between the embeddings `x` (B, D).

    They come from one matrix product, which cancels if the embeddings share a large part. So `x` is
    centred first, and the product is in the widest float type. Distances that are rounding errors
    are set to 0, so that equal embeddings have distance 0 and gradient 0, also under the square
    root. The gradient is written out as one matrix product, which makes half as many passes over
    the matrix.

    Args:
        x: Embeddings in float32 or float64.
        metric: `"L2"`, `"squared-L2"`, or `"angular"` (1 - cosine; a zero embedding is at distance
            1 from all).

    Returns:
        Distances in the type of `widest_float()`.
    """
    x = ops.cast(x, widest_float())
    if metric == "angular":
        squares = ops.sum(ops.square(x), axis=1, keepdims=True)
        return _one_minus_products(x * ops.rsqrt(ops.where(squares > 0, squares, 1.0)))
    x = x - ops.stop_gradient(mean(x, axis=0))  # a shift does not change the distances
    return _squared_or_root(x, root=metric == "L2")


def _one_minus_products(x):
    def forward(x):
        distances = 1.0 - x @ ops.transpose(x)
        return (ops.where(distances <= _noise(), 0.0, distances),)

    def backward(g, inputs, outputs):
        (x,), (distances,) = inputs, outputs
        weights = _symmetric(ops.where(distances == 0, 0.0, g))
        return (-(weights @ x),)

    return custom_gradient(forward, backward)(x)


def _squared_or_root(x, root):
    def forward(x):
        squares = ops.sum(ops.square(x), axis=1)
        sums = squares[:, None] + squares
        distances = sums - 2.0 * x @ ops.transpose(x)
        distances = ops.where(distances <= _noise() * sums, 0.0, distances)
        return (ops.sqrt(distances) if root else distances,)

    def backward(g, inputs, outputs):
        (x,), (distances,) = inputs, outputs
        # d|x_i - x_j|^2 = 2 (x_i - x_j) (dx_i - dx_j), and 0 for a distance of 0.
        factor = ops.sign(distances)
        if root:
            factor = 0.5 * factor / ops.where(distances == 0, 1.0, distances)
        weights = _symmetric(factor * g)
        totals = ops.sum(weights, axis=1, keepdims=True)
        return (2.0 * (totals * x - weights @ x),)

    return custom_gradient(forward, backward)(x)


def _symmetric(matrix):
    return matrix + ops.transpose(matrix)


def _noise():
    """Return 32 rounding units, relative to the squared norms. Smaller distances are set to 0."""
    return 32 * float(np.finfo(widest_float()).eps)
