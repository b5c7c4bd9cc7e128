"""What a few seeds tell of a figure, and of the difference between two configurations.

The intervals are Student's: they take the seeds' figures for independent draws from a normal
distribution. Of few seeds they are wide, and may reach beyond what a share can be; that is so.
"""

import math
import statistics

CONFIDENCE = 0.95

Estimate = dict[str, float | None]


def estimate(values: list[float]) -> Estimate:
    """Mean, sample standard deviation ("std") and 95% interval of the mean ("low", "high").

    Of a single value there is only a mean, of none nothing: what there is not is `None`.
    """
    found = dict.fromkeys(("mean", "std", "low", "high"))
    if values:
        found["mean"] = statistics.fmean(values)
    if len(values) > 1:
        from scipy import stats  # a second to import, and this is read when a run starts

        found["std"] = statistics.stdev(values)
        quantile = stats.t.ppf((1 + CONFIDENCE) / 2, len(values) - 1)
        margin = float(quantile) * found["std"] / math.sqrt(len(values))
        found |= {"low": found["mean"] - margin, "high": found["mean"] + margin}
    return found


def paired_difference(values: dict[int, float], baseline: dict[int, float]) -> Estimate:
    """`estimate` of `values - baseline` over the seeds that both have: {seed: figure} each.

    A seed fixes the split and the order of training, whose luck a difference of pairs is rid of.
    """
    common = [seed for seed in values if seed in baseline]
    return estimate([values[seed] - baseline[seed] for seed in common])
