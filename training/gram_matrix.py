"""Inner products of samples that have far more dimensions than there are samples."""

from collections.abc import Iterable, Iterator

import numpy as np

BLOCK = 4096  # dimensions that are held in float64 at a time


def column_blocks(dimensions: int) -> Iterator[slice]:
    """Yields slices of at most `BLOCK` columns that together cover all dimensions."""
    for start in range(0, dimensions, BLOCK):
        yield slice(start, start + BLOCK)


def gram_matrix(blocks: Iterable[np.ndarray]) -> np.ndarray:
    """Returns the inner products of all pairs of n samples, float64, (n, n).

    They are exact to float64 rounding: eigenvalues down to 1e-6 of the largest one matter to
    whitening, and float32 products would blur them.

    Args:
        blocks: the samples, some columns at a time; each block has shape (n, columns).
    """
    total: np.ndarray | float = 0.0
    for block in blocks:
        exact = block.astype(np.float64, copy=False)
        total += exact @ exact.T
    return np.asarray(total)
