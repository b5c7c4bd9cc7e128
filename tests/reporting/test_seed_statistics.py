"""Intervals over seeds, compared with SciPy's t-test and with a printed table."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from reporting.seed_statistics import estimate, paired_difference

METRICS = st.floats(0, 1)


def test_three_seeds_by_hand():
    result = estimate([0.25, 0.5, 0.75])
    assert (result["mean"], result["std"]) == (0.5, 0.25)
    margin = 4.3027 * 0.25 / 3**0.5  # t(0.975, 2) in the table
    assert result["low"] == pytest.approx(0.5 - margin, abs=1e-4)
    assert result["high"] == pytest.approx(0.5 + margin, abs=1e-4)


@given(st.lists(METRICS, min_size=2, max_size=9, unique=True))
def test_the_interval_is_that_of_a_t_test(values):
    result = estimate(values)
    interval = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert (result["low"], result["high"]) == pytest.approx(tuple(interval), rel=1e-6, abs=1e-9)


def test_one_value_has_only_a_mean_and_no_value_has_nothing():
    assert estimate([0.5]) == {"mean": 0.5, "std": None, "low": None, "high": None}
    assert set(estimate([]).values()) == {None}


@given(st.dictionaries(st.integers(0, 9), st.tuples(METRICS, METRICS), min_size=2))
def test_a_difference_uses_the_common_seeds(pairs):
    ours, theirs = ({seed: pair[i] for seed, pair in pairs.items()} for i in (0, 1))
    result = paired_difference(ours | {99: 0.1}, theirs | {100: 0.2})
    assert result == estimate([a - b for a, b in pairs.values()])


def test_effects_of_the_seed_cancel_in_a_difference():
    baseline = {0: 0.0, 1: 0.2, 2: 0.4}
    result = paired_difference({seed: value + 0.1 for seed, value in baseline.items()}, baseline)
    assert (result["low"], result["high"]) == pytest.approx((0.1, 0.1))


def test_without_a_common_seed_there_is_no_difference():
    assert paired_difference({0: 0.5}, {1: 0.5})["mean"] is None


NAN, INF = math.nan, math.inf


@pytest.mark.parametrize(
    ("values", "mean"),
    [
        ([NAN], NAN),
        ([INF], INF),
        ([0.5, NAN], NAN),
        ([NAN, NAN, 0.1], NAN),
        ([0.5, INF], INF),
        ([-INF, 0.1, 0.2], -INF),
        ([INF, -INF], NAN),
    ],
)
def test_values_that_are_not_finite_have_only_such_a_mean(values, mean):
    result = estimate(values)
    assert result == pytest.approx(
        {"mean": mean, "std": None, "low": None, "high": None}, nan_ok=True
    )
    difference = paired_difference(dict(enumerate(values)), dict.fromkeys(range(3), 0.5))
    assert difference["mean"] == pytest.approx(mean, nan_ok=True)
    assert difference["std"] is difference["low"] is difference["high"] is None


def test_a_difference_of_infinite_values_is_nan():
    assert math.isnan(paired_difference({0: INF, 1: 0.5}, {0: INF, 1: 0.5})["mean"])
