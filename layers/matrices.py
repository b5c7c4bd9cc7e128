"""Batches of matrices: their diagonals, and symmetric products kept whole.

`folded_triangle.py` has `product` and `gradient_product` too, of the upper triangle alone.
"""

from keras import ops

weight = 1.0  # of off-diagonal entries: a `FoldedTriangle` may have another


def matmul(a, b):
    """Return AB. Keras' PyTorch backend computes `ops.matmul` of float64 in float32."""
    return a @ b


def product(a, b, rows=None, ridge=None):
    """Return A' diag(rows) B plus a ridge. (B, N, C), (B, N, C), (B, N), (B, 1) -> (B, C, C)."""
    if rows is not None:
        a = a * ops.expand_dims(rows, 2)
    matrix = matmul(transpose(a), b)
    return matrix if ridge is None else with_diagonal(matrix, diagonal(matrix) + ridge)


def gradient_product(p, g):
    """Return P (G + G') and the trace of G + G'. (B, N, C), (B, C, C) -> (B, N, C), (B,)."""
    g = g + transpose(g)
    return matmul(p, g), ops.sum(diagonal(g), axis=1)


def transpose(matrix):
    """(B, N, C) -> (B, C, N)."""
    return ops.transpose(matrix, (0, 2, 1))


def diagonal(matrix):
    """(B, C, C) -> (B, C)."""
    return ops.diagonal(matrix, axis1=1, axis2=2)


def with_diagonal(matrix, values):
    """Replace the diagonals of (B, C, C) by (B, C), without another pass over the matrix."""
    size = matrix.shape[-1]
    rows = ops.arange(ops.shape(matrix)[0] * size)
    places = ops.stack([rows, rows % size], axis=1)
    flat = ops.scatter_update(ops.reshape(matrix, (-1, size)), places, ops.reshape(values, (-1,)))
    return ops.reshape(flat, (-1, size, size))
