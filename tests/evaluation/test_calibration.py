"""Temperature, calibration error, and its range by chance, against their definitions in float64."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import log_softmax, softmax
from scipy.stats import binom

from evaluation.calibration import (
    calibration_error,
    chance_range,
    fit_temperature,
    reliability,
    softening_temperature,
    view_probabilities,
)


def drawn(probabilities: np.ndarray, seed: int = 0) -> np.ndarray:
    """Draws a label for each image from its probabilities."""
    chances = np.random.default_rng(seed).random((len(probabilities), 1))
    return (probabilities.cumsum(axis=1) < chances).sum(axis=1).clip(max=probabilities.shape[1] - 1)


def random_logits(count: int, classes: int = 5, views: int = 1, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 3, (views, count, classes))


def cost(logits: np.ndarray, labels: np.ndarray, temperature: float) -> float:
    """The cross-entropy of the mean over views, summed over images, and (log T)² / 2."""
    of_labels = [
        np.mean([np.exp(log_softmax(view[i] / temperature))[label] for view in logits])
        for i, label in enumerate(labels)
    ]
    return float(np.log(temperature) ** 2 / 2 - np.log(of_labels).sum())


# The temperature


@pytest.mark.parametrize("temperature", [0.2, 1.0, 5.0])
def test_the_temperature_of_labels_drawn_with_it_is_recovered(temperature):
    logits = random_logits(20_000)
    labels = drawn(view_probabilities(logits, temperature))
    assert fit_temperature(logits, labels) == pytest.approx(temperature, rel=0.05)


@pytest.mark.parametrize("views", [1, 2])
@pytest.mark.parametrize("count", [1, 3, 40])
def test_no_other_temperature_has_a_smaller_cost(views, count):
    logits = random_logits(count, views=views)
    labels = drawn(softmax(logits[0] / 3, axis=1))
    temperature = fit_temperature(logits, labels)
    others = [cost(logits, labels, other) for other in np.geomspace(0.01, 100, 400)]
    assert cost(logits, labels, temperature) <= min(others)


@given(
    st.integers(0, 10_000),
    st.integers(1, 12),
    st.integers(1, 2),
    st.floats(-4, 4).map(lambda power: 10**power),
)
def test_the_loss_of_the_validation_images_never_becomes_larger(seed, count, views, scale):
    logits = scale * random_logits(count, views=views, seed=seed)
    labels = np.random.default_rng(seed).integers(0, 5, count)
    temperature = fit_temperature(logits, labels)
    assert 0.01 <= temperature <= 100

    def loss(temperature: float) -> float:
        return cost(logits, labels, temperature) - np.log(temperature) ** 2 / 2

    with np.errstate(divide="ignore"):  # a probability of 0
        assert loss(temperature) <= loss(1.0) + 1e-9


@given(st.integers(0, 10_000), st.integers(1, 12))
def test_what_does_not_change_the_probabilities_does_not_change_the_temperature(seed, count):
    rng = np.random.default_rng(seed)
    logits = random_logits(count, views=2, seed=seed)
    labels = rng.integers(0, 5, count)
    expected = pytest.approx(fit_temperature(logits, labels), rel=1e-5)
    images, classes = rng.permutation(count), rng.permutation(5)
    assert fit_temperature(logits[:, images], labels[images]) == expected
    assert fit_temperature(logits[:, :, classes], np.argsort(classes)[labels]) == expected
    assert fit_temperature(logits + rng.normal(0, 5, (2, count, 1)), labels) == expected
    assert fit_temperature(logits[::-1], labels) == expected
    assert fit_temperature(np.concatenate([logits, logits]), labels) == expected


def test_without_mistakes_the_temperature_stays_away_from_zero():
    logits = 4 * np.eye(3)[None].repeat(100, axis=1)
    labels = np.arange(3).repeat(100)
    for count in (1, 10, 100):
        assert 0.1 < fit_temperature(logits[:, ::count], labels[::count]) < 1


def test_a_model_that_is_always_wrong_gets_a_large_temperature():
    logits = 1000 * np.eye(3)[None].repeat(100, axis=1)
    assert 50 < fit_temperature(logits, (np.arange(3) + 1).repeat(100) % 3) <= 100


def test_equal_logits_and_no_images_give_temperature_1():
    assert fit_temperature(np.zeros((1, 6, 3)), np.arange(6) % 3) == pytest.approx(1)
    assert fit_temperature(np.zeros((1, 0, 3)), np.arange(0)) == 1


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_images_whose_logits_are_not_finite_are_left_out(value):
    logits = random_logits(20, views=2).astype(np.float32)
    labels = drawn(softmax(logits[0] / 2, axis=1))
    expected = fit_temperature(logits[:, 1:], labels[1:])
    logits[1, 0, 2] = value
    assert fit_temperature(logits, labels) == expected
    assert fit_temperature(logits[:, :1], labels[:1]) == 1


def test_probabilities_are_averaged_over_views_after_the_division():
    logits = random_logits(7, views=2).astype(np.float32)
    expected = (softmax(logits[0] / 2, axis=1) + softmax(logits[1] / 2, axis=1)) / 2
    probabilities = view_probabilities(logits, 2.0)
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities, expected, rtol=1e-6)


@given(
    share=st.floats(0, 0.95),
    classes=st.integers(2, 20),
    size=st.floats(0.01, 100),
    seed=st.integers(0, 99),
)
def test_softer_logits_have_the_loss_that_is_asked_for(share, classes, size, seed):
    logits = size * random_logits(30, classes, seed=seed)[0]
    labels = np.where(np.arange(30) < 25, logits.argmax(axis=1), 0)

    def loss(temperature):
        return -log_softmax(logits / temperature, axis=1)[np.arange(30), labels].mean()

    temperature = softening_temperature(logits, labels, share)
    least = share * np.log(classes)
    if loss(1) >= least:
        assert temperature == 1
    else:
        assert temperature > 1
        assert loss(temperature) == pytest.approx(least, abs=1e-6)


def test_logits_that_are_not_finite_do_not_soften_the_others():
    logits = 9 * random_logits(30)[0]
    labels = logits.argmax(axis=1)
    broken = np.concatenate([logits, [[np.nan] * 5, [0, 0, 0, 0, np.inf]]])
    softened = softening_temperature(broken, np.append(labels, [0, 0]), 0.5)
    assert softened == softening_temperature(logits, labels, 0.5) > 1
    assert softening_temperature(broken[-2:], np.array([0, 0]), 0.5) == 1


# The calibration error


def reference_error(probabilities: np.ndarray, labels: np.ndarray, bins: int) -> float:
    """Guo et al., equation 3: bin m holds the confidences in ((m - 1) / bins, m / bins]."""
    total = 0.0
    for m in range(1, bins + 1):
        members = [
            (float(p.max()), float(p.argmax() == label))
            for p, label in zip(probabilities, labels, strict=True)
            if (m - 1) / bins < p.max() <= m / bins
        ]
        if members:
            confidence, accuracy = np.mean(members, axis=0)
            total += len(members) / len(labels) * abs(accuracy - confidence)
    return total


@given(st.integers(0, 10_000), st.integers(1, 50), st.integers(2, 6), st.integers(1, 20))
def test_the_error_is_that_of_its_definition(seed, count, classes, bins):
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet(np.full(classes, 0.5), count)
    labels = rng.integers(0, classes, count)
    expected = reference_error(probabilities, labels, bins)
    assert calibration_error(probabilities, labels, bins) == pytest.approx(expected, abs=1e-12)


def test_predictions_that_are_certain():
    certain = np.eye(3)[[0, 1, 2, 0]]
    assert calibration_error(certain, np.array([0, 1, 2, 0])) == 0
    assert calibration_error(certain, np.array([1, 2, 0, 1])) == 1
    assert calibration_error(certain, np.array([0, 1, 2, 1])) == 0.25
    # Sums of float32 probabilities are not exactly 1.
    assert calibration_error(certain * 1.0000001, np.array([0, 1, 2, 0])) < 1e-6


def test_errors_of_opposite_sign_cancel_within_a_bin_and_add_up_between_bins():
    probabilities = np.array([[0.75, 0.25], [0.75, 0.25], [0.75, 0.25], [0.75, 0.25]])
    assert calibration_error(probabilities, np.array([0, 0, 0, 1])) == 0
    probabilities[0] = [0.55, 0.45]
    assert calibration_error(probabilities, np.array([0, 0, 0, 1])) == pytest.approx(
        (0.45 + 3 * (0.75 - 2 / 3)) / 4
    )


def test_the_bins_hold_all_images_and_an_empty_one_is_zero():
    probabilities = np.array([[0.5, 0.5], [0.9, 0.1], [0.1, 0.9], [np.nan, 0.2]])
    images, accuracy, confidence = reliability(probabilities, np.array([0, 0, 0, 0]), bins=2)
    assert images.tolist() == [2, 2]  # a NaN has confidence 0
    assert accuracy.tolist() == [0.5, 0.5]
    assert confidence == pytest.approx([0.25, 0.9])
    images, accuracy, confidence = reliability(probabilities[1:2], np.array([0]), bins=2)
    assert (images.tolist(), accuracy.tolist()) == ([0, 1], [0, 1])


# Its range by chance


@pytest.mark.parametrize(("count", "confidence"), [(100, 0.6), (1000, 0.95)])
def test_the_range_is_that_of_the_binomial_distribution_in_a_single_bin(count, confidence):
    probabilities = np.tile([confidence, 1 - confidence], (count, 1))
    right = np.arange(count + 1)
    errors = np.abs(right / count - confidence)
    order = np.argsort(errors)
    shares = binom.pmf(right, count, confidence)[order].cumsum()
    expected = errors[order][np.searchsorted(shares, [0.025, 0.975])]
    assert chance_range(probabilities, seed=0) == pytest.approx(expected, abs=0.2 / count**0.5)


def test_labels_drawn_from_the_probabilities_are_within_the_range_in_95_of_100_cases():
    probabilities = softmax(random_logits(300)[0], axis=1)
    low, high = chance_range(probabilities, seed=0)
    errors = [calibration_error(probabilities, drawn(probabilities, seed)) for seed in range(400)]
    assert 0.92 < np.mean([low <= error <= high for error in errors]) < 0.98
    sharper = softmax(3 * random_logits(300)[0], axis=1)
    assert calibration_error(sharper, drawn(probabilities)) > chance_range(sharper, seed=0)[1]


def test_the_range_depends_on_the_seed_alone():
    probabilities = softmax(random_logits(50)[0], axis=1)
    assert chance_range(probabilities, seed=3) == chance_range(probabilities, seed=3)
    assert chance_range(probabilities, seed=3) != chance_range(probabilities, seed=4)


def test_predictions_that_are_certain_have_no_chance():
    assert chance_range(np.eye(3), seed=0) == (0, 0)
