"""Settings for a run of these tests without tests/conftest.py, which needs the program."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import pytest
from hypothesis import settings
from jax_cases import mark_slow_cases
from keras_harness import harness  # noqa: F401  a fixture

settings.register_profile("repeatable", deadline=None, derandomize=True)
settings.load_profile("repeatable")


@pytest.hookimpl(tryfirst=True)  # before pytest selects by marks
def pytest_collection_modifyitems(items):
    mark_slow_cases(items)
