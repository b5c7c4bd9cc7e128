"""Fewer cases of a test on JAX, which compiles every operation for every shape."""

import collections

import keras
import pytest
from hypothesis import settings

ON_JAX = keras.backend.backend() == "jax"
QUICK = 6  # each sixth case of a test does not wait for the nightly run


def examples(count: int) -> settings:
    """Return the settings of a property-based test, with few examples on JAX."""
    return settings(max_examples=5 if ON_JAX else count, deadline=None)


def mark_slow_cases(items: list[pytest.Item]) -> None:
    """Mark five of six cases of each test as slow, on JAX: each takes seconds there."""
    cases: collections.Counter[str] = collections.Counter()
    for item in items if ON_JAX else ():
        if "[" in item.nodeid:
            test = item.nodeid.partition("[")[0]
            if cases[test] % QUICK:
                item.add_marker(pytest.mark.slow)
            cases[test] += 1
