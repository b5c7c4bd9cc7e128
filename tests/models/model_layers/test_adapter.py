"""A low-rank adapter is the identity until it is trained."""

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.model_layers import LowRankAdapter


def vectors(count: int, size: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, size)).astype(np.float32)


def adapter(rank: int, size: int) -> LowRankAdapter:
    layer = LowRankAdapter(rank)
    layer.build((None, size))
    return layer


@given(st.integers(1, 6), st.integers(1, 8))
def test_it_is_the_identity_at_first_and_linear_afterwards(rank, size):
    x, layer = vectors(5, size), adapter(rank, size)
    layer.down.assign(vectors(size, rank, 1))
    np.testing.assert_array_equal(layer(x), x)
    layer.up.assign(vectors(rank, size, 2))
    np.testing.assert_allclose(layer(x), x + x @ layer.down @ layer.up, rtol=1e-4, atol=1e-4)


def test_it_is_saved_and_loaded(tmp_path):
    sample = keras.Input((4,))
    model = keras.Model(sample, LowRankAdapter(2, name="adapter")(sample))
    model.get_layer("adapter").set_weights([vectors(4, 2), vectors(2, 4)])
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(loaded(vectors(3, 4)), model(vectors(3, 4)), rtol=1e-6)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_stays_half(dtype):
    layer = LowRankAdapter(1, dtype=dtype)
    assert layer(keras.ops.ones((2, 3), dtype)).dtype == dtype
