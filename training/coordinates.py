"""Training on the smaller side: n coordinates a sample instead of D dimensions, n the samples.

Gradient descent on a linear classifier that starts at zero never leaves the span of the training
samples X, (n, D). With the Cholesky factor L of their inner products, X Xᵀ = L Lᵀ, the rows of
Q = L⁻¹ X are an orthonormal basis of that span. A sample x has the coordinates Q x = L⁻¹ X x: for a
training sample that is its row of L, for another one a triangular solve with its inner products.
Norms, inner products, means and gradients are the same in both spaces, and so is everything that
SGD with momentum, decoupled weight decay and clipping by global norm does. A kernel W' of the
coordinates is the kernel Qᵀ W' = Xᵀ (L⁻ᵀ W') of the descriptors.
"""

import numpy as np
from scipy.linalg import LinAlgError, cholesky, solve_triangular

from errors import UserError

BLOCK = 1024  # samples whose coordinates are computed at a time


class Coordinates:
    """The coordinates of samples in the span of the training samples.

    Duplicates make the inner products singular. A ridge of the size of their rounding, relative to
    each sample's square, gives each training sample a small coordinate of its own.

    Args:
        gram: the inner products of all N samples, (N, N).
        train: the training samples, sorted, int64 of shape (n,).

    Attributes:
        values: the coordinates of all samples, in the dtype of `gram`, (N, n).

    Raises:
        UserError: inner products of training samples are not finite.
    """

    def __init__(self, gram: np.ndarray, train: np.ndarray):
        self.train = train
        self._factor = _factor(gram, train)
        self.values = np.empty((len(gram), len(train)), gram.dtype)
        self.values[train] = self._factor
        others = np.setdiff1d(np.arange(len(gram)), train)
        for start in range(0, len(others), BLOCK):
            block = others[start : start + BLOCK]
            products = gram[np.ix_(train, block)].astype(np.float64)
            solved = solve_triangular(
                self._factor, products, lower=True, overwrite_b=True, check_finite=False
            )
            self.values[block] = solved.T

    def dual(self, kernel: np.ndarray) -> np.ndarray:
        """Returns what each training sample contributes to a kernel, (n, classes).

        Args:
            kernel: a kernel of the coordinates, (n, classes). That of the descriptors is the sum
                over the training samples of descriptor times contribution.
        """
        return solve_triangular(self._factor, kernel.astype(np.float64), lower=True, trans="T")


def _factor(gram: np.ndarray, train: np.ndarray) -> np.ndarray:
    """Returns the Cholesky factor of the inner products of the training samples, float64."""
    if not np.isfinite(gram[np.ix_(train, train)]).all():
        raise UserError(
            "descriptors of training images are not finite, or too large to be multiplied; set "
            "trainer.precision=float32, or choose another head or other backbone.weights"
        )
    squares = gram[train, train].astype(np.float64)
    squares[squares <= 0] = squares.max(initial=0.0) or 1.0  # of samples that are zero
    ridge = 4 * float(np.finfo(gram.dtype).eps)
    while True:
        block = gram[np.ix_(train, train)].astype(np.float64)
        block[np.diag_indices_from(block)] += ridge * squares
        try:
            return cholesky(block, lower=True, overwrite_a=True, check_finite=False)
        except LinAlgError:
            ridge *= 4
