"""Bootstrap intervals: how far a metric could be off because the test images are a sample."""

from collections.abc import Callable

import numpy as np

RESAMPLES = 1000
BLOCK = 2**20  # indices that are drawn at once
SEED = 0  # the same resamples for every run with as many images

Interval = tuple[float, float]


def bootstrap_intervals(
    metrics: Callable[[np.ndarray], dict[str, np.ndarray]], images: int
) -> dict[str, Interval]:
    """Returns the 95% percentile interval of each metric over resampled images.

    Each of 1,000 resamples has as many images, drawn with replacement; the interval lies between
    the 2.5% and the 97.5% quantile of the metric (Efron and Tibshirani, 1993, chapter 13). The
    model is fixed: the effect of its seed and of its training images is not in the interval. If
    all images are right, or all wrong, the interval of the accuracy has no width.

    Resamples for which a metric is NaN, not defined, do not count for it. If all of them are, it
    has no interval.

    Args:
        metrics: Metrics by name, each of shape (r,), of resamples, which are indices, (r, images).
        images: Number of images, at least 1.
    """
    rng = np.random.default_rng(SEED)
    size = max(1, BLOCK // images)
    blocks = [
        metrics(rng.integers(0, images, (min(size, RESAMPLES - start), images)))
        for start in range(0, RESAMPLES, size)
    ]
    intervals = {}
    for name in blocks[0]:
        values = np.concatenate([block[name] for block in blocks])
        defined = values[~np.isnan(values)]
        if len(defined):
            low, high = np.quantile(defined, [0.025, 0.975])
            intervals[name] = float(low), float(high)
    return intervals
