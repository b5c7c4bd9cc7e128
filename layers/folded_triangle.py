"""One triangle of a symmetric matrix as a vector.

A symmetric C x C matrix R has C (C + 1) / 2 different entries. With h = C / 2, it has the h x h
blocks

    R = [T1  S ]
        [S'  T2].

The vector contains all of S, then one h x h block for the triangles of T1 and T2,

    W = T1 on and above the diagonal, T2 below it,

and then the diagonal of T2. Its order is S row by row, W row by row, diag(T2). The order will not
change, because saved classifiers depend on it.

For a product R = A'B, three of the four blocks are computed, and no entry is moved. Taking the
plain upper triangle (`TriangularVectorization`) takes longer than the product itself. Later layers
and their gradients have half the entries.
"""

import math

import numpy as np
from keras import ops

from .backend import constant
from .matrices import diagonal, transpose, with_diagonal


class FoldedTriangle:
    """Computes symmetric products as folded triangles, with half the entries of a `FullMatrix`.

    Args:
        weight: Float, the factor of off-diagonal entries. With sqrt(2), two vectors have the inner
            product of their matrices.
    """

    def __init__(self, weight):
        self.weight = weight

    def product(self, a, b, row_weights=None, ridge=None):
        """Fold A' diag(row_weights) B, which must be symmetric, plus `ridge` on the diagonal.

        (B, N, C), (B, N, C), (B, N), (B, 1) -> (B, D), D = `size(C)`.
        """
        channels = a.shape[2]
        a, b = _even(a, 2), _even(b, 2)
        (a1, a2), (b1, b2) = _halves(a), _halves(b)
        scale = self.weight
        if row_weights is not None:
            scale = ops.expand_dims(self.weight * row_weights, 2)
        a1, a2 = transpose(a1 * scale), transpose(a2 * scale)
        s, t1, t2 = a1 @ b2, a1 @ b1, a2 @ b2
        values = ops.concatenate([diagonal(t1), diagonal(t2)], axis=1) / self.weight
        if ridge is not None:  # but not on the zero that makes C even
            values = values + ridge * constant(np.arange(a.shape[2]) < channels, a)
        return _join(s, t1, t2, values)

    def gradient_product(self, p, g):
        """Return P (G + G') and the trace of G + G', both divided by `weight`.

        G is the gradient with respect to the matrix and `g` that with respect to its folded
        triangle. G + G' is weight * g off the diagonal and 2 g on it.

        (B, N, C), (B, D) -> (B, N, C), (B,).
        """
        channels = p.shape[2]
        s, t1, t2 = _split(g, 2.0 / self.weight)
        p1, p2 = _halves(_even(p, 2))
        left = p1 @ t1 + p2 @ transpose(s)
        right = p1 @ s + p2 @ t2
        values = ops.concatenate([diagonal(t1), diagonal(t2)], axis=1)[:, :channels]
        product = ops.concatenate([left, right], axis=2)[:, :, :channels]
        return product, ops.sum(values, axis=1)

    def fold(self, matrix):
        """Fold a symmetric matrix. (B, C, C) -> (B, D)."""
        even = _even(matrix, 1, 2)
        (t1, s), (_, t2) = (_halves(rows) for rows in _halves(even, 1))
        return _join(*(self.weight * block for block in (s, t1, t2)), diagonal(even))

    def unfold(self, vector, channels):
        """Return the symmetric matrix that `vector` was folded from. (B, D) -> (B, C, C)."""
        s, t1, t2 = _split(vector / self.weight, self.weight)
        rows = [ops.concatenate([t1, s], axis=2), ops.concatenate([transpose(s), t2], axis=2)]
        return ops.concatenate(rows, axis=1)[:, :channels, :channels]


def size(channels):
    """Return D, the length of a folded C x C matrix. An odd C is rounded up."""
    even = channels + channels % 2
    return even * (even + 1) // 2


def order(channels):
    """Return the row and the column of every entry, for an even number of channels. (2, D)."""
    h = channels // 2
    index = np.indices((channels, channels))
    s, w = index[:, :h, h:], np.where(np.triu(np.ones((h, h))), index[:, :h, :h], index[:, h:, h:])
    values = [np.arange(h, channels)] * 2  # the diagonal of T2
    return np.concatenate([s.reshape(2, -1), w.reshape(2, -1), values], axis=1)


def _join(s, t1, t2, values):
    """Return the vector of the blocks, with `values` (B, C) on the diagonal."""
    h = s.shape[2]
    w = with_diagonal(ops.where(_upper(s), t1, t2), values[:, :h])
    parts = [ops.reshape(s, (-1, h * h)), ops.reshape(w, (-1, h * h)), values[:, h:]]
    return ops.concatenate(parts, axis=1)


def _split(vector, factor):
    """Return the blocks S, T1 and T2 of a vector, with their diagonals multiplied by `factor`."""
    h = math.isqrt(vector.shape[1] // 2)  # D = h (2 h + 1)
    s, w = (ops.reshape(part, (-1, h, h)) for part in (vector[:, : h * h], vector[:, h * h : -h]))
    mirrored, upper = transpose(w), _upper(w)
    t1 = ops.where(upper, w, mirrored)
    t2 = with_diagonal(ops.where(upper, mirrored, w), factor * vector[:, -h:])
    if factor != 1.0:
        t1 = with_diagonal(t1, factor * diagonal(w))
    return s, t1, t2


def _upper(blocks):
    return constant(np.triu(np.ones(blocks.shape[1:])), blocks, "bool")


def _halves(matrix, axis=2):
    return ops.split(matrix, 2, axis=axis)


def _even(matrix, *channel_axes):
    """Append a zero along `channel_axes` if the number of channels is odd."""
    if matrix.shape[channel_axes[0]] % 2 == 0:
        return matrix
    return ops.pad(matrix, [[0, int(axis in channel_axes)] for axis in range(3)])
