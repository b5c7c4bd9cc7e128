"""Losses and metrics of the whole batch; tests/test_strategy.py runs them on several replicas."""

import keras
import numpy as np
import pytest

from training.distributed.global_batch import GlobalBatchModel, all_gather, whole_batch_norms


def nested_model(kind: type[keras.Model] = keras.Model) -> keras.Model:
    """A model with a batch norm of its own and one in a model inside it."""
    inner = keras.Sequential([keras.Input((2,)), keras.layers.BatchNormalization(name="inner")])
    vector = keras.Input((2,))
    return kind(vector, keras.layers.BatchNormalization(name="outer")(inner(vector)))


def test_batch_norms_are_synchronized_only_while_the_model_is_trained():
    model = nested_model()
    norms = [model.get_layer("outer"), model.layers[1].get_layer("inner")]
    with pytest.raises(KeyboardInterrupt), whole_batch_norms(model):
        assert [norm.synchronized for norm in norms] == [True, True]
        raise KeyboardInterrupt
    assert [norm.synchronized for norm in norms] == [False, False]


def test_with_one_replica_nothing_is_gathered():
    values = [np.arange(3), {"a": np.ones(2)}]
    assert all_gather(values) is values


def test_with_one_replica_it_trains_as_a_keras_model():
    x = np.random.default_rng(0).normal(size=(12, 2)).astype(np.float32)
    losses = []
    for kind in (keras.Model, GlobalBatchModel):
        model = nested_model(kind)
        model.compile("sgd", "mse", metrics=["mae"])
        history = model.fit(x, x, batch_size=5, epochs=2, shuffle=False, verbose=0).history
        losses.append(history)
    assert losses[0] == losses[1]
