"""Intervals over seeds, held against SciPy's own and against values of a printed table."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from reporting.seed_statistics import estimate, paired_difference

METRICS = st.floats(0, 1)


def test_three_seeds_by_hand():
    found = estimate([0.25, 0.5, 0.75])
    assert (found["mean"], found["std"]) == (0.5, 0.25)
    margin = 4.3027 * 0.25 / 3**0.5  # t(0.975, 2) of the table
    assert found["low"] == pytest.approx(0.5 - margin, abs=1e-4)
    assert found["high"] == pytest.approx(0.5 + margin, abs=1e-4)


@given(st.lists(METRICS, min_size=2, max_size=9, unique=True))
def test_the_interval_is_that_of_a_t_test(values):
    found = estimate(values)
    interval = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert (found["low"], found["high"]) == pytest.approx(tuple(interval), rel=1e-6, abs=1e-9)


def test_of_one_value_there_is_only_a_mean_and_of_none_nothing():
    assert estimate([0.5]) == {"mean": 0.5, "std": None, "low": None, "high": None}
    assert set(estimate([]).values()) == {None}


@given(st.dictionaries(st.integers(0, 9), st.tuples(METRICS, METRICS), min_size=2))
def test_a_difference_is_that_of_the_same_seeds(pairs):
    ours, theirs = ({seed: pair[i] for seed, pair in pairs.items()} for i in (0, 1))
    found = paired_difference(ours | {99: 0.1}, theirs | {100: 0.2})
    assert found == estimate([a - b for a, b in pairs.values()])


def test_seeds_whose_luck_is_shared_leave_the_difference_sharp():
    luck = {0: 0.0, 1: 0.2, 2: 0.4}
    found = paired_difference({seed: value + 0.1 for seed, value in luck.items()}, luck)
    assert (found["low"], found["high"]) == pytest.approx((0.1, 0.1))


def test_without_a_common_seed_there_is_no_difference():
    assert paired_difference({0: 0.5}, {1: 0.5})["mean"] is None
