"""Inner products of samples that have far more dimensions than there are samples."""

from collections.abc import Iterable, Iterator

import numpy as np

BLOCK = 4096  # columns of a block


def column_blocks(dimensions: int, width: int = BLOCK) -> Iterator[slice]:
    """Yields slices of at most `width` columns that together cover all dimensions."""
    for start in range(0, dimensions, width):
        yield slice(start, start + width)


def gram_matrix(blocks: Iterable[np.ndarray]) -> np.ndarray:
    """Returns the inner products of all pairs of n samples, float64, (n, n).

    The products of a block have its dtype, their sum over the blocks is float64. Whitening needs
    float64 blocks: eigenvalues down to 1e-6 of the largest one matter to it. An SVM does not.

    Args:
        blocks: the samples, some columns at a time; each block has shape (n, columns).
    """
    total: np.ndarray = np.zeros((), np.float64)
    for block in blocks:  # one product at a time is in memory
        total = total + block @ block.T
    return total
