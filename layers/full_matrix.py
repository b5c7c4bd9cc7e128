"""A symmetric product as a full matrix."""

from keras import ops

from .matrices import diagonal, transpose, with_diagonal


class FullMatrix:
    """Computes symmetric products in full.

    It has the methods of `FoldedTriangle` that `matrix_functions` calls, so either can be the
    `form` of a result.
    """

    weight = 1.0  # the factor of off-diagonal entries

    def product(self, a, b, row_weights=None, ridge=None):
        """Return A' diag(row_weights) B, plus `ridge` on the diagonal.

        (B, N, C), (B, N, C), (B, N), (B, 1) -> (B, C, C).
        """
        if row_weights is not None:
            a = a * ops.expand_dims(row_weights, 2)
        matrix = transpose(a) @ b
        return matrix if ridge is None else with_diagonal(matrix, diagonal(matrix) + ridge)

    def gradient_product(self, p, g):
        """Return P (G + G') and the trace of G + G'. (B, N, C), (B, C, C) -> (B, N, C), (B,)."""
        g = g + transpose(g)
        return p @ g, ops.sum(diagonal(g), axis=1)

    def fold(self, matrix):
        """Return the matrix unchanged. (B, C, C) -> (B, C, C)."""
        return matrix
