"""Keras' own test case for layers and losses, as a fixture."""

import pytest
from keras.src.testing import TestCase


@pytest.fixture
def harness():
    case = TestCase("run_layer_test")
    case.setUp()
    yield case
    case.doCleanups()
