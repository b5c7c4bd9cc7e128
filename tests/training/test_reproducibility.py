"""The same seed gives the same numbers."""

import random

import keras
import numpy as np
import pytest
import tensorflow as tf

from training.reproducibility import seed_everything


@pytest.fixture(autouse=True)
def deterministic(monkeypatch):
    """Notes that TensorFlow is asked for deterministic kernels, which no test could take back."""
    asked = []
    monkeypatch.setattr(tf.config.experimental, "enable_op_determinism", lambda: asked.append(True))
    yield asked
    keras.config.set_dtype_policy("float32")


def draws() -> list:
    return [
        random.random(),
        np.random.random(),
        float(tf.random.uniform(())),
        float(keras.random.uniform(())),
        keras.layers.Dense(2).name,
    ]


def test_the_same_seed_draws_the_same_numbers_whatever_ran_before(make_config):
    seed_everything(make_config("seed=3"))
    first = draws()
    keras.layers.Dense(2)
    seed_everything(make_config("seed=3"))
    assert draws() == first
    seed_everything(make_config("seed=4"))
    assert draws()[:-1] != first[:-1]


def test_layer_names_begin_anew(make_config):
    keras.layers.Dense(2)
    seed_everything(make_config())
    assert keras.layers.Dense(2).name == "dense"


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "float32"])
def test_the_precision_is_set(make_config, precision):
    seed_everything(make_config(f"trainer.precision={precision}"))
    assert keras.config.dtype_policy().name == precision


def test_deterministic_kernels_are_asked_for(make_config, deterministic):
    seed_everything(make_config())
    assert deterministic == [True]
