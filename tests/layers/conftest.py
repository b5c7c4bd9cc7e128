"""Settings for a run of these tests without tests/conftest.py, which needs the program."""

import collections
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import pytest
from hypothesis import settings
from keras_harness import harness  # noqa: F401  a fixture
from layer_references import ON_JAX

QUICK_ON_JAX = 3  # each third case of a test does not wait for the nightly run

settings.register_profile(
    "repeatable", deadline=None, derandomize=True, max_examples=10 if ON_JAX else 100
)
settings.load_profile("repeatable")


@pytest.hookimpl(tryfirst=True)  # before pytest selects by marks
def pytest_collection_modifyitems(items):
    """On JAX, marks two thirds of the cases of each test as slow: each takes seconds there."""
    cases = collections.Counter()
    for item in items if ON_JAX else ():
        if "[" in item.nodeid:
            test = item.nodeid.partition("[")[0]
            if cases[test] % QUICK_ON_JAX:
                item.add_marker(pytest.mark.slow)
            cases[test] += 1
