"""The benchmark of the feature store."""

import argparse

import pytest

from benchmarks import feature_store


@pytest.mark.slow
def test_memory_is_measured_on_made_feature_maps(tmp_path):
    measured = feature_store.memory(argparse.Namespace(made_images=9), tmp_path)
    assert measured["images"] == "9"
    assert measured["peak memory"].endswith(" GiB")
