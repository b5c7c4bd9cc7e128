"""The paired comparison of two classifiers, against loops over the images and binomial sums."""

from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation import bootstrap
from evaluation.comparison import compare

PAIRS = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=40)


def mcnemar(only_a: int, only_b: int) -> float:
    """The probability of a split of discordant images that is at most as probable as this one."""
    n = only_a + only_b
    return sum(comb(n, k) for k in range(n + 1) if comb(n, k) <= comb(n, only_a)) / 2**n


@given(PAIRS)
def test_counts_accuracies_and_p_value(pairs):
    right_a, right_b = np.array(pairs).T
    c = compare(right_a, right_b)
    kinds = [(True, True), (True, False), (False, True), (False, False)]
    assert [c.both, c.only_a, c.only_b, c.neither] == [pairs.count(kind) for kind in kinds]
    assert c.accuracy_a == pytest.approx(sum(a for a, _ in pairs) / len(pairs))
    assert c.accuracy_b == pytest.approx(sum(b for _, b in pairs) / len(pairs))
    assert c.difference == pytest.approx(c.accuracy_a - c.accuracy_b)
    assert c.p_value == pytest.approx(mcnemar(c.only_a, c.only_b))


@given(PAIRS)
def test_the_other_order_changes_the_sign_alone(pairs):
    right_a, right_b = np.array(pairs).T
    one, other = compare(right_a, right_b), compare(right_b, right_a)
    assert one.p_value == other.p_value
    assert one.difference == pytest.approx(-other.difference)
    assert one.interval == pytest.approx((-other.interval[1], -other.interval[0]))


def test_the_images_stay_in_pairs():
    rng = np.random.default_rng(0)
    right_a = rng.random(300) < 0.7
    right_b = right_a.copy()
    right_b[:10] = ~right_b[:10]
    draws = np.random.default_rng(bootstrap.SEED)
    differences = []
    for _ in range(bootstrap.RESAMPLES):
        selected = draws.integers(0, 300, 300)
        differences.append(right_a[selected].mean() - right_b[selected].mean())
    expected = np.quantile(differences, [0.025, 0.975])
    assert compare(right_a, right_b).interval == pytest.approx(expected)


@pytest.mark.parametrize("right", [[True], [False], [True, False, True]])
def test_equal_predictions_do_not_differ(right):
    c = compare(np.array(right), np.array(right))
    assert (c.difference, c.interval, c.p_value) == (0, (0, 0), 1)


def test_a_published_example():
    """Agresti, Categorical Data Analysis (2002), chapter 10: 86 and 150 discordant answers."""
    counts = {(True, True): 794, (True, False): 150, (False, True): 86, (False, False): 570}
    right_a, right_b = np.repeat(np.array(list(counts)), list(counts.values()), axis=0).T
    c = compare(right_a, right_b)
    assert c.difference == pytest.approx(0.04)  # 0.59 - 0.55
    assert c.interval == pytest.approx((0.021, 0.059), abs=0.003)  # 0.04 ± 1.96 * 0.0096
    assert c.p_value == pytest.approx(3.7e-5, rel=0.05)
