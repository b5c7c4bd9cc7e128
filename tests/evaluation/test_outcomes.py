"""Metrics of selected images, against the metrics of these images alone."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.metrics import classification_metrics
from evaluation.outcomes import image_outcomes

LEVELS = {"coarse": list("aabbb"), "coarser": list("ccccd")}


@given(st.integers(0, 10_000), st.integers(1, 25), st.booleans(), st.booleans())
def test_the_metrics_of_a_selection_are_those_of_its_images(seed, count, with_levels, with_nan):
    rng = np.random.default_rng(seed)
    probabilities = rng.integers(0, 4, (count, 5)) / 4  # many ties
    if with_nan:
        probabilities[rng.integers(0, count), rng.integers(0, 5)] = np.nan
    labels, levels = rng.integers(0, 5, count), LEVELS if with_levels else None
    selections = rng.integers(0, count, (7, count))
    metrics = image_outcomes(probabilities, labels, levels, 2).metrics(selections)
    for number, selected in enumerate(selections):
        alone = classification_metrics(probabilities[selected], labels[selected], levels, 2)
        for name, values in metrics.items():
            without_mistakes = name == "mistake_distance" and not alone[name]
            expected = np.nan if without_mistakes else alone[name]
            assert values[number] == pytest.approx(expected, nan_ok=True)
