"""One triangle of a symmetric matrix as a vector, made from part of the product that the matrix is.

A symmetric C x C matrix R holds C (C + 1) / 2 numbers. With h = C / 2 and its four h x h blocks

    R = [T1  S ]
        [S'  T2],

S is kept whole, the triangles of T1 and T2 share one more h x h block,

    W = T1 on and above the diagonal, T2 below it,

and the diagonal of T2 comes last. The vector's order is S row by row, W row by row, diag(T2). It
will not change: saved classifiers depend on it.

No entry is moved. Where R = A'B, three of its blocks are computed and the fourth is not; a gather
of the plain upper triangle (`TriangularVectorization`) takes longer than the product itself. All
that follows, and comes back as a gradient, is half as long.
"""

import math

import numpy as np
from keras import ops

from .matrices import diagonal, matmul, transpose, with_diagonal


class FoldedTriangle:
    """Symmetric products as folded triangles; what `matrices` does, of half the entries.

    Args:
        weight: Float, what off-diagonal entries are multiplied by. With sqrt(2), inner products of
            two vectors are those of their matrices.
    """

    def __init__(self, weight):
        self.weight = weight

    def product(self, a, b, rows=None, ridge=None):
        """Fold A' diag(rows) B, which must be symmetric, plus a ridge.

        (B, N, C), (B, N, C), (B, N), (B, 1) -> (B, D), D = `size(C)`.
        """
        channels = a.shape[2]
        a, b = _even(a, 2), _even(b, 2)
        (a1, a2), (b1, b2) = _halves(a), _halves(b)
        scale = self.weight if rows is None else ops.expand_dims(self.weight * rows, 2)
        a1, a2 = transpose(a1 * scale), transpose(a2 * scale)
        s, t1, t2 = matmul(a1, b2), matmul(a1, b1), matmul(a2, b2)
        values = ops.concatenate([diagonal(t1), diagonal(t2)], axis=1) / self.weight
        if ridge is not None:  # none for the zero that makes C even
            values = values + ridge * ops.cast(np.arange(a.shape[2]) < channels, a.dtype)
        return _join(s, t1, t2, values)

    def gradient_product(self, p, g):
        """Return P (G + G') and the trace of G + G', both divided by `weight`.

        G is the gradient with respect to a matrix whose folded triangle has the gradient `g`, so
        that G + G' is weight * g off the diagonal and 2 g on it.

        (B, N, C), (B, D) -> (B, N, C), (B,).
        """
        channels = p.shape[2]
        s, t1, t2 = _split(g, 2.0 / self.weight)
        p1, p2 = _halves(_even(p, 2))
        left = matmul(p1, t1) + matmul(p2, transpose(s))
        right = matmul(p1, s) + matmul(p2, t2)
        values = ops.concatenate([diagonal(t1), diagonal(t2)], axis=1)[:, :channels]
        product = ops.concatenate([left, right], axis=2)[:, :, :channels]
        return product, ops.sum(values, axis=1)

    def fold(self, matrix):
        """Fold a symmetric matrix. (B, C, C) -> (B, D)."""
        even = _even(_even(matrix, 1), 2)
        (t1, s), (_, t2) = (_halves(rows) for rows in _halves(even, 1))
        return _join(*(self.weight * block for block in (s, t1, t2)), diagonal(even))

    def unfold(self, vector, channels):
        """Return the symmetric matrix that `vector` was folded from. (B, D) -> (B, C, C)."""
        s, t1, t2 = _split(vector / self.weight, self.weight)
        rows = [ops.concatenate([t1, s], axis=2), ops.concatenate([transpose(s), t2], axis=2)]
        return ops.concatenate(rows, axis=1)[:, :channels, :channels]


def size(channels):
    """Return D, the numbers that a C x C matrix folds to: an odd C counts as one more."""
    even = channels + channels % 2
    return even * (even + 1) // 2


def order(channels):
    """Return the rows and the columns of the entries, an even number of channels: two of (D,)."""
    h = channels // 2
    rows, columns = np.indices((channels, channels))
    return tuple(
        np.concatenate(
            [
                index[:h, h:].ravel(),
                np.where(_upper(h), index[:h, :h], index[h:, h:]).ravel(),
                np.diag(index[h:, h:]),
            ]
        )
        for index in (rows, columns)
    )


def _join(s, t1, t2, values):
    """The vector of the blocks, with `values` (B, C) on the diagonal."""
    h = s.shape[2]
    w = with_diagonal(ops.where(_upper(h), t1, t2), values[:, :h])
    parts = [ops.reshape(s, (-1, h * h)), ops.reshape(w, (-1, h * h)), values[:, h:]]
    return ops.concatenate(parts, axis=1)


def _split(vector, factor):
    """The blocks S, T1 and T2 of a vector, with their diagonals multiplied by `factor`."""
    h = math.isqrt(vector.shape[1] // 2)  # D = h (2 h + 1)
    s, w = (ops.reshape(part, (-1, h, h)) for part in (vector[:, : h * h], vector[:, h * h : -h]))
    mirrored, upper = transpose(w), _upper(h)
    t1 = ops.where(upper, w, mirrored)
    t2 = with_diagonal(ops.where(upper, mirrored, w), factor * vector[:, -h:])
    if factor != 1.0:
        t1 = with_diagonal(t1, factor * diagonal(w))
    return s, t1, t2


def _upper(h):
    return np.triu(np.ones((h, h), bool))


def _halves(matrix, axis=2):
    return ops.split(matrix, 2, axis=axis)


def _even(matrix, axis):
    """Append a zero where there is an odd number of channels along `axis`."""
    if matrix.shape[axis] % 2 == 0:
        return matrix
    padding = [[0, 0]] * 3
    padding[axis] = [0, 1]
    return ops.pad(matrix, padding)
