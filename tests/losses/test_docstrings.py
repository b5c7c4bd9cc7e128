"""The example in the docstring of every loss runs."""

import doctest
import importlib

import keras
import numpy as np
import pytest

MODULES = ["center_loss", "compactness_loss", "triplet_hard_loss", "triplet_semi_hard_loss"]


@pytest.mark.parametrize("name", MODULES)
def test_the_example_runs(name):
    module = importlib.import_module(f"losses.{name}")
    results = doctest.testmod(module, extraglobs={"np": np, "keras": keras})
    assert results.attempted > 0 and results.failed == 0
