"""Distances between vectors, in which equally far vectors have equal distances.

Rounding would order vectors that are equally far. So distances are computed in float64, and those
that differ by rounding only are made equal. Ordinary float32 vectors have no equal distances; they
are computed in float32, which is faster.
"""

from collections.abc import Iterator

import numpy as np

BLOCK = 512  # queries whose distances to all vectors are in memory at once
SAMPLE = 32  # queries that are searched for equal distances
DIMENSIONS = 1024  # of them, a float64 copy is in memory at once
LAST = float(np.finfo(np.float64).max)  # distance from or to a vector that is not finite
SAFE = (1e-15, 1e15)  # vectors whose squares are far from the range of float32
OUTLIER = 1e4  # times the usual size; the mean of all vectors would lie far from the others
LARGEST = 1e100  # times the usual size; larger vectors count as infinite


def distances_to_others(vectors: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields blocks of queries and their distances to all vectors, which only serve for ranking.

    The distances are squared, and shifted and scaled by numbers that depend on the query alone. A
    vector that has an infinite or NaN value is at distance `LAST` from all others. A query's
    distance to itself is infinite.

    Args:
        vectors: Vectors of any real type, (n, D).

    Yields:
        Indices of queries, (q,), and their distances, (q, n), float32 or float64.
    """
    if not len(vectors):
        return
    vectors, finite, usual = _scaled(vectors)
    rounded = vectors.dtype == np.float32 and usual.all() and not _has_ties(vectors)
    if rounded:
        shifted = _centered(vectors, finite, usual)
        squares = np.einsum("nd,nd->n", shifted, shifted)
    for start in range(0, len(vectors), BLOCK):
        queries = np.arange(start, min(start + BLOCK, len(vectors)))
        if rounded:
            distances = squares - 2 * shifted[queries] @ shifted.T
            distances[np.arange(len(queries)), queries] = np.inf
        else:
            distances, ties = _exact_distances(vectors, queries, finite, usual)
            distances = _merged(distances, ties)
        yield queries, distances


def centered(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns vectors that are shifted and scaled for precision, and which of them are finite.

    The mean of the usual vectors becomes 0, and vectors that are not finite become 0. Very large
    and very small vectors are multiplied by a power of 2.

    Args:
        vectors: Vectors of any real type, (n, D).

    Returns:
        Vectors, (n, D), float32 for usual float32 vectors and otherwise float64; Booleans, (n,).
    """
    vectors, finite, usual = _scaled(vectors)
    if not usual.all():
        vectors = vectors.astype(np.float64)
    return _centered(vectors, finite, usual), finite


def _scaled(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns the vectors in float32 or float64, which are finite, and which have a usual size."""
    if vectors.dtype != np.float32:
        vectors = vectors.astype(np.float64)
    sizes = np.maximum(vectors.max(axis=1), -vectors.min(axis=1))
    finite = np.isfinite(sizes)
    sizes = np.where(finite, sizes, 0).astype(np.float64)
    typical = np.median(sizes[sizes > 0]) if sizes.any() else 1.0
    finite &= sizes <= LARGEST * typical
    if not SAFE[0] < typical < SAFE[1]:
        vectors = np.ldexp(vectors, -int(np.log2(typical)))
    return vectors, finite, finite & (sizes <= OUTLIER * typical)


def _centered(vectors: np.ndarray, finite: np.ndarray, usual: np.ndarray) -> np.ndarray:
    if not usual.any():
        return np.zeros_like(vectors)
    result = vectors - (vectors if usual.all() else vectors[usual]).mean(axis=0)
    result[~finite] = 0
    return result


def _has_ties(vectors: np.ndarray) -> bool:
    """Returns whether any of a sample of queries has equal distances to two vectors."""
    queries = np.unique(np.linspace(0, len(vectors) - 1, SAMPLE).astype(int))
    if (vectors[queries] == np.rint(vectors[queries])).all():
        return True  # codes, whose distances are often equal
    usual = np.ones(len(vectors), bool)
    distances, ties = _exact_distances(vectors, queries, usual, usual)
    order = np.argsort(distances, axis=1)
    gaps = np.diff(np.take_along_axis(distances, order, axis=1), axis=1)
    return bool((gaps <= np.take_along_axis(ties, order, axis=1)[:, 1:]).any())


def _exact_distances(
    vectors: np.ndarray, queries: np.ndarray, finite: np.ndarray, usual: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns distances from queries to all vectors in float64, and bounds of their rounding."""
    squares, products = np.zeros(len(vectors)), np.zeros((len(queries), len(vectors)))
    for start in range(0, vectors.shape[1], DIMENSIONS):
        part = vectors[:, start : start + DIMENSIONS].astype(np.float64)
        part = _centered(part, finite, usual)
        squares += np.einsum("nd,nd->n", part, part)
        products += part[queries] @ part.T
    sums = squares[queries, None] + squares
    distances = sums - 2 * products
    distances[~finite[queries]] = LAST
    distances[:, ~finite] = LAST
    distances[np.arange(len(queries)), queries] = np.inf
    return distances, (4 + vectors.shape[1] / 16) * np.finfo(np.float64).eps * sums


def _merged(distances: np.ndarray, ties: np.ndarray) -> np.ndarray:
    """Returns distances (q, n), in which those that differ by less than `ties` are equal."""
    order = np.argsort(distances, axis=1)
    ascending = np.take_along_axis(distances, order, axis=1)
    with np.errstate(invalid="ignore"):  # inf - inf
        apart = np.diff(ascending, axis=1) > np.take_along_axis(ties, order, axis=1)[:, 1:]
    firsts = np.zeros(order.shape, int)
    firsts[:, 1:] = np.where(apart, np.arange(1, order.shape[1]), 0)
    firsts = np.maximum.accumulate(firsts, axis=1)
    result = np.empty_like(distances)
    np.put_along_axis(result, order, np.take_along_axis(ascending, firsts, axis=1), axis=1)
    return result
