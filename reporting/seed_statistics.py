"""Means and confidence intervals of a metric over seeds, and of paired differences.

The intervals are those of Student's t-test. They assume that the seeds' metrics are independent
draws from a normal distribution. With few seeds they are wide, and may exceed the range of the
metric.
"""

import math
import statistics

from scipy import stats

CONFIDENCE = 0.95

Estimate = dict[str, float | None]


def estimate(values: list[float]) -> Estimate:
    """Returns mean, sample standard deviation ("std") and 95% interval of the mean ("low", "high").

    A single value has only a mean. If a value is NaN or infinite, as of a run that diverged, there
    is only a mean too, which is NaN or infinite. An entry without a value is `None`.
    """
    if not values:
        return {"mean": None, "std": None, "low": None, "high": None}
    finite = all(map(math.isfinite, values))
    mean = statistics.fmean(values) if finite else sum(values) / len(values)
    if len(values) == 1 or not finite:
        return {"mean": mean, "std": None, "low": None, "high": None}
    std = statistics.stdev(values)
    margin = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(values) - 1)) * std / len(values) ** 0.5
    return {"mean": mean, "std": std, "low": mean - margin, "high": mean + margin}


def paired_difference(values: dict[int, float], baseline: dict[int, float]) -> Estimate:
    """Returns the `estimate` of `values - baseline` over the seeds that both have.

    A seed determines the split and the order of training. Their effect cancels in a difference of
    two metrics with the same seed.

    Args:
        values: the metric by seed.
        baseline: the baseline's metric by seed.
    """
    return estimate([values[seed] - baseline[seed] for seed in values if seed in baseline])
